"""Which document a person means: by its id, its title, or the name of its file."""

from __future__ import annotations

import difflib
import hashlib
from dataclasses import dataclass

import pyarrow.parquet as pq

from memo_ray.continual.forgotten import Forgotten, read_forgotten
from memo_ray.errors import ConfigError
from memo_ray.workspace import Workspace

SHOWN = 5


@dataclass(frozen=True)
class Known:
    """A document of a finished corpus, without its text."""

    corpus: str
    document_id: str
    title: str
    source: str

    def __str__(self) -> str:
        return f"{self.document_id} of corpus {self.corpus} ({self.source})"


def find(run: Workspace, wanted: str, corpus: str | None = None) -> Forgotten:
    """The document `wanted`, of `corpus` if that is given: one that is being forgotten already, or one of the corpora.

    An id counts before a title, a title before a source or its last part. Raises ConfigError in one line when there
    is none, with near names, or several.
    """
    for row in read_forgotten(run.place):
        if wanted in (row.document_id, row.title, row.source) and corpus in (None, row.corpus):
            return row
    names = [one.name for one in run.config.corpora]
    if corpus is not None and corpus not in names:
        raise ConfigError(f"--corpus {corpus}: the run has no such corpus; it has {', '.join(names)}")
    known = [row for name in names if corpus in (None, name) for row in documents_of(run, name)]
    if not known:
        raise ConfigError(f"{run.where}: has no finished corpus; `memo run {run.where}/run.yaml` makes it first")
    matches = matching(known, wanted)
    if len(matches) > 1:
        listed = "; ".join(str(row) for row in matches[:SHOWN])
        raise ConfigError(f"{wanted}: could be {listed}; give the id, and --corpus if that is the same")
    if not matches:
        near = difflib.get_close_matches(wanted, [text for row in known for text in (row.document_id, row.title)], n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"ids look like {known[0].document_id}"
        raise ConfigError(f"{wanted}: the run has no such document; {hint}")
    (found,) = matches
    return Forgotten(
        corpus=found.corpus, document_id=found.document_id, digest=digest_of(run, found), how="retrain",
        title=found.title, source=found.source,
    )  # fmt: skip


def matching(known: list[Known], wanted: str) -> list[Known]:
    """Those that `wanted` names, by the first way that names any."""
    ways = (
        lambda row: row.document_id == wanted,
        lambda row: row.title.casefold() == wanted.casefold(),
        lambda row: wanted in (row.source, row.source.rpartition("/")[2]),
    )
    return next((found for way in ways if (found := [row for row in known if way(row)])), [])


def documents_of(run: Workspace, corpus: str) -> list[Known]:
    """The documents of a corpus; none before its stage is finished."""
    made = run.finished(f"corpus-{corpus}")
    if made is None:
        return []
    table = pq.read_table(made.path("documents.parquet"), columns=["document_id", "title", "source"])
    return [Known(corpus, **row) for row in table.to_pylist()]


def digest_of(run: Workspace, found: Known) -> str:
    """SHA-256 of a document's text."""
    made = run.finished(f"corpus-{found.corpus}")
    assert made is not None  # the document was read from it
    where = [("document_id", "=", found.document_id)]
    (text,) = pq.read_table(made.path("documents.parquet"), columns=["text"], filters=where)["text"].to_pylist()
    return hashlib.sha256(text.encode()).hexdigest()
