"""NarrativeQA: questions about whole books and film scripts, from its original CSV files and stories.

`documents.csv` and `qaps.csv` as published, and the stories as its download script leaves them: `tmp/ID.content`
(or `ID.content`, `ID.txt` anywhere below). Book-long texts are cut by a sliding window (paper, Appendix D).
"""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Iterator
from pathlib import Path

from memo_ray.config.benchmarks import NarrativeQA
from memo_ray.corpus.formats import Unreadable, clean, decode, read_document
from memo_ray.corpus.questions import CSV_LONGEST_CELL
from memo_ray.errors import CorpusError
from memo_ray.evaluation.benchmarks.benchmark import Item, Loaded, Passage, assemble, check, choose, reject
from memo_ray.evaluation.benchmarks.files import ADDRESSES, folder_of, one_of, read_bytes, read_ids
from memo_ray.rows import Question, Reject

Row = dict[str, str]
STORY_ENDINGS = (".content", ".txt", ".content.gz", ".txt.gz")


def load(config: NarrativeQA, key: str) -> Loaded:
    """The benchmark of `config`; `key` is the config key that errors name. Raises CorpusError."""
    key = f"{key}.path"
    folder = folder_of("narrativeqa", config.path, key)
    address = ADDRESSES["narrativeqa"]
    documents = table(one_of(folder, ("documents.csv*",), key, address), ("document_id", "set"))
    asked = table(one_of(folder, ("qaps.csv*",), key, address), ("document_id", "question", "answer1"))
    paths = {path.name.partition(".")[0]: path for path in stories(folder)}
    chosen, rejects = choose_documents(documents, paths, config)
    passages: dict[str, Passage] = {}
    for row in chosen:
        found = story(row, paths[row["document_id"]])
        if isinstance(found, Reject):
            rejects.append(found)
        else:
            passages[row["document_id"]] = found
    kept, unusable = check(items(asked, passages))
    drawn, _ = choose(kept, None, config.sample, config.seed)
    loaded = assemble("narrativeqa", drawn, [*rejects, *unusable], seed=config.seed, group_of="document")
    loaded.facts["documents_in_the_set"] = sum(row["set"] == config.set for row in documents)
    return loaded


def table(path: Path, needed: tuple[str, ...]) -> list[Row]:
    """The rows of a CSV file with the columns `needed`. Raises CorpusError."""
    csv.field_size_limit(CSV_LONGEST_CELL)  # of the whole process: what another reader has set must not count here
    reader = csv.DictReader(io.StringIO(read_bytes(path).decode("utf-8", errors="replace"), newline=""))
    try:
        missing = [name for name in needed if name not in (reader.fieldnames or ())]
        if missing:
            raise CorpusError(f"{path}: has no column {', '.join(missing)}; it is not NarrativeQA's own file")
        return [{name: value or "" for name, value in row.items() if isinstance(value, str | None)} for row in reader]
    except csv.Error as error:
        raise CorpusError(f"{path}: is not CSV ({error}); download it again") from None


def stories(folder: Path) -> Iterator[Path]:
    """Every file that may be a story."""
    return (path for path in sorted(folder.rglob("*")) if path.name.endswith(STORY_ENDINGS))


def choose_documents(
    documents: list[Row], paths: dict[str, Path], config: NarrativeQA
) -> tuple[list[Row], list[Reject]]:
    """The documents to take, in the file's order, and a reject for each wanted one without a story."""
    wanted = read_ids(config.document_ids, "document_ids")
    if wanted is None:
        rows = [row for row in documents if row["set"] == config.set and row["document_id"] in paths]
        if config.documents is not None and config.documents < len(rows):
            places = sorted(random.Random(f"documents {config.seed}").sample(range(len(rows)), config.documents))
            rows = [rows[place] for place in places]
        missing: list[str] = []
    else:
        by_id = {row["document_id"]: row for row in documents}
        rows = [by_id[name] for name in dict.fromkeys(wanted) if name in by_id and name in paths]
        missing = [name for name in wanted if name not in by_id or name not in paths]
    if not rows:
        raise CorpusError(
            f"narrativeqa: no document of the set {config.set} has a story; {ADDRESSES['narrativeqa']}, or name the "
            "folder that holds tmp/ID.content"
        )
    return rows, [reject(name, "unknown_document", "is wanted and has no story or no row") for name in missing]


def story(row: Row, path: Path) -> Passage | Reject:
    """A document's text between the marks that `documents.csv` gives, without the licence around it."""
    name = row["document_id"]
    try:
        data = read_bytes(path)
        text = read_document(data, ".html")[0] if data.lstrip()[:1] == b"<" else clean(decode(data))
    except Unreadable as problem:
        return reject(name, problem.reason, f"{path.name}: {problem.detail}")
    start = text.find(row["story_start"]) if row.get("story_start") else -1
    end = text.rfind(row["story_end"]) if row.get("story_end") else -1
    first = max(start, 0)
    last = end + len(row["story_end"]) if end > first else len(text)
    return Passage(name, row.get("wiki_title", ""), text[first:last])


def items(asked: list[Row], passages: dict[str, Passage]) -> Iterator[Item]:
    """The questions of the documents that were taken; their ids number them within their document."""
    count: dict[str, int] = {}
    for row in asked:
        name = row["document_id"]
        if name not in passages:
            continue
        number = count[name] = count.get(name, -1) + 1
        answers = list(dict.fromkeys(text for text in (row["answer1"], row.get("answer2", "")) if text.strip()))
        question = Question(f"{name}#{number}", row["question"], answers, 0)
        yield Item(question, [passages[name]])
