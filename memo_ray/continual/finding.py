"""Which document a person means: by its id, its title, or the name of its file."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from memo_ray.artifacts.store import Artifact
from memo_ray.artifacts.tables import iterate_rows
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
    """The document `wanted`, of `corpus` if that is given.

    One whose forgetting was begun counts before those of the corpora, and these before one that is forgotten; an id
    before a title, a title before a source or its last part. Raises ConfigError in one line when there is none, with
    near names, or several.
    """
    listed = [row for row in read_forgotten(run.place) if corpus in (None, row.corpus)]
    begun = [row for row in listed if not row.done and wanted in (row.document_id, row.title, row.source)]
    if begun:
        return begun[0]  # there is one at most: a second is not begun before
    done = [row for row in listed if row.done and row.document_id == wanted]
    names = [one.name for one in run.config.corpora]
    if corpus is not None and corpus not in names and not done:
        raise ConfigError(f"--corpus {corpus}: the run has no such corpus; it has {', '.join(names)}")
    known = [row for name in names if corpus in (None, name) for row in documents_of(run, name)]
    matches = matching(known, wanted)
    if done and not any(row.document_id == wanted for row in matches):
        if len(done) > 1:
            corpora = ", ".join(row.corpus for row in done)
            raise ConfigError(f"{wanted}: was forgotten in several corpora, {corpora}; give --corpus")
        return done[0]
    if not known:
        raise ConfigError(f"{run.where}: has no finished corpus; `memo run {run.where}/run.yaml` makes it first")
    if len(matches) > 1:
        shown = "; ".join(str(row) for row in matches[:SHOWN])
        raise ConfigError(f"{wanted}: could be {shown}; give the id, and --corpus if that is the same")
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
    rows = iterate_rows(made.path("documents.parquet"), ["document_id", "title", "source"])
    return [Known(corpus, **row) for row in rows]


def copies_of(digest: str, corpora: Mapping[str, Artifact]) -> list[dict[str, str]]:
    """`corpus` and `id` of every document of `corpora` whose text has this SHA-256."""
    return [
        {"corpus": name, "id": row["document_id"]}
        for name, made in corpora.items()
        for row in iterate_rows(made.path("documents.parquet"), ["document_id", "text"])
        if hashlib.sha256(row["text"].encode()).hexdigest() == digest
    ]


def digest_of(run: Workspace, found: Known) -> str:
    """SHA-256 of a document's text."""
    made = run.finished(f"corpus-{found.corpus}")
    assert made is not None  # the document was read from it
    rows = iterate_rows(made.path("documents.parquet"), ["document_id", "text"])
    (text,) = (row["text"] for row in rows if row["document_id"] == found.document_id)
    return hashlib.sha256(text.encode()).hexdigest()
