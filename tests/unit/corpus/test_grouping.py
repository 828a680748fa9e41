"""Which chunks Step 5 may connect."""

from __future__ import annotations

from memo_ray.corpus.grouping import make_groups

MEMBERS = [("a", "law", ["a0", "a1"]), ("b", "law", ["b0"]), ("c", "salt", ["c0"]), ("d", "", ["d0", "d1", "d2"])]


def test_by_document_only_documents_of_several_chunks_make_groups() -> None:
    groups, ungrouped = make_groups("document", MEMBERS)
    assert [(group.kind, group.chunk_ids) for group in groups] == [
        ("document", ["a0", "a1"]),
        ("document", ["d0", "d1", "d2"]),
    ]
    assert ungrouped == 2


def test_by_label_groups_cross_documents_and_leave_out_what_has_no_label_or_company() -> None:
    groups, ungrouped = make_groups("label", MEMBERS)
    assert [group.chunk_ids for group in groups] == [["a0", "a1", "b0"]]
    assert ungrouped == 1 + 3


def test_all_is_one_group_in_corpus_order() -> None:
    groups, ungrouped = make_groups("all", MEMBERS)
    assert [group.chunk_ids for group in groups] == [["a0", "a1", "b0", "c0", "d0", "d1", "d2"]]
    assert ungrouped == 0


def test_a_single_chunk_makes_no_group() -> None:
    assert make_groups("all", [("a", "", ["a0"])]) == ([], 1)


def test_ids_follow_kind_and_content() -> None:
    two = [("a", "x", ["a0", "a1"])]
    first, again, other = (make_groups(kind, two)[0][0].group_id for kind in ("all", "all", "label"))
    assert first == again != other
    assert make_groups("all", [("a", "x", ["a0", "a2"])])[0][0].group_id != first
