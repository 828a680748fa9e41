from __future__ import annotations

import asyncio
import gzip
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from memo_ray.corpus.words import telling
from memo_ray.evaluation.official import recall_at
from memo_ray.evaluation.systems.bm25 import Bm25Index
from memo_ray.evaluation.systems.system import Corpus
from memo_ray.rows import Chunk
from tests.unit.evaluation.systems.conftest import QUERIES


def made(corpus: Corpus, top_k: int = 9, b: float = 0.75) -> Bm25Index:
    index = Bm25Index(top_k, 1.5, b)
    asyncio.run(index.prepare(corpus, Path("unused")))
    return index


def test_the_best_chunk_comes_first_and_none_without_a_shared_word(corpus: Corpus) -> None:
    index = made(corpus)
    found = asyncio.run(index.find(QUERIES))
    assert [row.passages[0].document_id for row in found] == ["wall", "school", "ferry"]  # type: ignore[union-attr]
    assert index.rank("Zebra?") == []
    assert len(made(corpus, top_k=1).rank("harbour school ferry")) == 1


def test_weights_follow_the_formula(corpus: Corpus) -> None:
    texts = [telling(f"{row.title}\n{row.text}") for row in corpus.chunks]
    mean = sum(map(len, texts)) / len(texts)
    question = "the harbour wall in the school, harbour"

    def score(text: list[str]) -> float:
        counts, total = Counter(text), 0.0
        for term in telling(question):
            n = sum(term in other for other in texts)
            rarity = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
            total += rarity * counts[term] / (counts[term] + 1.5 * (1 - 0.75 + 0.75 * len(text) / mean))
        return total

    expected = sorted((place for place in range(4) if score(texts[place])), key=lambda place: -score(texts[place]))
    assert made(corpus).rank(question) == expected


def test_an_empty_corpus_finds_nothing(corpus: Corpus) -> None:
    assert made(Corpus("none", "", [], [])).rank("wall") == []


def test_recall_on_real_questions(shared: Callable[[str], Path]) -> None:
    """Over the paragraphs of 200 MuSiQue questions, the first 9 hold more than half of the evidence."""
    rows = [
        json.loads(line) for line in gzip.decompress(shared("musique/dev200_full.jsonl.gz").read_bytes()).splitlines()
    ]
    texts = {(p["title"], p["paragraph_text"]) for row in rows for p in row["paragraphs"]}
    ids = {text: str(place) for place, text in enumerate(sorted(texts))}
    chunks = [Chunk(name, name, 0, title, text, 1, 0, 1, "") for (title, text), name in ids.items()]
    index = made(Corpus("musique", "", [], chunks))
    recalls = []
    for row in rows:
        evidence = [ids[p["title"], p["paragraph_text"]] for p in row["paragraphs"] if p["is_supporting"]]
        recalls.append(recall_at([chunks[place].document_id for place in index.rank(row["question"])], evidence, 9))
    assert 0.45 < sum(value or 0 for value in recalls) / len(recalls) < 0.8
