"""Question-answer sets made elsewhere, in place of synthesis; and reflections written for other trainers.

    .jsonl, .parquet ─ {question, answer} or chat messages ─▶ Reflection, LedgerEntry      (import)
    Reflection ─▶ .jsonl of chat messages                                                  (export)

A set is taken whole or not at all: the first row that cannot be learnt from is an error that names it, since a set
that someone curated should not shrink in silence. Only exact copies are set aside, and counted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from memo_ray.artifacts.fingerprint import file_digest
from memo_ray.artifacts.place import local_copy
from memo_ray.errors import CorpusError
from memo_ray.rows import LedgerEntry, Reflection, content_id

STEP = "imported"
COLUMNS = (("question", "answer"), ("prompt", "completion"), ("prompt", "response"), ("instruction", "output"))
"""Pairs of columns that are understood as question and answer, the first that a row has; or `messages`."""
SPLITS = ("train", "held_out")
KNOWN = frozenset(name for pair in COLUMNS for name in pair) | {"messages", "split"}


class Unusable(ValueError):
    """What is wrong with a row; the caller says where it stands."""


def import_pairs(
    paths: Sequence[str], licence: str = "", licence_column: str | None = None
) -> tuple[list[Reflection], list[LedgerEntry], dict[str, int]]:
    """The reflections of all files, what the ledger says of them, and the counts `read` and `copies`.

    `licence` goes to the ledger, or what a row has in `licence_column`. A column `split` with `held_out` keeps a row
    from training, for the choice of an epoch. Raises CorpusError naming the file and row (from 1) that is of no use.
    """
    reflections: dict[str, Reflection] = {}
    ledger: list[LedgerEntry] = []
    read = 0
    for given in paths:
        for number, values in _rows(_existing(given), licence_column):
            read += 1
            try:
                row = reflection(values)
            except Unusable as problem:
                raise CorpusError(f"{given}:{number}: {problem}") from None
            known = reflections.setdefault(row.reflection_id, row)
            if known is not row and known.split != row.split:
                raise CorpusError(
                    f"{given}:{number}: the same pair stands elsewhere with split {known.split}; what is held out "
                    "must not be trained on, remove one of them"
                )
            if known is row:
                terms = str(values.get(licence_column or "") or licence).strip()
                entry = LedgerEntry(row.reflection_id, STEP, [], [Path(given).name], "", [], "", "", 0, licence=terms)
                ledger.append(entry)
    if not any(row.split == "train" for row in reflections.values()):
        remedy = (
            f"all {len(reflections)} have split held_out" if reflections else "write a question and an answer a row"
        )
        raise CorpusError(f"{', '.join(paths)}: holds no pair to train on; {remedy}")
    return list(reflections.values()), ledger, {"read": read, "copies": read - len(reflections)}


def source_digests(paths: Sequence[str]) -> dict[str, str]:
    """The content digest of every file, by the name given. Raises CorpusError for one that is not there."""
    return {given: file_digest(_existing(given)) for given in paths}


def reflection(values: Mapping[str, Any]) -> Reflection:
    """One row as a Reflection. Raises Unusable."""
    question, answer = _of_messages(values["messages"]) if values.get("messages") else _of_columns(values)
    split = values.get("split") or "train"
    if split not in SPLITS:
        raise Unusable(f"split is {json.dumps(split, default=str)}; write train or held_out")
    return Reflection(content_id(question, answer), question, answer, STEP, split)


def chat_lines(reflections: Iterable[Reflection]) -> Iterator[str]:
    """A JSON line of chat messages for each row, with its split and step: what trl, axolotl and others read."""
    for row in reflections:
        messages = [{"role": "user", "content": row.question}, {"role": "assistant", "content": row.answer}]
        yield json.dumps({"messages": messages, "split": row.split, "step": row.step}, ensure_ascii=False)


def _of_columns(values: Mapping[str, Any]) -> tuple[str, str]:
    for asked, told in COLUMNS:
        if asked in values and told in values:
            return _text(values[asked], asked), _text(values[told], told)
    have = ", ".join(sorted(map(str, values))) or "none"
    raise Unusable(f"needs question and answer, or messages; its columns are {have}")


def _of_messages(messages: Any) -> tuple[str, str]:
    """A memory is asked with the bare question, so a set that trains it otherwise is refused."""
    if not isinstance(messages, Sequence) or not all(isinstance(one, Mapping) for one in messages):
        raise Unusable("messages must be a list of objects with role and content")
    roles = [one.get("role") for one in messages]
    if roles != ["user", "assistant"]:
        raise Unusable(
            f"messages have the roles {', '.join(map(str, roles))}; a memory learns one user turn and one assistant "
            "turn, so split longer talks and fold system text into the question"
        )
    return _text(messages[0].get("content"), "the user's content"), _text(
        messages[1].get("content"), "the assistant's content"
    )


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise Unusable(f"{name} must be text, got {type(value).__name__}")
    if not value.strip():
        raise Unusable(f"{name} is empty")
    return value.strip()


def _existing(given: str) -> Path:
    path = local_copy(given)
    if not path.is_file():
        raise CorpusError(f"{given}: no such question-answer file; correct `reflections` of the corpus")
    if path.suffix not in (".jsonl", ".parquet"):
        raise CorpusError(f"{given}: question-answer sets are .jsonl or .parquet files; convert it")
    return path


def _rows(path: Path, licence_column: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    return _parquet_rows(path, licence_column) if path.suffix == ".parquet" else _json_rows(path)


def _json_rows(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                values = json.loads(line.decode("utf-8"))
            except UnicodeDecodeError:
                raise CorpusError(f"{path}:{number}: is not UTF-8 text; save the file as UTF-8") from None
            except (json.JSONDecodeError, RecursionError) as error:
                raise CorpusError(f"{path}:{number}: is not JSON ({error}); write one object a line") from None
            if not isinstance(values, dict):
                raise CorpusError(f"{path}:{number}: is no JSON object; write one object a line")
            yield number, values


def _parquet_rows(path: Path, licence_column: str | None) -> Iterator[tuple[int, Mapping[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        wanted = [
            name for name in file.schema_arrow.names if name in KNOWN or name == licence_column
        ] or file.schema_arrow.names
        number = 0
        for batch in file.iter_batches(columns=wanted):
            for values in batch.to_pylist():
                number += 1
                yield number, values
    except pa.ArrowException as error:
        raise CorpusError(f"{path}: is no readable Parquet file ({str(error).splitlines()[0][:160]})") from None
