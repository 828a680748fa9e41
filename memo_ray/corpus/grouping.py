"""Puts chunks into the groups over which Step 5 looks for connections (paper, Section 4.1).

Chunk ids with what is known of their documents in, groups and facts by kind out. The paper's groups for its
multi-document benchmarks are the evidence sets of the test questions, which no user has; these groups need nothing
but the documents. Groups that are discovered in the texts come from `communities.py`.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from memo_ray.config.corpus import GroupKind
from memo_ray.corpus.chunking import Span
from memo_ray.rows import Group, content_id

HEADING = re.compile(r"^(#{1,6})[ \t]+\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Member:
    """The chunks of one document. `sections[i]`: the number of the section that chunk i lies in; may be left out."""

    document_id: str
    label: str
    chunk_ids: list[str]
    sections: Sequence[int] = ()


def make_groups(
    kinds: Iterable[GroupKind], members: Sequence[Member], discovered: Iterable[list[str]] = ()
) -> list[Group]:
    """The groups of every kind, in their order; `members` and the chunks of a group are in corpus order.

    A chunk alone has nothing to be connected with, so only groups of two or more chunks are made. With kind
    `label`, chunks without a label are in no group.
    """
    groups: dict[str, Group] = {}
    for kind in kinds:
        found = discovered if kind == "discovered" else together(kind, members)
        for chunks in found:
            if len(chunks) > 1:
                group = Group(content_id(kind, *chunks), kind, chunks)
                groups.setdefault(group.group_id, group)
    return list(groups.values())


def together(kind: GroupKind, members: Iterable[Member]) -> list[list[str]]:
    """Chunks by their document, label or section, or all of them."""
    found: dict[tuple[str, int], list[str]] = {}
    for member in members:
        if kind == "label" and not member.label:
            continue
        name = {"document": member.document_id, "section": member.document_id, "label": member.label, "all": ""}[kind]
        for number, chunk_id in enumerate(member.chunk_ids):
            section = member.sections[number] if kind == "section" else 0
            found.setdefault((name, section), []).append(chunk_id)
    return list(found.values())


def sections_of(text: str, spans: Sequence[Span]) -> list[int]:
    """The section of every chunk: the one that most of its characters lie in; 0 is what stands before the first.

    Sections start at the Markdown headings of the highest level that occurs twice or more, so that a title above
    all others makes no section. A text without such headings is one section.
    """
    headings = [(len(match.group(1)), match.start()) for match in HEADING.finditer(text)]
    levels = [level for level, _ in headings]
    level = min((level for level in levels if levels.count(level) > 1), default=0)
    starts = [0, *(start for found, start in headings if found <= level)]
    ends = [*starts[1:], len(text)]
    return [
        max(range(len(starts)), key=lambda n: min(span.end, ends[n]) - max(span.start, starts[n])) for span in spans
    ]


def facts_of_groups(groups: Sequence[Group], kinds: Iterable[GroupKind], chunks: int) -> dict[str, Any]:
    """What the facts of a corpus say of its groups; `chunks`: how many it has."""
    grouped = {chunk_id for group in groups for chunk_id in group.chunk_ids}
    return {
        "groups": len(groups),
        "groups_by_kind": group_facts(groups, kinds, chunks),
        "chunks_in_no_group": chunks - len(grouped),
    }


def group_facts(groups: Iterable[Group], kinds: Iterable[GroupKind], chunks: int) -> dict[str, dict[str, Any]]:
    """For every kind: groups, chunks a group (the paper's Table 8), chunks in none."""
    sizes: dict[str, list[int]] = {kind: [] for kind in kinds}
    grouped: dict[str, set[str]] = {kind: set() for kind in sizes}
    for group in groups:
        sizes[group.kind].append(len(group.chunk_ids))
        grouped[group.kind].update(group.chunk_ids)
    return {
        kind: {
            "groups": len(found),
            "min": min(found, default=0),
            "median": statistics.median(found) if found else 0,
            "mean": round(sum(found) / len(found), 2) if found else 0,
            "max": max(found, default=0),
            "chunks_in_no_group": chunks - len(grouped[kind]),
        }
        for kind, found in sizes.items()
    }
