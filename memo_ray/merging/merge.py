"""Merges in one pass, in a process of their own: `python -m memo_ray.merging.merge JOB.json OUT`.

In go recipes, a base and its memories; out comes, for each recipe, one Hugging Face folder with the base's
configuration and tokenizer. The models are never in memory as a whole. A fresh process for each pass keeps a crash
for want of memory, or memory that a library keeps, from the next one and from the worker that waits for it.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import Field, ValidationError

from memo_ray.config.base import Settings
from memo_ray.config.merging import MergeRecipe
from memo_ray.errors import MergeError
from memo_ray.merging.checks import Inputs, check, check_disk, describe
from memo_ray.merging.headers import read_ahead
from memo_ray.merging.methods import METHODS
from memo_ray.merging.recipes import named, recipe_id
from memo_ray.merging.tokenizer import TOKENIZER

ERROR = "error: "
"""What a user's mistake starts with on standard error, among whatever libraries write there."""

FULL = (errno.ENOSPC, errno.EDQUOT)

MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD = -1, -3
"""Options of glibc's mallopt."""
KEPT_BYTES = 1 << 25
"""Blocks of memory up to this size are kept for the next use; whole tensors are given back."""

FROM_BASE = ("config.json", "generation_config.json", *TOKENIZER)
"""What a merged folder takes over from its base, where the base has it."""


class MergeJob(Settings):
    """What one pass does; the JSON file that this module is run on."""

    recipes: tuple[MergeRecipe, ...] = Field(min_length=1)
    base: Path
    memories: dict[str, Path]
    """By name, in the order that SLERP's `t` counts them."""
    checked: tuple[str, ...] = ()
    """The tensors to merge, by name, when `check` has passed the folders already; none: it is done here."""
    adapters: bool = False
    """Methods that sum task vectors take those of the memories' adapters, and write the merged adapter too."""
    threads: int = Field(default=0, ge=0)
    """Threads that compute, read and write; 0: as many as the machine has cores."""


def merge(job: MergeJob, out: Path) -> None:
    """Merge in this process: `out` gets a folder for each recipe, by its id, and appears only when all are complete.

    Raises MergeError for inputs that do not fit together, recipes that do not fit them, a folder `out` that exists, or
    a full disk.
    """
    if out.exists():
        raise MergeError(f"{out}: exists already; remove it or name another folder")
    recipes = named(job.recipes, len(job.memories))
    # While libraries are imported and inputs are checked.
    read_ahead([job.base, *job.memories.values()])
    if job.checked:
        inputs = describe(job.base, job.memories, job.checked, adapters=job.adapters)
    else:
        inputs = check(job.base, job.memories, adapters=job.adapters)
        from memo_ray.merging.origin import check_origin

        check_origin(inputs)
    # A name that follows from `out`, so that what a killed merge left behind is removed by the next.
    partial = out.with_name(f".{out.name}.partial")
    with _disk_errors(out), _scratch(partial):
        check_disk(partial, inputs.disk_bytes * len(recipes))
        from memo_ray.merging.adapters import FOLDER, write_sum
        from memo_ray.merging.arithmetic import merge_tensors
        from memo_ray.merging.weights import Output

        with ExitStack() as stack:
            outputs = {name: stack.enter_context(Output(partial / name, inputs.tensors)) for name in recipes}
            merge_tensors(inputs, recipes, outputs, job.threads or os.cpu_count() or 1)
        for name, recipe in recipes.items():
            _copy_from_base(inputs, partial / name)
            if job.adapters and METHODS[recipe.method].sums:
                weights = METHODS[recipe.method].weights(recipe, len(inputs.memories))
                write_sum(inputs.adapters, weights, partial / name / FOLDER)
        partial.rename(out)


def merge_in_fresh_process(job: MergeJob, out: Path) -> None:
    """Run `merge` in a new Python process.

    Raises MergeError with the process's message, or when it was killed; RuntimeError with its log for anything else.
    """
    with tempfile.TemporaryDirectory(prefix="memo-merge-") as folder:
        path = Path(folder) / "job.json"
        path.write_text(job.model_dump_json())
        # A Ray worker finds memo_ray through its sys.path, which a new process does not inherit.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", __name__, str(path), str(out), "--end-with-parent"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    what = ", ".join(map(recipe_id, job.recipes))
    if done.returncode == MergeError.exit_status:
        told = [line.removeprefix(ERROR) for line in done.stderr.splitlines() if line.startswith(ERROR)]
        raise MergeError(told[-1])
    if done.returncode < 0:
        raise MergeError(
            f"{what}: the merge was killed ({signal.Signals(-done.returncode).name}), most often for want of memory; "
            "lower merging.threads or merging.max_concurrent, or use a machine with more memory"
        )
    if done.returncode:
        raise RuntimeError(f"{what}: the merge failed:\n{done.stderr[-4000:]}")


def _copy_from_base(inputs: Inputs, out: Path) -> None:
    for name in FROM_BASE:
        if (inputs.base / name).is_file():
            shutil.copyfile(inputs.base / name, out / name)
    if inputs.cast_base:
        config = json.loads((out / "config.json").read_bytes())
        config.pop("torch_dtype", None)
        (out / "config.json").write_text(json.dumps(config | {"dtype": inputs.dtype}, indent=2) + "\n")


@contextmanager
def _scratch(folder: Path) -> Iterator[None]:
    """An empty folder for the length of a block, and nothing of it afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        if error.errno in FULL:
            raise
        raise MergeError(
            f"{folder.parent}: no folder can be made there ({error.strerror}); name another place"
        ) from None
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise MergeError(f"{out.parent}: the disk is full; free space and run the command again") from error
        raise


def main(arguments: list[str]) -> int:
    """Run the job file `arguments[0]` into the folder `arguments[1]`; returns the exit status."""
    path, out, *flags = arguments
    if sys.platform == "linux":
        # Stretches of tensors come and go all the time: giving their memory back each time takes half of a merge.
        for option in MALLOC_TRIM_THRESHOLD, MALLOC_MMAP_THRESHOLD:
            ctypes.CDLL(None).mallopt(option, KEPT_BYTES)
    if "--end-with-parent" in flags and sys.platform == "linux":
        # Otherwise a killed sweep would leave its merges running.
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    try:
        merge(_read_job(Path(path)), Path(out).absolute())
    except MergeError as error:
        print(f"{ERROR}{error}", file=sys.stderr)
        return error.exit_status
    return 0


def _read_job(path: Path) -> MergeJob:
    try:
        return MergeJob.model_validate_json(path.read_bytes())
    except OSError as error:
        raise MergeError(f"{path}: cannot be read ({error.strerror})") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise MergeError(f"{path}: {'.'.join(map(str, first['loc'])) or 'the file'}: {first['msg']}") from None


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m memo_ray.merging.merge JOB.json OUT")
    sys.exit(main(sys.argv[1:]))
