"""Units, candidates and their results as flat rows of text, which is how they travel through Ray Data and Parquet.

A row is `{row_id, payload}`; a result `{row_id, result, error}`. Plain JSON, so that files of an older run can be
read without unpickling. The text that many pairs were made from, a whole chunk mostly, stands in a row once and is one
string again where the row is read.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import PurePath
from typing import Any

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.errors import GenerationError
from memo_ray.rows import Chunk, Document, content_id
from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.candidates import Candidate
from memo_ray.synthesis.pairs import Lost, Pair, Source, pair_from
from memo_ray.synthesis.recipe import Unit, UnitResult

SHARED = ("step", "chunk_ids", "document_ids", "prompt_id", "seed", "parents", "group_id", "split", "kind")
"""What many pairs of a result have in common."""


def unit_rows(chunks: list[Chunk], documents: list[Document], config: SynthesisConfig) -> Iterator[dict[str, str]]:
    """One row a chunk, or a document with `entity_scope: document`, in corpus order; made one after the other."""
    names = identifiers_of(documents)
    grouped: dict[str, list[Chunk]] = {}
    for chunk in chunks:
        key = chunk.document_id if config.entity_scope == "document" else chunk.chunk_id
        grouped.setdefault(key, []).append(chunk)
    share = -(-config.held_out.max_questions // max(1, len(grouped)))
    expected = None if config.max_reflections is None else max(1, config.max_reflections // max(1, len(grouped)))
    for key, members in grouped.items():
        payload = {
            "chunks": [asdict(chunk) for chunk in members],
            "identifiers": list(names.get(members[0].document_id, ())),
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
    sources = [Source(Chunk(**chunk), tuple(data["identifiers"])) for chunk in data["chunks"]]
    return Unit(row_id, sources, data["held_out"], data["expected"])


def candidate_row(candidate: Candidate, names: dict[str, tuple[str, ...]]) -> dict[str, str]:
    """One row of the second pass. `names`: the identifiers of every document."""
    pairs = (candidate.anchor, *candidate.others)
    documents = dict.fromkeys(document for pair in pairs for document in pair.document_ids)
    payload = {
        "group_id": candidate.group_id,
        **packed(pairs),
        "identifiers": [name for document in documents for name in names.get(document, ())],
    }
    return {"row_id": candidate.candidate_id, "payload": json.dumps(payload)}


def read_candidate(payload: str) -> tuple[Candidate, tuple[str, ...]]:
    """The candidate of a row of `candidate_row`, and the identifiers of its documents."""
    data = json.loads(payload)
    anchor, *others = unpacked(data)
    return Candidate(data["group_id"], anchor, tuple(others)), tuple(data["identifiers"])


def write_result(result: UnitResult) -> str:
    """A result as JSON text."""
    return json.dumps(
        {
            **packed(result.pairs),
            "losses": [asdict(loss) for loss in result.losses],
            "counts": result.counts,
            "cost": result.cost,
        }
    )


def read_result(text: str) -> UnitResult:
    """The inverse of `write_result`."""
    data = json.loads(text)
    return UnitResult(unpacked(data), [Lost(**loss) for loss in data["losses"]], data["counts"], data["cost"])


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


def gathered(rows: Iterable[dict[str, str]], ids: list[str]) -> UnitResult:
    """The results of the rows `ids` as one, pairs and losses in that order; one that is there twice counts once.

    `rows` come in any order, others among them. Raises GenerationError with the first error when a result is missing.
    """
    found: dict[str, tuple[list[Pair], list[Lost]] | None] = dict.fromkeys(ids)
    counts: dict[str, StepCount] = {}
    cost, error = Counter[str](), ""
    for row in rows:
        error = error or row["error"]
        if row["result"] and found.get(row["row_id"], ()) is None:
            one = read_result(row["result"])
            found[row["row_id"]] = one.pairs, one.losses
            cost.update(one.cost)
            for step, data in one.counts.items():
                counts.setdefault(step, StepCount()).add(StepCount.read(data))
    made = [outcome for outcome in found.values() if outcome is not None]
    if len(made) < len(found):
        raise GenerationError(f"synthesis: {error or f'{len(found) - len(made)} rows came to nothing; run it again'}")
    return UnitResult(
        pairs=[pair for pairs, _ in made for pair in pairs],
        losses=[loss for _, losses in made for loss in losses],
        counts={step: count.to_json() for step, count in counts.items()},
        cost=dict(cost),
        rows=len(made),
    )
