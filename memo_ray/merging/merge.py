"""One merge, in a process of its own: `python -m memo_ray.merging.merge JOB.json OUT`.

In goes a recipe, a base and its memories; out comes one Hugging Face folder with the base's configuration and
tokenizer. mergekit does the arithmetic tensor by tensor, so the models are never in memory as a whole; it also keeps
opened models for the life of a process, by path, which is why every merge gets a fresh one.
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
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from memo_ray.config.base import Settings
from memo_ray.config.merging import MergeRecipe
from memo_ray.errors import MergeError
from memo_ray.merging.checks import Inputs, check, check_disk, read_tensors
from memo_ray.merging.recipes import mergekit_config, recipe_id

SHARD_BYTES = 2_000_000_000
"""Size of the output's files; as much waits in memory to be written."""

ERROR = "error: "
"""What a user's mistake starts with on standard error, among whatever libraries write there."""

FROM_BASE = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "tokenizer.model", "spiece.model", "vocab.json", "merges.txt", "chat_template.jinja",
    "chat_template.json",
)  # fmt: skip
"""What a merged folder takes over from its base, where the base has it."""


class MergeJob(Settings):
    """What one merge does; the JSON file that this module is run on."""

    recipe: MergeRecipe
    base: Path
    memories: dict[str, Path]
    """By name, in the order that SLERP's `t` counts them."""


def merge(job: MergeJob, out: Path) -> None:
    """Merge in this process, which should merge nothing else afterwards; `out` appears only when complete.

    Raises MergeError for inputs that do not fit together, a folder `out` that exists, or a full disk.
    """
    if out.exists():
        raise MergeError(f"{out}: exists already; remove it or name another folder")
    inputs = check(job.base, job.memories)
    # Names that follow from `out`, so that what a killed merge left behind is removed by the next.
    partial, views = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.inputs")
    with _disk_errors(out), _scratch(partial), _scratch(views):
        check_disk(partial, inputs.disk_bytes * (2 if inputs.cast_base else 1))
        _run_mergekit(job.recipe, inputs, views, partial)
        _check_written(inputs, partial)
        _copy_from_base(inputs, partial)
        partial.rename(out)


def merge_in_fresh_process(job: MergeJob, out: Path) -> float:
    """Run `merge` in a new Python process and return its seconds, start included.

    Raises MergeError with the process's message, or when it was killed; RuntimeError with its log for anything else.
    """
    clock = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="memo-merge-") as folder:
        path = Path(folder) / "job.json"
        path.write_text(job.model_dump_json())
        # A Ray worker finds memo_ray through its sys.path, which a new process does not inherit.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HUB_OFFLINE": "1"}
        command = [sys.executable, "-m", __name__, str(path), str(out), "--end-with-parent"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode == MergeError.exit_status:
        told = [line.removeprefix(ERROR) for line in done.stderr.splitlines() if line.startswith(ERROR)]
        raise MergeError(told[-1])
    if done.returncode < 0:
        raise MergeError(
            f"{recipe_id(job.recipe)}: the merge was killed ({signal.Signals(-done.returncode).name}), most often for "
            "want of memory; lower merging.max_concurrent or use a machine with more memory"
        )
    if done.returncode:
        raise RuntimeError(f"{recipe_id(job.recipe)}: the merge failed:\n{done.stderr[-4000:]}")
    return time.monotonic() - clock


def _run_mergekit(recipe: MergeRecipe, inputs: Inputs, views: Path, out: Path) -> None:
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    names = inputs.tensors.keys()
    # What the memories started from is the base in their format; its own would add its rounding to each task vector.
    base = _view(inputs.base, names, views / "base", inputs.dtype if inputs.cast_base else None)
    memories = [_view(folder, names, views / str(n), None) for n, folder in enumerate(inputs.memories.values())]
    config = MergeConfiguration.model_validate(mergekit_config(recipe, base, memories, inputs.dtype))
    options = MergeOptions(
        random_seed=getattr(recipe, "seed", 0),
        copy_tokenizer=False,
        write_model_card=False,
        out_shard_size=SHARD_BYTES,
        quiet=True,
    )
    run_merge(config, str(out), options)


def _view(folder: Path, names: Collection[str], view: Path, dtype: str | None) -> Path:
    """A folder that shows mergekit the tensors `names` of a model and no others: links to its files.

    With `dtype` they are files of their own in that format, written one tensor at a time.
    """
    from safetensors import safe_open
    from safetensors.torch import save_file

    tensors = {name: tensor for name, tensor in read_tensors(folder).items() if name in names}
    files = {name: tensor.file.name for name, tensor in tensors.items()}
    view.mkdir()
    (view / "config.json").symlink_to((folder / "config.json").resolve())
    if dtype is None:
        for file in {tensor.file for tensor in tensors.values()}:
            (view / file.name).symlink_to(file.resolve())
    else:
        import torch

        files = {name: f"{number}.safetensors" for number, name in enumerate(tensors)}
        for name, tensor in tensors.items():
            with safe_open(tensor.file, framework="pt") as opened:
                save_file({name: opened.get_tensor(name).to(getattr(torch, dtype))}, view / files[name])
    (view / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": files}))
    return view


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
    folder.mkdir(parents=True)
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors reports a full disk in words, not by errno.
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in str(error):
            raise MergeError(f"{out.parent}: the disk is full; free space and run the command again") from error
        raise


def _check_written(inputs: Inputs, out: Path) -> None:
    """mergekit knows each architecture's tensors by a list of its own; what that list lacks it leaves out."""
    written = read_tensors(out)
    missing = sorted(inputs.tensors.keys() - written.keys())
    if missing:
        raise MergeError(
            f"{inputs.base}: mergekit does not know all tensors of this architecture and left out {missing[0]} and "
            f"{len(missing) - 1} others; use a base of another architecture"
        )
    extra = sorted(written.keys() - inputs.tensors.keys())
    if extra:
        raise MergeError(f"{out}: mergekit wrote {extra[0]}, which the base {inputs.base} does not have")
    for name, tensor in written.items():
        expected = inputs.tensors[name]
        if (tensor.dtype, tensor.shape) != (expected.dtype, expected.shape):
            raise MergeError(f"{out}: mergekit wrote {name} as {tensor}, the base has {expected}")


def main(arguments: list[str]) -> int:
    """Run the job file `arguments[0]` into the folder `arguments[1]`; returns the exit status."""
    path, out, *flags = arguments
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
