"""Puts chunks into the groups over which Step 5 looks for connections (paper, Section 4.1).

Chunk ids with their document and label in, groups out. The paper's groups for its multi-document benchmarks are
the evidence sets of the test questions, which no user has; these groups need nothing but the documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from memo_ray.rows import Group, content_id

GroupKind = Literal["document", "label", "all"]


def make_groups(kind: GroupKind, members: Iterable[tuple[str, str, list[str]]]) -> tuple[list[Group], int]:
    """The groups of `members` (document id, label, chunk ids; in corpus order), and how many chunks are in none.

    A chunk alone has nothing to be connected with, so only groups of two or more chunks are made. With kind
    `label`, chunks without a label are in no group.
    """
    together: dict[str, list[str]] = {}
    ungrouped = 0
    for document_id, label, chunk_ids in members:
        if kind == "label" and not label:
            ungrouped += len(chunk_ids)
            continue
        key = {"document": document_id, "label": label, "all": ""}[kind]
        together.setdefault(key, []).extend(chunk_ids)
    groups = [Group(content_id(kind, *chunks), kind, chunks) for chunks in together.values() if len(chunks) > 1]
    ungrouped += sum(len(chunks) for chunks in together.values() if len(chunks) == 1)
    return groups, ungrouped
