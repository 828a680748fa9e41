"""BrowseComp-Plus: questions of deep research over web pages, whose texts are published obfuscated.

Every text but `query_id` is Base64 over an exclusive or with the repeated SHA-256 of a canary string. It is
undone here in memory, for the questions that are taken alone. Its makers ask that questions and documents never
appear in plain text online: keep a run on it, and its report, to yourself.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from memo_ray.artifacts.place import local_copy
from memo_ray.config.benchmarks import BrowseCompPlus
from memo_ray.errors import CorpusError
from memo_ray.evaluation.benchmarks.benchmark import Item, Loaded, Passage, assemble, check, choose, reject
from memo_ray.evaluation.benchmarks.files import folder_of, read_bytes, read_id_lists, read_ids
from memo_ray.rows import Question, Reject
from memo_ray.synthesis.language import other_language

COLUMNS = ("query_id", "query", "answer", "evidence_docs", "negative_docs")
ENGLISH = ("en",)
ROWS_AT_ONCE = 8
"""A row holds some hundred web pages."""
FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
TITLE = re.compile(r"^title:[ \t]*(.+?)[ \t]*$", re.MULTILINE)
PRIVATE = "BrowseComp-Plus asks that its questions and documents never appear in plain text online: publish no text"


class Cipher:
    """Undoes the obfuscation of one canary string."""

    def __init__(self, canary: str) -> None:
        self._key = np.frombuffer(hashlib.sha256(canary.encode()).digest(), dtype=np.uint8)

    def text(self, obfuscated: str) -> str:
        """The plain text. Raises ValueError when the key does not fit."""
        try:
            data = np.frombuffer(base64.b64decode(obfuscated, validate=True), dtype=np.uint8)
        except binascii.Error as error:
            raise ValueError(f"is not Base64 ({error})") from None
        plain = np.bitwise_xor(data, np.resize(self._key, data.size)).tobytes().decode("utf-8")
        if any(ord(character) < 32 and character not in "\t\n\r\f" for character in plain[:400]):
            raise ValueError("holds control characters")
        return plain


def load(config: BrowseCompPlus, key: str) -> Loaded:
    """The benchmark of `config`; `key` is the config key that errors name. Raises CorpusError."""
    canary = os.environ.get(config.canary_env, "")
    if not canary:
        raise CorpusError(
            f"{key}.canary_env: the environment variable {config.canary_env} is not set; export the canary string "
            "that the data set's card gives as its key"
        )
    folder = folder_of("browsecomp_plus", config.path, f"{key}.path")
    wanted = read_ids(config.question_ids, f"{key}.question_ids")
    evidence = read_qrels(local_copy(config.qrels)) if config.qrels else None
    read: list[Item] = []
    rejects: list[Reject] = []
    for found in items(folder, Cipher(canary), frozenset(wanted) if wanted is not None else None, evidence):
        (rejects if isinstance(found, Reject) else read).append(found)  # type: ignore[arg-type]
    broken = [row for row in rejects if row.reason == "not_decrypted"]
    if broken and not read:
        raise CorpusError(
            f"{key}.path: {folder}: none of {len(broken)} questions can be decrypted ({broken[0].detail}); "
            f"{config.canary_env} is not this file's canary"
        )
    others = 0
    if config.english_only:
        read, dropped, others = english(read)
        rejects += dropped
    kept, unusable = check(read)
    chosen, missing = choose(kept, wanted, config.sample, config.seed)
    loaded = assemble(
        "browsecomp_plus",
        chosen,
        [*rejects, *unusable, *missing],
        noise=config.noise,
        seed=config.seed,
        negative_ids=read_id_lists(config.negative_ids, f"{key}.negative_ids"),
    )
    loaded.facts.update(private=PRIVATE, documents_in_other_languages=others)
    return loaded


def items(
    folder: Path, cipher: Cipher, wanted: frozenset[str] | None, evidence: Mapping[str, list[str]] | None
) -> Iterator[Item | Reject]:
    """The wanted questions of all Parquet files, or a reject for one that cannot be decrypted."""
    for path in [folder] if folder.is_file() else sorted(folder.rglob("*.parquet")):
        try:
            with pq.ParquetFile(path) as file:
                absent = [name for name in COLUMNS if name not in file.schema_arrow.names]
                if absent:
                    raise CorpusError(f"{path}: has no column {', '.join(absent)}; it is not BrowseComp-Plus")
                for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=list(COLUMNS)):
                    names = batch.column("query_id").to_pylist()
                    for place, name in enumerate(names):
                        if wanted is None or name in wanted:
                            yield item(batch.slice(place, 1).to_pylist()[0], cipher, evidence)
        except pa.ArrowException as error:
            raise CorpusError(f"{path}: is not a readable .parquet file ({error}); download it again") from None


def item(row: dict[str, Any], cipher: Cipher, evidence: Mapping[str, list[str]] | None) -> Item | Reject:
    """One row, decrypted."""
    name = str(row["query_id"])
    try:
        question = Question(name, cipher.text(row["query"]), [cipher.text(row["answer"])], 0)
        near = passages(row["evidence_docs"], cipher)
        far = passages(row["negative_docs"], cipher)
    except (ValueError, TypeError, KeyError) as error:
        return reject(name, "not_decrypted", f"query {name}: {error}")
    if evidence is not None:
        known = {passage.document_id: passage for passage in [*near, *far]}
        near = [known[document] for document in evidence.get(name, ()) if document in known]
    needed = {passage.document_id for passage in near}
    return Item(question, near, [passage for passage in far if passage.document_id not in needed])


def passages(documents: list[dict[str, str]] | None, cipher: Cipher) -> list[Passage]:
    """The decrypted documents of one column; a page's title stands in its front matter."""
    found = []
    for document in documents or ():
        text = cipher.text(document["text"])
        matter = FRONT_MATTER.match(text)
        title = TITLE.search(matter[1]) if matter else None
        found.append(Passage(cipher.text(document["docid"]), title[1] if title else "", text))
    return found


def english(items: list[Item]) -> tuple[list[Item], list[Reject], int]:
    """Items in English with their English documents, rejects for the others, and how many documents were left out."""
    kept: list[Item] = []
    rejects: list[Reject] = []
    known: dict[str, bool] = {}

    def speaks(passage: Passage) -> bool:
        if passage.document_id not in known:
            known[passage.document_id] = not other_language(passage.text, ENGLISH)
        return known[passage.document_id]

    for item in items:
        if not other_language(item.question.question, ENGLISH):
            near = [passage for passage in item.evidence if speaks(passage)]
            kept.append(Item(item.question, near, [passage for passage in item.negatives if speaks(passage)]))
        else:
            rejects.append(reject(item.question.question_id, "other_language", "is not in English"))
    return kept, rejects, sum(not spoken for spoken in known.values())


def read_qrels(path: Path) -> dict[str, list[str]]:
    """The relevant documents of each query, from TREC's form. Raises CorpusError naming the line."""
    found: dict[str, list[str]] = {}
    for number, line in enumerate(read_bytes(path).decode("utf-8", errors="replace").splitlines(), start=1):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 4 or not parts[3].lstrip("-").isdigit():
            raise CorpusError(f"{path}:{number}: is no qrels line; write QUERY Q0 DOCUMENT RELEVANCE")
        if int(parts[3]) > 0:
            found.setdefault(parts[0], []).append(parts[2])
    return found
