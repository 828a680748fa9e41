"""Units, candidates and their results as flat rows of text, which is how they travel through Ray Data and Parquet.

A row `{row_id, payload}` holds one unit or some candidates; a result is `{row_id, result, error}`. Plain JSON, so that
files of an older run can be read without unpickling. The text that many pairs were made from, a whole chunk mostly,
stands in a row once and is one string again where the row is read.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import PurePath
from typing import Any

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.errors import GenerationError
from memo_ray.rows import Chunk, Document, content_id
from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.cast import cast_from
from memo_ray.synthesis.casting import Casts
from memo_ray.synthesis.pairs import Lost, Pair, Source, pair_from
from memo_ray.synthesis.recipe import Unit, UnitResult
from memo_ray.synthesis.shelf import Shelf

SHARED = ("step", "chunk_ids", "document_ids", "prompt_id", "seed", "parents", "group_id", "split", "kind")
"""What many pairs of a result have in common."""

CANDIDATES_A_ROW = 16
"""Candidates of Step 5 in a row: each is a prompt or two, and a driver hands out about ten rows a second."""


def unit_rows(chunks: Sequence[Chunk], documents: list[Document], config: SynthesisConfig) -> Iterator[dict[str, str]]:
    """One row a chunk, or a document with `entity_scope: document`, in corpus order; made one after the other."""
    names = identifiers_of(documents)
    casts = Casts(chunks, names, config)
    grouped: dict[str, list[int]] = {}
    for number, chunk in enumerate(chunks):
        key = chunk.document_id if config.entity_scope == "document" else chunk.chunk_id
        grouped.setdefault(key, []).append(number)
    share = -(-config.held_out.max_questions // max(1, len(grouped)))
    expected = None if config.max_reflections is None else max(1, config.max_reflections // max(1, len(grouped)))
    for key, numbers in grouped.items():
        members = [chunks[number] for number in numbers]
        payload = {
            "chunks": [asdict(chunk) for chunk in members],
            "identifiers": list(names.get(members[0].document_id, ())),
            "cast": casts.of(members[0].document_id, (chunk.text for chunk in members)).to_json(),
            "held_out": share,
            "expected": expected,
        }
        yield {"row_id": content_id("unit", key), "payload": json.dumps(payload)}


def identifiers_of(documents: list[Document]) -> dict[str, tuple[str, ...]]:
    """The identifiers of every document, by its id."""
    return {document.document_id: identifiers(document) for document in documents}


def identifiers(document: Document) -> tuple[str, ...]:
    """What must not get into a pair: the document's id, its source and the source's file name and stem."""
    path = PurePath(document.source)
    return tuple(dict.fromkeys(name for name in (document.document_id, document.source, path.name, path.stem) if name))


def read_unit(row_id: str, payload: str) -> Unit:
    """The unit of a row of `unit_rows`."""
    data = json.loads(payload)
    identifiers, cast = tuple(data["identifiers"]), cast_from(data["cast"])
    sources = [Source(Chunk(**chunk), identifiers, cast) for chunk in data["chunks"]]
    return Unit(row_id, sources, data["held_out"], data["expected"])


def candidate_rows(candidates: Iterable[Candidate], names: dict[str, tuple[str, ...]]) -> Iterator[dict[str, str]]:
    """The rows of a pass over candidates, each of them once. `names`: the identifiers of every document."""
    fresh = once(candidates)
    for batch in iter(lambda: list(islice(fresh, CANDIDATES_A_ROW)), []):
        yield candidate_row(batch, names)


def once(candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """`candidates` without those that came before."""
    known: set[str] = set()
    for candidate in candidates:
        if candidate.candidate_id not in known:
            known.add(candidate.candidate_id)
            yield candidate


def candidate_row(batch: list[Candidate], names: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """One row of the second pass. A pair that several candidates show stands in it once."""
    pairs = {pair.reflection_id: pair for one in batch for pair in (one.anchor, *one.others)}
    place = {reflection_id: number for number, reflection_id in enumerate(pairs)}
    payload = {
        **packed(pairs.values()),
        "candidates": [
            {"group_id": one.group_id, "shown": [place[pair.reflection_id] for pair in (one.anchor, *one.others)]}
            for one in batch
        ],
        "identifiers": {document: names.get(document, ()) for pair in pairs.values() for document in pair.document_ids},
    }
    row_id = content_id("candidates", *(one.candidate_id for one in batch))
    return {"row_id": row_id, "payload": json.dumps(payload)}


def read_candidates(payload: str) -> list[tuple[Candidate, tuple[str, ...]]]:
    """The candidates of a row of `candidate_row`, each with the identifiers of its documents."""
    data = json.loads(payload)
    pairs, found = unpacked(data), list[tuple[Candidate, tuple[str, ...]]]()
    for one in data["candidates"]:
        anchor, *others = (pairs[number] for number in one["shown"])
        documents = dict.fromkeys(document for pair in (anchor, *others) for document in pair.document_ids)
        identifiers = tuple(name for document in documents for name in data["identifiers"][document])
        found.append((Candidate(one["group_id"], anchor, tuple(others)), identifiers))
    return found


def write_result(result: UnitResult) -> str:
    """A result as JSON text."""
    return json.dumps(
        {
            **packed(result.pairs),
            "losses": [asdict(loss) for loss in result.losses],
            "counts": result.counts,
            "cost": result.cost,
            "rows": result.rows,
        }
    )


def read_result(text: str) -> UnitResult:
    """The inverse of `write_result`."""
    data = json.loads(text)
    return UnitResult(
        unpacked(data), [Lost(**loss) for loss in data["losses"]], data["counts"], data["cost"], data["rows"]
    )


def packed(pairs: Iterable[Pair]) -> dict[str, Any]:
    """`pairs` as JSON, with their evidence as places in the list `texts`."""
    texts: dict[str, int] = {}
    rows = [{**pair.to_json(), "evidence": texts.setdefault(pair.evidence, len(texts))} for pair in pairs]
    return {"texts": list(texts), "pairs": rows}


def unpacked(data: dict[str, Any]) -> list[Pair]:
    """The inverse of `packed`. Equal ids are one object, since a chunk's pairs have most of theirs in common."""
    texts, same = data["texts"], dict[Any, Any]()
    for pair in data["pairs"]:
        pair["evidence"] = texts[pair["evidence"]]
        for name in SHARED:
            value = tuple(pair[name]) if isinstance(pair[name], list) else pair[name]
            pair[name] = same.setdefault(value, value)
    return [pair_from(pair) for pair in data["pairs"]]


class Losses(Iterable[Lost]):
    """What rows have lost, on disk; read in the order of the rows' numbers, whatever order they came in."""

    def __init__(self, rows: int) -> None:
        self._shelf = Shelf(lambda losses: [Lost(**loss) for loss in losses])
        self._places = array("q", [-1]) * rows

    def put(self, number: int, losses: Iterable[Lost]) -> None:
        """Keep what row `number` has lost."""
        if found := [asdict(loss) for loss in losses]:
            self._places[number] = len(self._shelf)
            self._shelf.append(found)

    def __iter__(self) -> Iterator[Lost]:
        for place in self._places:
            if place >= 0:
                yield from self._shelf[place]


def gathered(rows: Iterable[dict[str, str]], ids: list[str]) -> UnitResult:
    """The results of the rows `ids` as one, pairs and losses in that order; one that is there twice counts once.

    `rows` come in any order, others among them. Raises GenerationError with the first error when a result is missing.
    """
    numbers = {row_id: number for number, row_id in enumerate(dict.fromkeys(ids))}
    found: list[list[Pair] | None] = [None] * len(numbers)
    losses = Losses(len(numbers))
    counts: dict[str, StepCount] = {}
    cost, error, units = Counter[str](), "", 0
    for row in rows:
        error = error or row["error"]
        number = numbers.get(row["row_id"], -1)
        if row["result"] and number >= 0 and found[number] is None:
            one = read_result(row["result"])
            found[number] = one.pairs
            losses.put(number, one.losses)
            units += one.rows
            cost.update(one.cost)
            for step, data in one.counts.items():
                counts.setdefault(step, StepCount()).add(StepCount.read(data))
    made = [pairs for pairs in found if pairs is not None]
    if len(made) < len(found):
        raise GenerationError(f"synthesis: {error or f'{len(found) - len(made)} rows came to nothing; run it again'}")
    return UnitResult(
        pairs=[pair for pairs in made for pair in pairs],
        losses=losses,
        counts={step: count.to_json() for step, count in counts.items()},
        cost=dict(cost),
        rows=units,
    )
