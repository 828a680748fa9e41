"""Whether what a stage's job has finished still stands, so that `memo submit` need not start another for it.

A job that ends well notes the settings and the code it ran with, and which artefacts are then finished. The note stands
while these are the same, the artefacts are there and the run's own, and the documents are as they were. Models are
compared by name and revision alone: their weights need not be on the machine that submits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from memo_ray.artifacts.fingerprint import file_digest, files_digest
from memo_ray.artifacts.store import Artifact
from memo_ray.workspace import Workspace

PACKAGE = Path(__file__).resolve().parent


def settings_digest(run: Workspace) -> str:
    """Of the settings that are kept beside the run's artefacts; empty when there are none."""
    kept = run.place.get("run.yaml")
    return hashlib.sha256(kept).hexdigest()[:16] if kept is not None else ""


@cache
def code_digest() -> str:
    """Of this package's files: prompts and versions of stages are in them, so other code is looked at again."""
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    return files_digest({path.relative_to(PACKAGE).as_posix(): file_digest(path) for path in files})


def note_finished(run: Workspace, stage: str, finished: Iterable[Artifact], settings: str) -> None:
    """Note that with these settings the stage and those before it have come to the artefacts `finished`."""
    made = {artifact.record.name: artifact.record.fingerprint for artifact in finished}
    note = {"settings": settings, "code": code_digest(), "finished": made}
    run.keep(f"jobs/{stage}.json", json.dumps(note, indent=1))


def stands(run: Workspace, stage: str) -> bool:
    """Whether the stage's note is of the run's settings and this code, and every artefact in it is the run's and there.

    Raises StoreError for an artefact whose files are damaged.
    """
    try:
        note = json.loads(run.place.get(f"jobs/{stage}.json") or b"{}")
    except json.JSONDecodeError:
        return False
    if (note.get("settings"), note.get("code")) != (settings_digest(run), code_digest()):
        return False
    current, noted = run.current(), note["finished"].items()
    return noted <= current.items() and all(run.store.find(*made) is not None for made in noted)


def as_they_were(run: Workspace, stage: str) -> bool:
    """Whether the files that the finished `stage` reads are those that it was made from.

    Raises MemoError, OSError or ModuleNotFoundError when they cannot be read on this machine.
    """
    from memo_ray.corpus.loaders import source_digests
    from memo_ray.evaluation.benchmarks.corpus import open_benchmark
    from memo_ray.synthesis.imported import source_digests as pairs_digests

    for corpus in run.config.corpora:
        made = run.finished(f"{stage}-{corpus.name}")
        if stage == "corpus":
            now = source_digests(corpus) if corpus.benchmark is None else open_benchmark(corpus).digests()
        elif stage == "synthesis" and corpus.reflections:
            digests = pairs_digests(corpus.reflections).values()
            now = {f"set-{place}": digest for place, digest in enumerate(digests)}
        else:
            continue
        if made is None or made.record.inputs != now:
            return False
    return True
