"""A corpus made of a benchmark: its tables, with the benchmark's own groups where the config asks for them.

The pipeline calls `open_benchmark` to know what the corpus is made of, and `build_corpus` when it must be made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from memo_ray.artifacts.store import Attempt
from memo_ray.config.benchmarks import BrowseCompPlus, MuSiQue, NarrativeQA
from memo_ray.config.corpus import CorpusConfig
from memo_ray.corpus.assembly import Assembly, prepare
from memo_ray.corpus.grouping import facts_of_groups
from memo_ray.corpus.loaders import Listing
from memo_ray.errors import CorpusError
from memo_ray.evaluation.benchmarks import browsecomp_plus, musique, narrativeqa
from memo_ray.evaluation.benchmarks.benchmark import Loaded, reject
from memo_ray.rows import Chunk, Document, Group, Question, Reject, content_id

LOADERS: dict[type, Callable[[Any, str], Loaded]] = {
    MuSiQue: musique.load,
    BrowseCompPlus: browsecomp_plus.load,
    NarrativeQA: narrativeqa.load,
}


def open_benchmark(corpus: CorpusConfig) -> Loaded:
    """The documents and questions of the corpus's benchmark.

    Raises CorpusError when the files cannot be had or read, or no question is left.
    """
    assert corpus.benchmark is not None  # the caller asks only then
    return LOADERS[type(corpus.benchmark)](corpus.benchmark, f"corpora.{corpus.name}.benchmark")


@dataclass(frozen=True)
class Tables:
    """What the stage writes but for the questions. `known`: every document's id, and the one it was kept under."""

    documents: list[Document]
    chunks: list[Chunk]
    groups: list[Group]
    rejects: list[Reject]
    known: dict[str, str]
    facts: dict[str, Any]


def build_corpus(corpus: CorpusConfig, loaded: Loaded, attempt: Attempt) -> None:
    """Write the tables `documents`, `chunks`, `groups`, `questions` and `rejects` and the facts of the corpus.

    `loaded` is what `open_benchmark` gave for it. Raises CorpusError as the corpus stage does.
    """
    tables = assemble(corpus, loaded)
    questions, unanswerable = answerable(loaded.questions, tables.known)
    attempt.write("documents", tables.documents, Document)
    attempt.write("chunks", tables.chunks, Chunk)
    attempt.write("groups", tables.groups, Group)
    attempt.write("questions", questions, Question)
    attempt.write("rejects", [*tables.rejects, *loaded.rejects, *unanswerable], Reject)
    attempt.facts.update(tables.facts, benchmark=loaded.facts, questions=len(questions))
    attempt.facts["question_rejects"] = len(loaded.rejects) + len(unanswerable)


def assemble(corpus: CorpusConfig, loaded: Loaded) -> Tables:
    """The benchmark's documents as chunks and groups; those without a licence of their own have the corpus's."""
    documents: list[Document] = []
    chunks: list[Chunk] = []
    own = "benchmark" in corpus.group_kinds
    others = tuple(kind for kind in corpus.group_kinds if kind != "benchmark")
    settings = corpus.model_copy(update={"groups": others or "document"}) if own else corpus
    assembly = Assembly(settings, Listing([], {}), documents, chunks)
    for document in loaded.documents:
        assembly.add(prepare(replace(document, licence=document.licence or corpus.licence), settings))
    groups, facts = assembly.finish(lambda: ((chunk.chunk_id, chunk.text) for chunk in chunks))
    if own:
        groups = benchmark_groups(loaded, assembly.known, chunks) + (groups if others else [])
        facts.update(facts_of_groups(groups, corpus.group_kinds, len(chunks)))
    return Tables(documents, chunks, groups, assembly.rejects, assembly.known, facts)


def benchmark_groups(loaded: Loaded, known: dict[str, str], chunks: list[Chunk]) -> list[Group]:
    """The benchmark's groups of documents as groups of two or more chunks, each set of chunks once."""
    by_document: dict[str, list[str]] = {}
    for chunk in chunks:
        by_document.setdefault(chunk.document_id, []).append(chunk.chunk_id)
    groups: dict[str, Group] = {}
    for members in loaded.groups:
        documents = dict.fromkeys(known[name] for name in members if name in known)
        together = [chunk for name in documents for chunk in by_document.get(name, ())]
        if len(together) > 1:
            group_id = content_id("benchmark", *together)
            groups[group_id] = Group(group_id, "benchmark", together)
    return list(groups.values())


def answerable(questions: list[Question], known: dict[str, str]) -> tuple[list[Question], list[Reject]]:
    """Questions with the ids under which their evidence was kept; a reject for one whose evidence could not be read."""
    kept: list[Question] = []
    rejects: list[Reject] = []
    for row in questions:
        unknown = [name for name in row.document_ids if name not in known]
        if unknown:
            rejects.append(reject(row.question_id, "unknown_document", f"its document {unknown[0]} cannot be read"))
            continue
        ids = list(dict.fromkeys(known[name] for name in row.document_ids))
        kept.append(Question(row.question_id, row.question, row.answers, row.hops, ids))
    if not kept:
        raise CorpusError("benchmark: no question has its evidence in the corpus")
    return kept, rejects
