"""Merges as CPU trials of Ray Tune: each trial is one pass over the memories, bounded by number and by memory.

In go recipes by id; each finished pass is handed to the sweep's progress by its own trial, so nothing
that was merged is lost when the driver dies. A pass whose machine is lost is made again on another one.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.place import Location, local_folder
from memo_ray.config.merging import MergeRecipe, MergingConfig
from memo_ray.errors import MergeError
from memo_ray.merging.checks import Inputs
from memo_ray.merging.memory import least_bytes, pass_bytes
from memo_ray.merging.merge import MergeJob, merge_in_fresh_process
from memo_ray.merging.recipes import choose
from memo_ray.merging.scores import SweepProgress
from memo_ray.models.ray_limits import largest_node_memory

TUNE = "ray-tune"
"""Tune's own folder in the progress: nothing in it is needed again."""

LOST = 3
"""Machines that a pass may lose before it is given up."""
PROBLEM = "problem"
"""Under this a trial reports an error of its own: Tune makes again only what failed without a word."""


def merge_all(
    recipes: Mapping[str, MergeRecipe],
    base: Location,
    memories: Mapping[str, Location],
    progress: SweepProgress,
    inputs: Inputs,
    config: MergingConfig,
    on_merged: Callable[[str], None],
) -> None:
    """Merge `memories` by every recipe (by id) into `progress`, in `config.max_concurrent` passes.

    They run at once as far as the nodes' memory holds them: what their recipes and `inputs` (the folders, checked) need
    is reserved for each. `on_merged` is called with every finished recipe id. Raises the first trial's error after the
    others have ended, and MergeError when no node has that much memory, or when a pass has lost `LOST` machines.
    """
    parts = _parts(list(recipes), config.max_concurrent)
    needed = max(pass_bytes(inputs, [recipes[name] for name in part], config.threads) for part in parts)
    _check_memory(needed)
    names = tuple(inputs.tensors)

    def make(waiting: list[str]) -> None:
        here = {memory: local_folder(location) for memory, location in memories.items()}
        while waiting:
            now = waiting[: _room_here(progress, inputs, config.max_concurrent)]
            job = MergeJob(
                recipes=tuple(recipes[name] for name in now),
                base=local_folder(base),
                memories=here,
                checked=names,
                adapters=config.adapters,
                threads=config.threads,
            )
            with progress.merging(now) as folders:
                # Inside of one of them: renamed and not copied, and cleared with it when this process is killed.
                made = folders[now[0]] / ".pass"
                merge_in_fresh_process(job, made)
                for name, folder in folders.items():
                    for path in (made / name).iterdir():
                        path.rename(folder / path.name)
                    (made / name).rmdir()
                made.rmdir()
            waiting = waiting[len(now) :]

    def trial(settings: dict[str, Any]) -> None:
        try:
            # Some are there already when the machine that made them was lost before the last.
            make([name for name in settings["recipes"] if progress.merged(name) is None])
        except Exception as error:  # noqa: BLE001 (raised in the driver; made again it would fail again)
            tune.report({PROBLEM: error})
        else:
            tune.report({"merged": len(settings["recipes"])})

    # Tune's own handler would turn Ctrl-C into a result that lacks merges.
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
    progress.place.remove(TUNE)
    filesystem, path = progress.place.arrow()
    results = tune.Tuner(
        tune.with_resources(trial, {"CPU": 1, "memory": needed}),
        param_space={"recipes": tune.grid_search(parts)},
        tune_config=tune.TuneConfig(
            max_concurrent_trials=config.max_concurrent,
            trial_name_creator=lambda trial: str(trial.config["recipes"][0]),
            trial_dirname_creator=lambda trial: f"{trial.config['recipes'][0]}-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=tune.FailureConfig(max_failures=LOST),
            callbacks=[TellOfTrials(on_merged)],
            verbose=0,
        ),
    ).fit()
    progress.place.remove(TUNE)
    for result in results:
        if problem := (result.metrics or {}).get(PROBLEM):
            raise problem
    if results.errors:
        raise MergeError(
            f"merging: a pass lost its machine {LOST + 1} times; look at the nodes (their logs, their memory), then "
            "run the command again, it goes on"
        ) from results.errors[0]


def check_before_training(config: MergingConfig, base: Location, memories: int) -> None:
    """Raise MergeError when no node has the memory to merge `memories` memories of `base` by the recipes of `config`.

    Needs ray to be initialised; reads the base's headers alone.
    """
    recipes, _ = choose(config, memories)
    _check_memory(least_bytes(local_folder(base), memories, recipes.values()))


class TellOfTrials(tune.Callback):
    """Calls `on_merged` in the driver. Tune stores its callbacks, and what is called here cannot be stored."""

    def __init__(self, on_merged: Callable[[str], None] | None) -> None:
        self._on_merged = on_merged

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Tune calls this once for each trial that ended well."""
        if self._on_merged and PROBLEM not in trial.last_result:
            for name in trial.config["recipes"]:
                self._on_merged(str(name))

    def __reduce__(self) -> tuple[Any, ...]:
        return TellOfTrials, (None,)


def _room_here(progress: SweepProgress, inputs: Inputs, sharing: int) -> int:
    """How many merges this node has the disk for at once, at least one (which is refused when it does not fit).

    On a disk the driver has counted already. On S3 each is made on a node's own disk and leaves it before the next;
    `sharing`: passes that may be made on it at once.
    """
    if isinstance(progress.merges, LocalPlace):
        return sys.maxsize
    free = shutil.disk_usage(tempfile.gettempdir()).free
    return max(1, free // sharing // inputs.folder_bytes)


def _parts(names: list[str], count: int) -> list[list[str]]:
    """`names` in at most `count` parts, neighbours together, since densities of one method share work."""
    size = -(-len(names) // count)
    return [names[start : start + size] for start in range(0, len(names), size)]


def _check_memory(needed: int) -> None:
    largest = largest_node_memory()
    if largest < needed:
        raise MergeError(
            f"merging: one pass may need {needed / 1e9:.1f} GB of memory and the largest node of the Ray cluster "
            f"offers {largest / 1e9:.1f} GB; add a node with more memory, or leave out ties and slerp"
        )
