"""Puts a run's memories into its registry: the run's own under the run's name, and those that were merged under theirs.

A memory of one corpus is the run's own. Which epoch or merge counts has been decided before, by evaluation or merging.
"""

from __future__ import annotations

from typing import Any

from memo_ray.artifacts.registry import Entry, Lineage, Memory, Registry
from memo_ray.artifacts.store import Artifact
from memo_ray.errors import StoreError
from memo_ray.pipeline import Results, base_model
from memo_ray.results import last_epoch
from memo_ray.workspace import Workspace


def register(run: Workspace, results: Results, done: str = "", epoch: str = "") -> list[Memory]:
    """Register what `results` hold, the run's own memory first; nothing when no memory has been chosen yet.

    `done`: what the lineage says of a version that takes the place of another, `added wiki` for example. `epoch`: the
    chosen one of a single corpus, when there is no evaluation to say it. What is registered already stays as it is.
    """
    registry = Registry(run.place)
    memories = []
    for values in found(run, results, epoch):
        parent = registry.newest(values["name"])
        lineage = Lineage(
            done=done if done and parent else "merged" if values["recipe"] else "trained",
            parent=parent.reference if parent else "",
        )
        memories.append(registry.add(Entry(**values, lineage=lineage)))
    return memories


def standing_epoch(run: Workspace) -> str:
    """Of a run of one corpus that has no evaluation: the epoch that is registered, else the last one.

    After `memo forget` an epoch is chosen and registered while the evaluation is still to be made.
    """
    training = run.finished(f"training-{run.config.corpora[0].name}")
    standing = Registry(run.place).newest(run.config.name)
    if training is not None and standing is not None and standing.artifact == training.record.digest:
        return standing.path.rpartition("/")[2]
    return last_epoch(run)


def found(run: Workspace, results: Results, epoch: str) -> list[dict[str, Any]]:
    """What `Entry` holds, but for the lineage, of every memory that is decided on."""
    own, corpora = run.config.name, tuple(corpus.name for corpus in run.config.corpora)
    if results.merging is not None:
        facts = results.merging.record.facts
        merged = values_of(run, own, results.merging, f"merged/{facts['best']}", corpora)
        parts = [
            values_of(run, part_name(own, corpus), results.training[corpus], chosen, (corpus,))
            for corpus, chosen in facts["chosen_epochs"].items()
        ]
        return [merged | {"recall": facts["recall"], "recipe": facts["best"]}, *parts]
    if len(corpora) > 1 or not results.training:
        return []
    (training,) = results.training.values()
    recall = None
    if results.evaluation is not None:
        choice = results.evaluation.record.facts["choice"]
        epoch = str(choice["epoch"])
        recall = choice["held_out_recall"].get(epoch)
    return [values_of(run, own, training, epoch, corpora) | {"recall": recall}] if epoch else []


def part_name(run: str, corpus: str) -> str:
    """What the memory of one of several corpora is called: as its corpus, unless the run is."""
    return corpus if corpus != run else f"{corpus}-alone"


def values_of(run: Workspace, name: str, artifact: Artifact, folder: str, corpora: tuple[str, ...]) -> dict[str, Any]:
    """One memory: `folder` of `artifact`. Raises StoreError for an artefact that lies outside of the run."""
    home = f"{run.place.url}/"
    if not artifact.place.url.startswith(home):
        raise StoreError(f"{artifact.place.url}: lies outside of the run {run.place.url}, so it cannot be registered")
    training = run.config.training
    adapters_alone = training.lora is not None and not training.lora.folded
    return {
        "name": name,
        "kind": "lora" if adapters_alone else "full",
        "path": f"{artifact.place.url.removeprefix(home)}/{folder}",
        "artifact": artifact.record.digest,
        "base": training.base,
        "base_digest": base_model(training).digest,
        "corpora": corpora,
        "recipe": "",
    }
