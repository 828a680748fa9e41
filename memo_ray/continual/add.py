"""`memo add`: one more corpus for a run that is finished.

The corpus goes into the run's config; of the stages only what is missing is made, which is the new corpus's own
memory and a merge of all. Run again after a kill it goes on where it stopped, and when all is done it changes nothing.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from memo_ray.artifacts.registry import Memory
from memo_ray.config.loading import OnceLoader, validate
from memo_ray.config.run import RunConfig
from memo_ray.continual.forgotten import left_out, read_forgotten
from memo_ray.continual.recipes import merging_for
from memo_ray.continual.registering import register, standing_epoch
from memo_ray.errors import ConfigError
from memo_ray.merging.recipes import choose
from memo_ray.model_checks import check_models
from memo_ray.pipeline import Results, make_corpus, run_stages
from memo_ray.results import stored_results
from memo_ray.workspace import Workspace

OF_THE_FIRST = (
    "chunking", "groups", "discovered", "text_column", "id_column", "title_column", "label_column", "licence",
    "licence_column", "max_reject_share",
)  # fmt: skip
"""Settings that a corpus given as a path shares with the run's first corpus."""


def add_corpus(
    run: Workspace, given: str, name: str | None = None, recipe: str | None = None, *, sweep: bool = False
) -> tuple[Results, Memory]:
    """Add the documents or the YAML entry at `given`, train its memory, merge all again, and register the result.

    Raises ConfigError for a corpus that cannot be added and the stages' errors; what was finished stays.
    """
    config = with_corpus(run, given, name, recipe, sweep=sweep)
    register(run, stored_results(run), epoch=standing_epoch(run))
    with Workspace(config, run.console) as grown:
        added = grown.config.corpora[-1]
        check_models(grown, ("corpus", "synthesis", "training"))
        make_corpus(grown, added, may_run=True)
        # Only now, so that documents which cannot be read leave the run's settings alone.
        grown.remember_config()
        results = run_stages(grown, until="merging")
        memory, *_ = register(grown, results, done=f"added {added.name}")
    return results, memory


def with_corpus(run: Workspace, given: str, name: str | None, recipe: str | None, *, sweep: bool) -> RunConfig:
    """The run's config with the corpus, last, and the merge to make. Raises ConfigError, MergeError."""
    data = run.config.model_dump(mode="json")
    entry = corpus_entry(given, name, data["corpora"][0])
    known = {corpus.name: corpus for corpus in run.config.corpora}
    if known.keys() == {entry["name"]}:
        raise ConfigError(f"{entry['name']}: is the name of the run's only corpus; give the new one another --name")
    data["corpora"] = [corpus for corpus in data["corpora"] if corpus["name"] != entry["name"]] + [entry]
    # A corpus that is there was added by this command before, and so was the merge chosen.
    merged = None if entry["name"] in known else stored_results(run).merging or run.store.latest("merging")
    data["merging"] = merging_for(run.config.merging, merged, len(data["corpora"]), recipe, sweep=sweep)
    config = validate(data, given)
    if config.merging is not None:
        choose(config.merging, len(config.corpora))
    added = left_out(config, read_forgotten(run.place)).corpora[-1]
    if known.get(added.name, added) != added:
        raise ConfigError(f"--name {added.name}: a corpus of that name with other settings is in the run already")
    if added.name in known and run.config.corpora[-1].name != added.name:
        raise ConfigError(
            f"--name {added.name}: is in the run already; `memo run {run.where}/run.yaml` goes on with it"
        )
    return config


def corpus_entry(given: str, name: str | None, first: dict[str, Any]) -> dict[str, Any]:
    """The corpus at `given` as an item of `corpora:`: of a YAML file, or a path with the settings of `first`."""
    if Path(given).suffix in {".yaml", ".yml"}:
        entry = yaml_entry(given)
    else:
        entry = {"paths": [given], **{key: first[key] for key in OF_THE_FIRST}}
        if "benchmark" in first["groups"]:
            del entry["groups"]
    return entry | {"name": name or entry.get("name") or name_of(given)}


def yaml_entry(given: str) -> dict[str, Any]:
    """The only item of `corpora:` in a YAML file. Raises ConfigError."""
    wanted = ConfigError(f"{given}: must hold `corpora:` with one entry; write each further corpus into its own file")
    try:
        data = yaml.load(Path(given).read_text(encoding="utf-8"), OnceLoader)
    except OSError as error:
        raise ConfigError(f"{given}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError):
        raise ConfigError(f"{given}: is not valid YAML in UTF-8") from None
    if not isinstance(data, dict) or set(data) != {"corpora"} or not isinstance(data["corpora"], list):
        raise wanted
    if len(data["corpora"]) != 1 or not isinstance(data["corpora"][0], dict):
        raise wanted
    return data["corpora"][0]


def name_of(given: str) -> str:
    """A corpus's name from its path: the last part, in the letters that names may have. Raises ConfigError."""
    name = re.sub(r"[^a-z0-9_-]+", "-", Path(given).stem.lower()).strip("-_")[:41]
    if not name:
        raise ConfigError(f"{given}: gives no name to the corpus; add --name")
    return name
