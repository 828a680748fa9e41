"""MuSiQue: multi-hop questions over Wikipedia paragraphs, as released and as HippoRAG publishes it.

Both forms are rows of `id`, `question`, `answer`, `answer_aliases` and 20 `paragraphs`; they differ in the
paragraph's text key and in JSON Lines against one JSON list. A document is one paragraph, a chunk of its own
(paper, Appendix D); its id is the paper's, QUESTION_paraIDX_chunk0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from memo_ray.config.benchmarks import MuSiQue
from memo_ray.evaluation.benchmarks.benchmark import Item, Loaded, Passage, assemble, check, choose, reject
from memo_ray.evaluation.benchmarks.files import ADDRESSES, folder_of, one_of, read_id_lists, read_ids, read_rows
from memo_ray.rows import Question, Reject

FILES = ("musique_ans_v1.0_dev.jsonl*", "*musique*.json*", "dev*.jsonl*", "*.jsonl*")
TEXT_KEYS = ("paragraph_text", "text")
"""Of the original, and of HippoRAG's form."""
HOPS = re.compile(r"^(\d)hop")


def load(config: MuSiQue, key: str) -> Loaded:
    """The benchmark of `config`; `key` is the config key that errors name. Raises CorpusError."""
    path = one_of(folder_of("musique", config.path, f"{key}.path"), FILES, f"{key}.path", ADDRESSES["musique"])
    read: list[Item] = []
    rejects: list[Reject] = []
    for found in items(path):
        (rejects if isinstance(found, Reject) else read).append(found)  # type: ignore[arg-type]
    kept, unusable = check(read)
    wanted = read_ids(config.question_ids, f"{key}.question_ids")
    chosen, missing = choose(kept, wanted, config.sample, config.seed)
    return assemble(
        "musique",
        chosen,
        [*rejects, *unusable, *missing],
        noise=config.noise,
        seed=config.seed,
        negative_ids=read_id_lists(config.negative_ids, f"{key}.negative_ids"),
    )


def items(path: Any) -> Iterator[Item | Reject]:
    """Every question of a file, or a reject that names its line."""
    for number, row in read_rows(path):
        where = f"{path.name}:{number}"
        try:
            yield item(row)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            problem = f"it has no {error}" if isinstance(error, KeyError) else str(error)
            yield reject(where, "not_musique", f"{where}: is no MuSiQue question ({problem})")


def item(row: Any) -> Item:
    """One row as an Item. Raises KeyError, TypeError or ValueError when it is none."""
    if isinstance(row, Exception):
        raise ValueError(str(row))
    said = [row["question"], row["answer"], *(row.get("answer_aliases") or ())]
    if not all(isinstance(text, str) for text in said):
        raise ValueError("its question and answers must be texts")
    name = str(row["id"])
    evidence, negatives = [], []
    for place, paragraph in enumerate(row["paragraphs"]):
        text = next((paragraph[text_key] for text_key in TEXT_KEYS if text_key in paragraph), None)
        if not isinstance(text, str):
            raise ValueError(f"paragraph {place} has no text")
        passage = Passage(f"{name}_para{int(paragraph.get('idx', place))}_chunk0", str(paragraph["title"]), text)
        (evidence if paragraph["is_supporting"] else negatives).append(passage)
    for text in (name, *said, *(part for passage in [*evidence, *negatives] for part in (passage.title, passage.text))):
        text.encode()  # JSON can hold half a surrogate pair, and no table can
    answers = list(dict.fromkeys(text for text in said[1:] if text))
    hops = HOPS.match(name)
    return Item(Question(name, row["question"], answers, int(hops[1]) if hops else 0), evidence, negatives)
