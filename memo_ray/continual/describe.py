"""What `memo add` and `memo forget` came to, as data and for a terminal."""

from __future__ import annotations

import json
from typing import Any

from memo_ray.artifacts.registry import Memory, Registry
from memo_ray.errors import StoreError
from memo_ray.pipeline import Results
from memo_ray.workspace import Workspace


def added(results: Results, memory: Memory) -> dict[str, Any]:
    """The new version, and what the merge cost in seconds."""
    assert results.merging is not None  # a run to which a corpus was added has two or more
    cost = results.merging.record.cost
    seconds = {key: cost[key] for key in ("merge_seconds", "score_seconds", "seconds")}
    return {"memory": memory.model_dump(mode="json"), "recipe": memory.recipe, "recall": memory.recall, **seconds}


def added_text(run: Workspace, told: dict[str, Any]) -> str:
    """`added` in three lines."""
    memory = told["memory"]
    return (
        f"{memory['name']}@{memory['version']}: {', '.join(memory['corpora'])} merged by {told['recipe']} "
        f"in {told['merge_seconds']:.0f} s, recall {told['recall']:.2f} on held-out questions of all corpora\n"
        f"settings: {run.where}/run.yaml\n"
        f"next:     memo run {run.where}/run.yaml   (evaluates it)   or   memo serve {run.where}"
    )


def certificate_of(run: Workspace, name: str) -> dict[str, Any]:
    """The certificate among the run's files. Raises StoreError when it is gone."""
    content = run.place.get(name)
    if content is None:
        raise StoreError(f"{run.where}/{name}: is gone, though the document was forgotten")
    return json.loads(content)["certificate"]


def forgotten_text(run: Workspace, name: str, told: dict[str, Any]) -> str:
    """A certificate's figures, where it is, and what the disk still holds of the document."""
    lines = [f"forgotten: {told['document']['id']} of corpus {told['corpus']}, by {told['how']}"]
    for system, groups in told["recall"].items():
        figures = [f"{group} {row['recall']:.2f} of {row['n']}" for group, row in groups.items() if row["n"]]
        lines.append(f"  {system:<22} recall: {', '.join(figures)}")
    verdict = told["verdict"]
    if verdict["at_base_level"] is False:
        lines.append("  its own questions are still answered better than the base does; look at them")
    lines.append(f"certificate: {run.where}/{name}")
    lines += [f"still on the disk: {run.where}/artifacts/{home}" for home in leftovers(run)]
    lines.append(f"next: memo run {run.where}/run.yaml   (evaluates it and writes the report again)")
    return "\n".join(lines)


def leftovers(run: Workspace) -> list[str]:
    """The folders of artefacts that neither the run nor a standing version uses: they may hold what was forgotten."""
    used = {f"{name}/{fingerprint[:16]}" for name, fingerprint in run.current().items()}
    registry = Registry(run.place)
    for memory in (memory for name in registry.names() for memory in registry.versions(name)):
        if not memory.withdrawn:
            used.add("/".join(memory.path.split("/")[1:3]))
    place = run.store.place
    homes = (f"{name}/{home}" for name in place.folders() for home in place.child(name).folders())
    return [home for home in homes if home not in used]
