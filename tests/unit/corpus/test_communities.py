"""Groups that are found in the texts."""

from __future__ import annotations

import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from memo_ray.config.comparison import Encoder
from memo_ray.config.corpus import CorpusConfig, Discovered
from memo_ray.corpus.communities import chunk_texts, discover, grow, semantics


def corpus(subjects: int = 6, chunks: int = 8) -> list[tuple[str, str]]:
    """Chunks of several subjects in mixed order; all use the same ordinary words, a subject's use its own as well."""
    draw = random.Random(0)
    return [
        (
            f"{subject}-{chunk}",
            " ".join([draw.choice("the a of stone wall ship year".split()) for _ in range(60)]
                     + [f"subject{subject}word{draw.randrange(12)}" for _ in range(8)]),
        )
        for chunk in range(chunks)
        for subject in range(subjects)
    ]  # fmt: skip


def test_chunks_of_one_subject_are_found_again() -> None:
    groups = discover(corpus, Discovered(max_chunks=8))
    assert sorted(len(group) for group in groups) == [8] * 6
    assert all(len({chunk_id.split("-")[0] for chunk_id in group}) == 1 for group in groups)


def test_no_group_is_larger_than_allowed_and_no_chunk_in_two() -> None:
    groups = discover(corpus, Discovered(max_chunks=5))
    members = [chunk_id for group in groups for chunk_id in group]
    assert max(map(len, groups)) <= 5 and len(members) == len(set(members)) and len(members) > 30


def test_chunks_with_like_vectors_are_put_together_up_to_the_size(tiny_model: Path) -> None:
    texts = [(f"{word}-{n}", f"the {word} ship " * 40) for n in range(3) for word in ("salt", "harbour", "lighthouse")]
    encoder = Encoder(engine="transformers", model=str(tiny_model))
    groups = discover(lambda: texts, Discovered(by="embedding", encoder=encoder, max_chunks=3, neighbours=2))
    assert groups == [[f"{word}-{n}" for n in range(3)] for word in ("salt", "harbour", "lighthouse")]
    assert discover(list, Discovered(by="embedding", encoder=encoder)) == []


def test_the_fingerprint_holds_discovered_only_where_it_counts(tiny_model: Path) -> None:
    encoder = Encoder(engine="transformers", model=str(tiny_model))
    by_embedding = Discovered(by="embedding", encoder=encoder)
    assert semantics(CorpusConfig(paths=("a",), discovered=Discovered(max_chunks=3))) == {}
    words = semantics(CorpusConfig(paths=("a",), groups="discovered"))
    held = semantics(CorpusConfig(paths=("a",), groups="discovered", discovered=by_embedding))
    assert words["by"] == "words" and "encoder" not in words
    assert str(tiny_model) not in str(held) and len(held["encoder"]) > 32
    with pytest.raises(ValidationError, match="by: embedding and encoder go together"):
        Discovered(by="embedding")


def test_what_shares_nothing_is_in_no_group() -> None:
    assert discover(lambda: [("a", "salt works"), ("b", "bell tower"), ("c", "")], Discovered()) == []


def test_the_same_texts_give_the_same_groups_in_corpus_order() -> None:
    first, again = discover(corpus, Discovered()), discover(corpus, Discovered())
    order = {chunk_id: number for number, (chunk_id, _) in enumerate(corpus())}
    assert first == again
    assert all(group == sorted(group, key=order.__getitem__) for group in first)


def test_growing_follows_the_order_of_pairs_and_skips_what_would_be_too_large() -> None:
    assert grow(6, [(0, 1), (2, 3), (1, 2), (4, 5), (3, 4)], 4) == [[0, 1, 2, 3], [4, 5]]


def test_texts_are_read_from_the_table_again(tmp_path: Path) -> None:
    path = tmp_path / "chunks.parquet"
    pq.write_table(pa.table({"chunk_id": ["a", "b"], "words": [1, 1], "text": ["salt", "bell"]}), path)
    assert list(chunk_texts(path)) == [("a", "salt"), ("b", "bell")]
