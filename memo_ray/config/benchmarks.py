"""Benchmarks that a corpus can be made of: where their files are, which questions and how much noise."""

from typing import Annotated, Literal

from pydantic import Field

from memo_ray.config.base import Settings


class Benchmark(Settings):
    """What every benchmark shares. Its files may lie on S3: `s3://` addresses are read wherever a path is."""

    path: str | None = None
    """Folder, file or s3:// prefix with the benchmark's own files; none: downloaded from the Hugging Face hub."""
    sample: int | None = Field(default=None, ge=1)
    """Draw so many questions; none: all, or those of `question_ids`."""
    seed: int = Field(default=0, ge=0)
    """What questions and negative documents are drawn by."""


class Noisy(Benchmark):
    """A benchmark whose questions have evidence and negative documents (paper, Section 5.2 and Appendix D)."""

    noise: int = Field(default=1, ge=0)
    """Negative documents as a multiple of a question's evidence documents: 0, 1 (the paper's corpora) or 2."""
    question_ids: str | None = None
    """JSON file with the ids of the questions to take: a list, or an object whose keys they are."""
    negative_ids: str | None = None
    """JSON file with the negative documents of each question, taken first; further ones are drawn by `seed`."""


class MuSiQue(Noisy):
    """MuSiQue-Ans: the original JSON Lines, or HippoRAG's `musique.json`. The paper takes 1,000 questions."""

    kind: Literal["musique"]


class BrowseCompPlus(Noisy):
    """BrowseComp-Plus: Parquet whose texts are obfuscated; they are read in memory alone. The paper takes 300."""

    kind: Literal["browsecomp_plus"]
    canary_env: str = "BROWSECOMP_PLUS_CANARY"
    """The environment variable with the canary string of the data set's card, which is the key."""
    qrels: str | None = None
    """TREC file with the evidence documents (`QUERY Q0 DOCUMENT 1`); none: the data set's own column."""
    english_only: bool = True
    """Leave out documents and questions in other languages."""


class NarrativeQA(Benchmark):
    """NarrativeQA: `documents.csv`, `qaps.csv` and the stories (`tmp/ID.content`). The paper takes 10 documents."""

    kind: Literal["narrativeqa"]
    set: Literal["train", "valid", "test"] = "valid"
    documents: int | None = Field(default=10, ge=1)
    """Draw so many documents of the set; none: all that have a story."""
    document_ids: str | None = None
    """JSON file with the ids of the documents to take instead."""


BenchmarkConfig = Annotated[MuSiQue | BrowseCompPlus | NarrativeQA, Field(discriminator="kind")]
