"""One synthesis in a process of its own, so that a test can kill it: `python -m tests.ray.synthesis_run ROOT PORT`."""

from __future__ import annotations

import sys
from pathlib import Path

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.models import OpenAIModel
from memo_ray.config.synthesis import Connections, Grounding, HeldOut, Sampling, SynthesisConfig
from memo_ray.models.opening import Opener, open_model
from memo_ray.progress import unheard
from memo_ray.rows import Chunk, Document, Group, content_id
from memo_ray.synthesis.ray_pass import Pass
from memo_ray.synthesis.ray_synthesis import Passes, synthesise
from tests.local_cluster import local_cluster

PEOPLE = ("mason Rolf Anstick", "painter Lena Korb", "pilot Jory Kess", "poet Nora Fenwith", "smith Ottla Reeve")
WORKS = ("Solt Works", "Vell Tower", "Pask School", "Pilot Office", "Rafter Hall")


def text_of(number: int) -> str:
    """A document of three sentences; every other one shares a person, and each shares a name with the next."""
    person, work, other = PEOPLE[number % 5], WORKS[number % 5], WORKS[(number + 1) % 5]
    name = person.split(" ", 1)[1]
    return (
        f"The {person} founded the {work} in the town of Varda in {1800 + number}. "
        f"{name} painted the door of the {other} with blue ink. "
        f"The {work} stands on the island of Ost."
    )


def corpus(store: Store, documents: int) -> Artifact:
    """A finished corpus of so many documents, one chunk each, in one group."""
    found = store.find("corpus", "0" * 64)
    if found is None:
        rows = [Document(f"doc-{n}", WORKS[n % 5], text_of(n), "", f"docs/doc-{n}.md") for n in range(documents)]
        chunks = [
            Chunk(content_id("chunk", d.document_id), d.document_id, 0, d.title, d.text, 30, 0, len(d.text), "")
            for d in rows
        ]  # fmt: skip
        with store.attempt("corpus", "corpus", "0" * 64, {}, {}) as attempt:
            attempt.write("documents", rows, Document)
            attempt.write("chunks", chunks, Chunk)
            attempt.write("groups", [Group("all", "all", [chunk.chunk_id for chunk in chunks])], Group)
        found = store.find("corpus", "0" * 64)
    assert found is not None
    return found


def settings(port: int, **changes: object) -> SynthesisConfig:
    """A tiny generator's settings behind an endpoint."""
    values: dict[str, object] = {
        "generator": OpenAIModel(
            engine="openai", base_url=f"http://127.0.0.1:{port}/v1", model="writer", max_retries=0
        ),
        "prompts": "sentence",
        "answers": "spans",
        "sampling": Sampling(temperature=0.0, top_p=1.0, max_tokens=96),
        "grounding": Grounding(lexical=True, strict_questions=True, round_trip=True),
        "connections": Connections(candidates="shared_entities", max_prompts=20),
        "held_out": HeldOut(share=0.3, max_questions=6),
        "chunks_in_flight": 2,
    }
    return SynthesisConfig.model_validate(values | changes)


def run(
    root: Path | str,
    config: SynthesisConfig,
    documents: int = 10,
    passes: Passes = Pass,
    opener: Opener = open_model,
) -> Artifact:
    """Make the synthesis below `root`, or go on with it; Ray must be initialised."""
    store = Store(root)
    made = corpus(store, documents)
    with store.attempt("synthesis", "synthesis", "1" * 64, {}, {}) as attempt:
        synthesise(config, made, None, attempt, unheard, passes, opener)
    found = store.find("synthesis", "1" * 64)
    assert found is not None
    return found


if __name__ == "__main__":
    with local_cluster():
        run(sys.argv[1], settings(int(sys.argv[2])))
