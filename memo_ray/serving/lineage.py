"""From a registered memory back to what it was trained on: the tables that its citations come from."""

from __future__ import annotations

from memo_ray.artifacts.place import Location
from memo_ray.artifacts.record import read_by_synthesis
from memo_ray.artifacts.registry import Memory
from memo_ray.artifacts.store import Artifact, Store
from memo_ray.citations.files import LedgerFiles

CHUNKS = "chunks.parquet"


def tables_of(store: Store, memory: Memory) -> tuple[LedgerFiles, ...]:
    """The tables of each corpus that this version was trained on, as far as they are still there.

    Digests lead from one record to the next, so a version is never cited from what another one was trained on.
    """
    found = []
    evaluated = answers_of(store, memory)
    for corpus in memory.corpora:
        synthesis = synthesis_of(store, memory, corpus)
        chunks = corpus_of(store, corpus, synthesis) if synthesis else None
        if synthesis and chunks:
            tables = {
                "reflections": synthesis.location("reflections.parquet"),
                "ledger": synthesis.location("ledger.parquet"),
                "chunks": chunks.location(CHUNKS),
                **evaluated,
            }
            found.append(LedgerFiles(**{name: str(value) for name, value in tables.items()}))
    return tuple(found)


def answers_of(store: Store, memory: Memory) -> dict[str, Location]:
    """The table with this version's answers in an evaluation, and its name there; nothing where there is none."""
    system = memory.path.rpartition("/")[2]
    for fingerprint in store.place.child("evaluation").folders():
        artifact = store.find("evaluation", fingerprint)
        read = artifact.record.inputs.values() if artifact else ()
        if artifact and memory.artifact in read and system in artifact.record.facts["systems"].values():
            return {"answers": artifact.location("answers.parquet"), "system": system}
    return {}


def synthesis_of(store: Store, memory: Memory, corpus: str) -> Artifact | None:
    """The reflections of a corpus that the memory, trained or merged, was made from."""
    for name, key in ((f"training-{corpus}", "synthesis"), ("merging", f"synthesis-{corpus}")):
        made = store.made(name, memory.artifact)
        if made is not None and key in made.record.inputs:
            return store.made(f"synthesis-{corpus}", made.record.inputs[key])
    return None


def corpus_of(store: Store, corpus: str, synthesis: Artifact) -> Artifact | None:
    """The chunks that the reflections were made from; those of an imported set name none, so the newest."""
    read = synthesis.record.inputs.get("corpus")
    name = f"corpus-{corpus}"
    for fingerprint in store.place.child(name).folders() if read else ():
        artifact = store.find(name, fingerprint)
        if artifact and read_by_synthesis(artifact.record) == read:
            return artifact
    return None if read else store.latest(name)
