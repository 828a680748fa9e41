"""Documents, recall, reflections and stretches of text, as they are looked through page by page."""

from __future__ import annotations

from collections.abc import Sequence

from memo_ray.citations.shelf import LONGEST, Shelf
from memo_ray.rows import Answer, Chunk, LedgerEntry, Reflection

TEXT = "Port Amber lies on the coast.  It was founded by Ilse Verran."
SECOND = TEXT.index("It was")


def chunk(chunk_id: str, document: str, start: int, end: int, text: str = TEXT) -> Chunk:
    return Chunk(chunk_id, document, 0, document.title(), text[start:end], 1, start, end, "")


def reflection(name: str, split: str = "train") -> Reflection:
    return Reflection(name, f"What of {name}?", name, "direct", split)


def entry(
    name: str, chunks: Sequence[str], documents: Sequence[str], spans: Sequence[tuple[str, int, int]] = ()
) -> LedgerEntry:
    columns = [list(column) for column in zip(*spans, strict=True)] if spans else [[], [], []]
    return LedgerEntry(name, "direct", list(chunks), list(documents), "", [], "p", "m", 0, "", "", *columns)


def answer(name: str, recalled: bool, kind: str = "trained") -> Answer:
    return Answer(name, "epoch-2", kind, "q", ["r"], "a", recalled, 0, False, 0, 0, 0)


def shelf() -> Shelf:
    return Shelf(
        [reflection("r1"), reflection("r2"), reflection("r3", "held_out"), reflection("lost")],
        [
            entry("r1", ["c2"], ["amber"], [("amber", SECOND, len(TEXT)), ("gone", 0, 3)]),
            entry("r2", ["c1", "c3"], ["amber", "skarn"]),
            entry("r3", ["c3"], ["skarn"]),
        ],
        # Out of order, as a table may have them.
        [
            chunk("c2", "amber", SECOND, len(TEXT)),
            chunk("c1", "amber", 0, SECOND - 2),
            chunk("c3", "skarn", 0, 9),
            chunk("c4", "tarn", 0, 9),
        ],
        [answer("r1", True), answer("r2", False), answer("r3", True, "held_out")],
    )


def test_documents_have_their_recall_and_come_page_by_page() -> None:
    found = shelf().documents("", "corpus", 0, 2)
    assert (found["total"], found["offset"]) == (3, 0)
    amber, skarn = found["data"]
    assert amber == {
        "document_id": "amber", "title": "Amber", "characters": len(TEXT), "chunks": 2, "reflections": 2,
        "recall": 0.5, "asked": 2,
    }  # fmt: skip
    assert (skarn["reflections"], skarn["recall"], skarn["asked"]) == (2, 0.0, 1)
    (tarn,) = shelf().documents("", "corpus", 2, 2)["data"]
    assert (tarn["document_id"], tarn["recall"]) == ("tarn", None)
    assert shelf().documents("", "corpus", 9, 2)["data"] == []


def test_the_least_recalled_come_first_and_a_text_narrows_them() -> None:
    least = shelf().documents("", "recall", 0, 9)["data"]
    assert [row["document_id"] for row in least] == ["skarn", "amber", "tarn"]
    narrowed = shelf().documents("AR", "recall", 0, 9)
    assert [row["document_id"] for row in narrowed["data"]] == ["skarn", "tarn"]
    assert narrowed["total"] == 2


def test_reflections_say_where_they_came_from_and_whether_they_are_recalled() -> None:
    found = shelf().reflections("amber", 0, 9)
    assert found is not None
    first, second = found["data"]
    # A stretch of a document that is not here leads nowhere.
    assert first["places"] == [{"document_id": "amber", "start": SECOND, "end": len(TEXT)}]
    assert (first["recalled"], second["recalled"]) == (True, False)
    # Without spans in the ledger: the chunks that it was made from.
    assert [(place["document_id"], place["start"]) for place in second["places"]] == [("amber", 0), ("skarn", 0)]
    held_out = (shelf().reflections("skarn", 1, 1) or {})["data"][0]
    assert (held_out["split"], held_out["recalled"]) == ("held_out", None)
    assert shelf().reflections("nowhere", 0, 9) is None


def test_a_span_is_the_documents_text_at_its_offsets() -> None:
    found = shelf().span("amber", SECOND, SECOND + 6, 4)
    assert found is not None
    assert (found["before"], found["text"], found["after"]) == ("t.  ", "It was", " fou")
    # Beyond the end, and backwards, there is nothing.
    beyond = shelf().span("amber", 10_000, 10, 5) or {}
    assert (beyond["start"], beyond["end"], beyond["text"], beyond["before"]) == (len(TEXT), len(TEXT), "", "rran.")
    assert shelf().span("nowhere", 0, 1, 1) is None


def test_overlapping_windows_are_put_together_and_no_more_is_sent_than_allowed() -> None:
    text = "".join(chr(65 + n % 26) for n in range(LONGEST + 500))
    half = len(text) // 2
    windows = [chunk("a", "d", 0, half + 100, text), chunk("b", "d", half, len(text), text)]
    found = Shelf([], [], windows).span("d", half - 50, half + 200, 10)
    assert found is not None
    assert found["before"] + found["text"] + found["after"] == text[half - 60 : half + 210]
    whole = Shelf([], [], windows).span("d", 0, len(text), 0) or {}
    assert whole["text"] == text[:LONGEST]
