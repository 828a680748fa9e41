"""The paper's tables and figures as configs: one file each, expanded into the runs that fill its rows.

A file names fragments to use, axes with their variants, what holds for single cells, and what is set last. Its runs
are the product of the axes; each is an ordinary run's config, which `memo run` executes.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.store import Store
from memo_ray.config.loading import OnceLoader, set_key, validate
from memo_ray.config.run import RunConfig
from memo_ray.errors import ConfigError
from memo_ray.synthesis.statistics import data_ratio

FOLDER = Path(__file__).parent
FRAGMENTS = FOLDER / "fragments.yaml"
KEYS = frozenset({"title", "use", "axes", "cells", "set"})


@dataclass(frozen=True, slots=True)
class ExperimentRun:
    """One run of an experiment. `labels`: axis to variant."""

    labels: dict[str, str]
    config: RunConfig


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment's runs, in the order of its axes."""

    name: str
    title: str
    runs: list[ExperimentRun]


def names() -> list[str]:
    """The experiments that memo-ray ships."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path != FRAGMENTS)


def is_experiment(given: str) -> bool:
    """Whether `given` names an experiment that memo-ray ships, or a file with axes, or can only be meant as a name."""
    path = Path(given).expanduser()
    if given in names() or (re.fullmatch(r"\w+", given) and not path.exists()):
        return True
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return re.search(r"^axes:", text, re.MULTILINE) is not None


def load_experiment(given: str, overrides: tuple[str, ...] = ()) -> Experiment:
    """The experiment of that name, or in that file, with `overrides` (dotted `key=value`) in every run.

    Raises ConfigError naming the file and the key.
    """
    path = FOLDER / f"{given}.yaml" if given in names() else Path(given).expanduser()
    data = read(path)
    unknown = sorted(data.keys() - KEYS)
    if unknown or "axes" not in data:
        wrong = f"unknown key {unknown[0]}" if unknown else "axes: is required"
        raise ConfigError(f"{path}: {wrong}; an experiment has {', '.join(sorted(KEYS))}")
    fragments = read(FRAGMENTS)
    base = resolved(data, fragments, path)
    axes: dict[str, Any] = data["axes"]
    runs = []
    for labels in product(*(map(str, variants) for variants in axes.values())):
        settings = base
        for axis, label in zip(axes, labels, strict=True):
            variants = {str(name): variant for name, variant in axes[axis].items()}
            settings = merged(settings, resolved(variants[label] or {}, fragments, path))
        for pattern, cell in (data.get("cells") or {}).items():
            if fnmatchcase("/".join(labels), pattern):
                settings = merged(settings, resolved(cell, fragments, path))
        settings = merged(settings, data.get("set") or {})
        settings = json.loads(json.dumps(settings))  # the fragments' own lists must not be written to
        settings["name"] = run_name(path.stem, labels)
        for override in overrides:
            set_key(settings, override)
        config = validate(settings, f"{path.name} {'/'.join(labels)}")
        runs.append(ExperimentRun(dict(zip(axes, labels, strict=True)), config))
    return Experiment(path.stem, str(data.get("title", path.stem)), runs)


def read(path: Path) -> dict[str, Any]:
    """A YAML mapping. Raises ConfigError."""
    try:
        data = yaml.load(path.read_text(encoding="utf-8"), OnceLoader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); experiments: {', '.join(names())}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid YAML ({' '.join(str(error).split())[:200]})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping")
    return data


def resolved(part: Mapping[str, Any], fragments: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What a part of an experiment sets: its fragments in order, then its own keys."""
    found: dict[str, Any] = {}
    for name in part.get("use", ()):
        if name not in fragments:
            raise ConfigError(f"{path}: use: there is no fragment {name}; see {FRAGMENTS.name}")
        found = merged(found, fragments[name])
    return merged(found, {key: value for key, value in part.items() if key not in KEYS})


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` over `below`: mappings are joined key by key, anything else is replaced.

    A mapping that names another engine or kind replaces the whole of the one below.
    """
    found = dict(below)
    for key, value in above.items():
        old = found.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            other = any(mark in value and value[mark] != old.get(mark) for mark in ("engine", "kind"))
            found[key] = value if other else merged(old, value)
        else:
            found[key] = value
    return found


def run_name(experiment: str, labels: tuple[str, ...]) -> str:
    """A run's name from its place in the experiment."""
    return re.sub(r"[^a-z0-9_-]+", "-", "-".join([experiment, *labels]).lower())[:61]


def gather(experiment: Experiment) -> Iterator[dict[str, Any]]:
    """The rows of an experiment's table: every system of every finished run, with the run's labels before it.

    A run that is not finished with its last settings gives one row with `missing`, so that no row of the table is
    dropped silently, and none is of another corpus or other questions than the rest.
    """
    for run in experiment.runs:
        systems = written(run, "report/comparison.json").get("systems")
        if systems is None or outdated(run):
            yield {**run.labels, "missing": f"memo run has not finished {run.config.name}"}
            continue
        ratio = ratio_of(run, experiment)
        for row in systems:
            yield {**run.labels, **row, **({} if ratio is None else {"data_ratio": ratio})}


def outdated(run: ExperimentRun) -> bool:
    """Whether the run's report is of earlier settings: the evaluation that its last ones make is not finished."""
    place = open_place(run.config.root).child(run.config.name)
    current = json.loads(place.get("current.json") or b"{}")
    fingerprint = current.get("evaluation")
    found = fingerprint and Store(place.child("artifacts")).find("evaluation", fingerprint)
    return bool(current) and not found


def written(run: ExperimentRun, name: str) -> dict[str, Any]:
    """A JSON file of a run; empty where it has not come so far."""
    try:
        return json.loads(open_place(run.config.root).get(f"{run.config.name}/{name}") or b"{}")
    except ValueError:
        return {}


def ratio_of(run: ExperimentRun, experiment: Experiment) -> float | None:
    """A run's training pairs over those of the run that leaves no step out and is like it else (Table 9).

    None where the experiment has no such run, or it is not finished.
    """
    full = run.config.synthesis.model_copy(update={"without": ()})
    alike = [one for one in experiment.runs if (one.config.synthesis, one.config.corpora) == (full, run.config.corpora)]
    if not run.config.synthesis.without or not alike:
        return None
    steps, whole = (written(one, "summary.json").get("steps") for one in (run, alike[0]))
    return data_ratio(steps, whole) if steps and whole else None


def write_rows(experiment: Experiment) -> str:
    """Write the experiment's rows as CSV, and its page, below the root of its runs; returns both addresses, a line
    each."""
    from memo_ray.evaluation.report.experiment_page import render_experiment  # draws; whoever only reads waits for it

    rows = list(gather(experiment))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    place = open_place(experiment.runs[0].config.root)
    place.put(f"{experiment.name}.csv", text.getvalue().encode())
    finished = [run for run in experiment.runs if written(run, "report/comparison.json") and not outdated(run)]
    pages = {"/".join(run.labels.values()): f"{run.config.name}/report/comparison.html" for run in finished}
    page = render_experiment(experiment.title, list(experiment.runs[0].labels), rows, pages)
    place.put(f"{experiment.name}.html", page.encode())
    return "\n".join(f"{place.url}/{experiment.name}.{kind}" for kind in ("csv", "html"))
