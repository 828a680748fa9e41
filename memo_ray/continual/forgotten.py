"""Which documents a run has forgotten, or is forgetting: `forgotten.json` in the run's folder.

Every command on the run leaves them out of its corpora, whatever the config says that it was started with; so the
user's own file, in which the document may still lie below a path, cannot bring it back.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Literal

from pydantic import ValidationError

from memo_ray.artifacts.place import Place
from memo_ray.config.base import Settings
from memo_ray.config.run import RunConfig
from memo_ray.errors import StoreError

FILE = "forgotten.json"

How = Literal["retrain", "subtract"]
"""`retrain`: the corpus's memory is trained anew without the document. `subtract`: its task vector leaves the merge."""


class Forgotten(Settings):
    """One document. Until the certificate is there, also what a command that was killed needs to go on."""

    corpus: str
    document_id: str
    digest: str
    """SHA-256 of its text: copies under another id stay out too."""
    how: How
    certificate: str = ""
    """The certificate's name in the run's folder, once all is done."""
    title: str = ""
    source: str = ""
    before: tuple[str, ...] = ()
    """The memories that knew it, as NAME@VERSION; the run's own first."""
    fingerprints: dict[str, str] = {}
    """Of the corpus and synthesis artefacts that hold it, by name."""

    @property
    def done(self) -> bool:
        """Whether it is forgotten."""
        return bool(self.certificate)

    def finished(self, certificate: str) -> Forgotten:
        """The same once it is forgotten: nothing of it but its id and digest."""
        empty = {"title": "", "source": "", "before": (), "fingerprints": {}}
        return self.model_copy(update={"certificate": certificate, **empty})


def read_forgotten(run: Place) -> tuple[Forgotten, ...]:
    """The run's list, oldest first. Raises StoreError when it is damaged: nothing may be learnt from a guess."""
    content = run.get(FILE)
    if content is None:
        return ()
    try:
        return tuple(Forgotten.model_validate_json(json.dumps(row)) for row in json.loads(content))
    except (ValueError, TypeError, ValidationError):
        raise StoreError(f"{run.url}/{FILE}: is damaged; restore it, for it keeps documents out of the run") from None


def write_forgotten(run: Place, entry: Forgotten) -> None:
    """Put `entry` into the run's list, over one of the same document."""
    same = (entry.corpus, entry.document_id)
    others = [row for row in read_forgotten(run) if (row.corpus, row.document_id) != same]
    rows = [row.model_dump(mode="json") for row in [*others, entry]]
    run.put(FILE, (json.dumps(rows, indent=1, ensure_ascii=False) + "\n").encode())


def left_out(config: RunConfig, forgotten: Iterable[Forgotten]) -> RunConfig:
    """`config` with the forgotten documents left out of its corpora, by id and by text."""
    names: dict[str, list[str]] = {}
    for row in forgotten:
        names.setdefault(row.corpus, []).extend((row.document_id, f"sha256:{row.digest}"))
    corpora = tuple(
        corpus.model_copy(update={"forget": tuple(dict.fromkeys([*corpus.forget, *names.get(corpus.name, ())]))})
        for corpus in config.corpora
    )
    return config.model_copy(update={"corpora": corpora})
