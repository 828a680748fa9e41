"""The packages that a stage needs of a lock: for its job on nodes whose image has Ray and little else.

In goes a lock of requirements/, in which every package stands with its version, its hashes and the packages that asked
for it ("via"); out comes the part that a stage's extras lead to.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Collection
from pathlib import Path

from memo_ray.errors import ConfigError

RUNS_MODELS = ("synthesis", "training", "merging", "serving", "evaluation", "documents")
READS_DOCUMENTS = ("documents", "evaluation")
"""Extras of pyproject.toml. All stages that run models have the same, and so share one environment on a node; the
corpus stage, which like all of them ends with the report, does not wait for gigabytes that it does not import."""

LEFT_OUT = frozenset({"ray"})
"""A job runs on the Ray of its cluster."""


def part_for(target: str, checkout: Path, *, models: bool) -> str:
    """What a stage that runs `models`, or none, needs of the lock for `target` (cpu or gpu).

    A requirements file with hashes, to be installed without resolving. Raises ConfigError outside of a checkout.
    """
    try:
        lock = (checkout / "requirements" / f"{target}.txt").read_text(encoding="utf-8")
        project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    except FileNotFoundError as error:
        raise ConfigError(f"--install {target}: {error.filename} is missing; submit from a checkout") from None
    extras = (*RUNS_MODELS, target) if models else READS_DOCUMENTS
    asked = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return part_of(lock, {re.split(r"[^\w.-]", line)[0].lower() for line in asked})


def part_of(lock: str, roots: Collection[str]) -> str:
    """The entries of `roots` and of all that they ask for, in the lock's order."""
    entries = {entry.partition("==")[0]: entry for entry in re.split(r"\n(?=[a-z0-9])", lock) if "==" in entry}
    asked_by = {name: set(re.findall(r"#(?: via)? +([a-z0-9-]+)$", entry, re.M)) for name, entry in entries.items()}
    needed = set(roots) & entries.keys()
    while more := {name for name, by in asked_by.items() if by & needed} - needed:
        needed |= more
    return "".join(f"{entry.rstrip()}\n" for name, entry in entries.items() if name in needed - LEFT_OUT)
