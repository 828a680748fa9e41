"""Rows on disk."""

from __future__ import annotations

from memo_ray.rows import Chunk
from memo_ray.synthesis.shelf import Shelf
from tests.unit.synthesis.conftest import make_chunk


def test_what_stands_on_a_shelf_is_a_list():
    chunks = [make_chunk(text) for text in ("One.", "Zwei Häuser\nund ein Fluß.", "")]
    shelf = Shelf(lambda row: Chunk(**row), ({name: getattr(c, name) for name in Chunk.__slots__} for c in chunks))
    assert list(shelf) == chunks and list(shelf) == chunks, "it can be read again"
    assert (len(shelf), shelf[-1], shelf[1:]) == (3, chunks[-1], chunks[1:])


def test_what_was_read_does_not_hinder_what_is_put_next():
    shelf: Shelf[int] = Shelf(int, [1, 2])
    assert shelf[0] == 1
    shelf.append(3)
    assert list(shelf) == [1, 2, 3]
