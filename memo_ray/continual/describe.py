"""What `memo add` and `memo forget` came to, as data and for a terminal."""

from __future__ import annotations

import json
from typing import Any

from memo_ray.artifacts.registry import Memory
from memo_ray.asking import served_url
from memo_ray.errors import StoreError
from memo_ray.housekeeping import needed
from memo_ray.pipeline import Results
from memo_ray.workspace import Workspace

EXPECTED = 0.97
"""Share of its recall that what is not forgotten should keep."""


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
    ) + "".join(f"\n{line}" for line in still_served(run))


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
    lines += verdict_lines(told["verdict"])
    for row in told["copies"]:
        command = f"memo forget {run.where} {row['id']} --corpus {row['corpus']}"
        lines.append(f"  the same text is still learnt as {row['id']} of corpus {row['corpus']}: {command}")
    lines.append(f"certificate: {run.where}/{name}")
    left = [f"artifacts/{home}" for home in leftovers(run)]
    left += [f"cartridges/{name}" for name in run.place.child("cartridges").folders()]
    lines += [f"still on the disk: {run.where}/{home}" for home in left]
    lines += still_served(run)
    lines.append(f"next: memo run {run.where}/run.yaml   (evaluates it and writes the report again), then")
    lines.append(f"      memo gc {run.where} --artifacts --delete   (removes the artefacts that are still on the disk)")
    return "\n".join(lines)


def verdict_lines(verdict: dict[str, Any]) -> list[str]:
    """What the figures say of the document, and of what should have stayed."""
    level, n = verdict["at_base_level"], verdict["n"]
    if level:
        lines = [f"  its own questions ({n}) are answered no better than the base does"]
    elif level is None:
        lines = [f"  its own questions ({n}) are too few to tell whether they are answered as the base does"]
    else:
        lines = [f"  its own questions ({n}) are still answered better than the base does; look at them"]
    for group, what in (("rest_kept", "the rest of its corpus"), ("others_kept", "the other corpora")):
        kept = verdict[group]
        if kept is not None:
            short = "" if kept >= EXPECTED else f", less than the {EXPECTED} to be expected"
            lines.append(f"  {what}: {kept:.2f} of its recall before{short}")
    return lines


def still_served(run: Workspace) -> list[str]:
    """A line when a `memo serve` runs that does not follow the registry, and so answers from the memory before."""
    if run.config.serving.memories or served_url(run) is None:
        return []
    return [f"the `memo serve {run.where}` that runs still answers from the memory before; start it again"]


def leftovers(run: Workspace) -> list[str]:
    """The folders of artefacts that neither the run nor a standing version uses: they may hold what was forgotten."""
    used = {f"{name}/{fingerprint[:16]}" for name, fingerprint in run.current().items()} | needed(run)
    place = run.store.place
    homes = (f"{name}/{home}" for name in place.folders() for home in place.child(name).folders())
    return [home for home in homes if home not in used]
