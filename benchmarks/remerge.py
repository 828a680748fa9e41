"""Seconds of a re-merge at K = 2, 4 and 8 memories; prints one JSON object as its last line.

    python benchmarks/remerge.py [--model embedded] [--memories 2 4 8] [--methods linear ties dare_ties] [--repeats 3]
        [--folder FOLDER]

The memories are the base with random task vectors, stored as bfloat16 as training stores them. A merge is what
`memo add` runs: checks, arithmetic and writing, in a process of its own whose start counts. `seconds` are medians over
the repeats, in which the configurations take turns; the model's files have been read before, so the disk cache is warm
if it can hold them.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from memo_ray.config.merging import DareTies, Linear, MergeRecipe, TaskArithmetic, Ties
from memo_ray.merging.merge import FROM_BASE, MergeJob, merge_in_fresh_process
from memo_ray.models.sources import resolve

RECIPES: dict[str, MergeRecipe] = {
    "linear": Linear(method="linear"),
    "task_arithmetic": TaskArithmetic(method="task_arithmetic", scale=0.5),
    "ties": Ties(method="ties", density=0.5),
    "dare_ties": DareTies(method="dare_ties", density=0.5),
}
SCALE = 1e-3
"""Standard deviation of the task vectors' entries."""


def make_memory(base: Path, folder: Path, seed: int) -> Path:
    """`base` as bfloat16 with noise on every weight."""
    folder.mkdir(parents=True)
    for name in FROM_BASE:
        if (base / name).is_file():
            shutil.copyfile(base / name, folder / name)
    draw = torch.Generator().manual_seed(seed)
    tensors = {name: tensor for file in sorted(base.glob("*.safetensors")) for name, tensor in load_file(file).items()}
    noisy = {
        name: (tensor.float() + SCALE * torch.randn(tensor.shape, generator=draw)).to(torch.bfloat16)
        for name, tensor in tensors.items()
    }
    save_file(noisy, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def main() -> None:
    """Make the memories, merge them, print the seconds."""
    parser = argparse.ArgumentParser(description="Seconds of a re-merge by number of memories.")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--memories", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--methods", nargs="+", choices=RECIPES, default=["linear", "ties", "dare_ties"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="where memories and merges are written (default: a temporary folder)")
    options = parser.parse_args()
    base = resolve(options.model).path
    seconds: dict[str, dict[int, list[float]]] = {method: {} for method in options.methods}
    with tempfile.TemporaryDirectory(prefix="memo-remerge-", dir=options.folder) as name:
        folder = Path(name)
        memories = {f"m{n}": make_memory(base, folder / f"m{n}", n) for n in range(max(options.memories))}
        for _ in range(options.repeats):
            for method in options.methods:
                for count in options.memories:
                    job = MergeJob(recipes=(RECIPES[method],), base=base, memories=dict(list(memories.items())[:count]))
                    clock = time.monotonic()
                    merge_in_fresh_process(job, folder / "merged")
                    took = time.monotonic() - clock
                    shutil.rmtree(folder / "merged")
                    seconds[method].setdefault(count, []).append(took)
                    print(f"{method} K={count}: {took:.1f} s", file=sys.stderr, flush=True)
        size = sum(file.stat().st_size for file in (folder / "m0").glob("*.safetensors"))
    medians = {
        method: {k: round(statistics.median(v), 2) for k, v in found.items()} for method, found in seconds.items()
    }
    print(json.dumps({"model": options.model, "bytes": size, "repeats": options.repeats, "seconds": medians}))


if __name__ == "__main__":
    main()
