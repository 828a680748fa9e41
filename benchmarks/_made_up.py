"""A generator that writes as the steps of `prompts: chunk` ask it to, and means nothing: text for benchmarks.

`Writer` answers a request by its schema with made-up pairs, verdicts and entities, so that the whole recipe runs on
any engine or none. `documents` are made-up articles. Everything is drawn with a seed.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.artifacts.tables import iterate_rows
from memo_ray.models.chat import ChatRequest
from memo_ray.rows import Chunk, Document, Group, content_id

NUMBERED = re.compile(r"^(\d+)\. Q: (.*?)\??(?: A: .*)?$", re.MULTILINE)
"""A pair that a prompt shows: its number and its question."""
SYLLABLES = [
    a + b + c for a in "ba do ki mu re sa to vi".split() for b in "lan mer nor ris tal".split() for c in "ab em"
]
"""Words that no language has; a tokenizer cuts each into several tokens."""
ENGLISH = (
    "the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you "
    "were her all she there would their we him been has when who will more no if out so said what up its about into "
    "than them can only other new some could time these two may then do first any my now such like our over man me "
    "even most made after also did many before must through years where much your way well down should because each "
    "just those people how too little state good very make world still own see men work long get here between both "
    "life being under never day same another know while last might us great old year off come since against go came "
    "right used take three water river harbour winter letter engine number history family court council church"
).split()
"""Common words, a token each: as long for their tokens as real text."""


class Writer:
    """Replies by schema. `violations`: the share of pairs that Step 3 finds fault with; `pairs`: fewest and most."""

    def __init__(
        self,
        draw: random.Random,
        violations: float,
        words: Sequence[str] = SYLLABLES,
        pairs: tuple[int, int] = (15, 35),
    ) -> None:
        self._draw, self._violations, self._vocabulary, self._pairs = draw, violations, words, pairs

    def reply(self, request: ChatRequest) -> dict[str, Any]:
        """The JSON object that `request` asks for."""
        assert request.schema is not None
        wanted, said = request.schema["properties"], request.messages[-1]["content"]
        shown = NUMBERED.findall(said)
        if "verdicts" in wanted:
            judged = ((int(number), self._draw.random() < self._violations) for number, _ in shown)
            return {"verdicts": [{"pair": n, "violations": ["missing_subject"] if bad else []} for n, bad in judged]}
        if "entities" in wanted:
            named = ((int(number), " ".join(sorted(text.split(), key=len)[-2:])) for number, text in shown[::6])
            return {"entities": [{"name": name, "pairs": [number, number + 1]} for number, name in named]}
        if "pairs" not in wanted:
            return {key: self._words(12 if key == "question" else 5) for key in wanted}
        properties, most = wanted["pairs"]["items"]["properties"], wanted["pairs"].get("maxItems", 1000)
        if "kind" in properties:
            first = [1] if "converging_clues" in properties["kind"]["enum"] else range(1, len(shown), 6)
        else:
            first = [1] * (4 if "uses" in properties else self._draw.randint(*self._pairs))
        return {"pairs": [self._item(properties, number) for number in first][:most]}

    def _item(self, properties: dict[str, Any], first: int) -> dict[str, Any]:
        """One pair of a list; `first`: the number of the first pair that it uses."""
        item = {
            "kind": properties.get("kind", {}).get("enum", [""])[0], "question": f"What {self._words(12)}?",
            "answer": self._words(6), "uses": [first, first + 1],
        }  # fmt: skip
        return {name: item[name] for name in properties}

    def _words(self, count: int) -> str:
        return " ".join(self._draw.choices(self._vocabulary, k=count)).title()


def corpus(root: Path, documents: int, words: int, groups: int = 1) -> Artifact:
    """A finished corpus below `root`: `documents` of one chunk of `words` words each, evenly in so many groups."""
    identity = content_id("made up", str(documents), str(words), str(groups)).ljust(64, "0")
    store = Store(root)
    found = store.find("corpus", identity)
    if found is not None:
        return found
    # Made while they are written: the process that makes them may be the one whose memory is measured.
    names = [f"made-up-{number:07d}" for number in range(documents)]
    texts = (" ".join(random.Random(f"document {number}").choices(ENGLISH, k=words)) for number in range(documents))
    rows = (
        Document(name, f"Article {n}", text, "", f"{name}.md")
        for n, (name, text) in enumerate(zip(names, texts, strict=True))
    )
    size = -(-documents // groups)
    grouped = (
        Group(f"group-{start}", "label", [content_id("chunk", name) for name in names[start : start + size]])
        for start in range(0, documents, size)
    )
    with store.attempt("corpus", "corpus", identity, {}, {}) as attempt:
        attempt.write("documents", rows, Document)
        read = iterate_rows(attempt.folder / "documents.parquet", ["document_id", "text"])
        chunks = ((row["document_id"], row["text"]) for row in read)
        attempt.write(
            "chunks",
            (Chunk(content_id("chunk", name), name, 0, "", text, words, 0, len(text), "") for name, text in chunks),
            Chunk,
        )
        attempt.write("groups", grouped, Group)
    found = store.find("corpus", identity)
    assert found is not None
    return found
