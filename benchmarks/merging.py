"""Merging beside copying and beside `mergekit-yaml`; prints one JSON line.

    python benchmarks/merging.py [--work FOLDER] [--shape qwen2.5-0.5b|tiny] [--rounds 3] [--threads N] [--until S]

A base and two memories with random weights in the shape of a real model, page cache emptied of their files before
every arm. Arms: `copy` reads base and memories and writes as many bytes as one merge writes, to the disk; `linear` is
one merge as a user makes it, its fresh process and the check of its inputs included; `pass` is the same as a sweep
makes it, which checks once for all its passes; `sweep` is the paper's 14 recipes in one pass; `sequential` is the
`mergekit-yaml` of this environment, once for each recipe, with the equal configuration. `copy`, `linear` and `pass`
take turns. Every result is compared with mergekit's. Measurements are kept in `--work`: after `--until` seconds the
script ends where it is, and run again on the same folder it goes on. Ratios are of wall seconds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from memo_ray.config.merging import Linear, MergeRecipe
from memo_ray.merging.checks import check
from memo_ray.merging.headers import read_tensors
from memo_ray.merging.merge import MergeJob
from memo_ray.merging.recipes import PAPER, mergekit_config, recipe_id
from memo_ray.models.sources import resolve

SHAPES: dict[str, dict[str, Any]] = {
    "qwen2.5-0.5b": {
        "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "intermediate_size": 4864, "vocab_size": 151936,
    },
    "tiny": {
        "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 256, "vocab_size": 49152,
    },
}  # fmt: skip
"""Qwen2 configurations with tied embeddings."""
BLOCK = 1 << 24


def make_models(shape: str, folder: Path) -> tuple[Path, dict[str, Path]]:
    """A base and two memories, whose tensors differ by about a bf16 step or two, as after fine-tuning."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    tokenizer = resolve("embedded", "", "benchmark").location
    names = ("base", "a", "b")
    if not all((folder / name / "done").is_file() for name in names):
        torch.manual_seed(0)
        config = Qwen2Config(**SHAPES[shape], tie_word_embeddings=True)
        model: Any = Qwen2ForCausalLM(config)
        model.to(torch.bfloat16)
        start = {name: value.clone() for name, value in model.state_dict().items()}
        for name in names:
            if name != "base":
                for key, value in model.state_dict().items():
                    if key != "lm_head.weight":
                        noise = torch.randn(value.shape) * 5e-4
                        value.copy_((start[key].float() + noise).to(torch.bfloat16))
            model.save_pretrained(folder / name)
            for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja"):
                if (Path(tokenizer) / file).is_file():
                    shutil.copyfile(Path(tokenizer) / file, folder / name / file)
            (folder / name / "done").touch()
    return folder / "base", {name: folder / name for name in ("a", "b")}


def forget(folders: list[Path]) -> None:
    """Write out and drop the pages of all files below `folders`."""
    for file in (file for folder in folders for file in folder.rglob("*.safetensors")):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def copy(sources: list[Path], out: Path) -> None:
    """Read all weights of `sources` and write those of the last one into `out`, block by block."""
    out.mkdir()
    for source in sources:
        with (source / "model.safetensors").open("rb") as read, (out / "model.safetensors").open("wb") as written:
            while block := read.read(BLOCK):
                if source is sources[-1]:
                    written.write(block)


def watch(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run `command`; its wall seconds, the peak of its resident memory in MB, and the MB that it read and wrote."""
    clock = time.monotonic()
    process = subprocess.Popen(command, env=os.environ | environment, stdout=subprocess.DEVNULL)
    transferred: dict[str, int] = {}
    peak_kb = 0
    while True:
        # What /proc holds is gone with the process.
        try:
            lines = (line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
            transferred = {name: int(value) for name, value in lines}
            status = Path(f"/proc/{process.pid}/status").read_text()
            peak_kb = int(status.partition("VmHWM:")[2].split()[0])
        except (OSError, ValueError, IndexError):
            pass
        if process.poll() is not None:
            break
        time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}: ended with {process.returncode}")
    return {
        "seconds": round(time.monotonic() - clock, 3),
        "peak_mb": round(peak_kb / 1024),
        "read_mb": round(transferred.get("read_bytes", 0) / 1e6),
        "written_mb": round(transferred.get("write_bytes", 0) / 1e6),
    }


def digests(folder: Path) -> dict[str, str]:
    """A checksum of every tensor."""
    found = {}
    for name, tensor in read_tensors(folder).items():
        with tensor.file.open("rb") as file:
            file.seek(tensor.start)
            found[name] = hashlib.sha256(file.read(tensor.end - tensor.start)).hexdigest()
    return found


class Bench:
    """The arms on one pair of memories; what was measured is kept in `work`."""

    def __init__(self, work: Path, base: Path, memories: dict[str, Path], threads: int, ends: float) -> None:
        self.work, self.base, self.memories, self.threads, self._ends = work, base, memories, threads, ends
        self._kept = work / "measured.json"
        self.measured: dict[str, Any] = json.loads(self._kept.read_text()) if self._kept.is_file() else {}

    def arm(self, name: str, run: Callable[[Path], dict[str, Any]]) -> None:
        """Measure an arm with an empty page cache, unless that was done; `run` gets a folder to write."""
        if name in self.measured:
            return
        if time.monotonic() > self._ends:
            sys.exit(f"time is up before {name}: run the same command again to go on")
        out = self.work / "out"
        shutil.rmtree(out, ignore_errors=True)
        forget([self.base, *self.memories.values()])
        self.measured[name] = run(out)
        self._kept.write_text(json.dumps(self.measured))
        shutil.rmtree(out, ignore_errors=True)
        print(f"{name}: { ({k: v for k, v in self.measured[name].items() if k != 'digests'}) }", file=sys.stderr)

    def copying(self, out: Path) -> dict[str, Any]:
        """Arm `copy`."""
        clock = time.monotonic()
        copy([self.base, *self.memories.values()], out)
        forget([out])
        return {"seconds": round(time.monotonic() - clock, 3)}

    def merging(self, recipes: tuple[MergeRecipe, ...], out: Path, *, checked: bool = False) -> dict[str, Any]:
        """Arms `linear` and, of inputs that were `checked` before, `pass` and `sweep`."""
        names = tuple(check(self.base, self.memories).tensors) if checked else ()
        forget([self.base, *self.memories.values()])
        job = MergeJob(recipes=recipes, base=self.base, memories=self.memories, checked=names, threads=self.threads)
        file = self.work / "job.json"
        file.write_text(job.model_dump_json())
        found = watch([sys.executable, "-m", "memo_ray.merging.merge", str(file), str(out)], {})
        return self._written(found, out) | {"digests": {name.name: digests(name) for name in out.iterdir()}}

    def mergekit(self, recipe: MergeRecipe, out: Path) -> dict[str, Any]:
        """One run of the arm `sequential`."""
        file = self.work / "config.yaml"
        config = mergekit_config(recipe, self.base, list(self.memories.values()), "bfloat16")
        file.write_text(yaml.safe_dump(config))
        program = str(Path(sys.executable).with_name("mergekit-yaml"))
        seed = str(getattr(recipe, "seed", 0))
        command = [program, str(file), str(out), "--quiet", "--random-seed", seed, "--num-threads", str(self.threads)]
        found = watch(command, {"OMP_NUM_THREADS": str(self.threads)})
        return self._written(found, out) | {"digests": {recipe_id(recipe): digests(out)}}

    def _written(self, found: dict[str, Any], out: Path) -> dict[str, Any]:
        clock = time.monotonic()
        forget([out])
        return found | {"seconds": round(found["seconds"] + time.monotonic() - clock, 3)}

    def seconds(self, start: str) -> list[float]:
        """Of every arm whose name begins with `start`."""
        return [found["seconds"] for name, found in self.measured.items() if name.startswith(start)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, help="folder for models and measurements; kept")
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-0.5b")
    parser.add_argument("--rounds", type=int, default=3, help="turns of copy, linear and pass")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--until", type=float, default=float("inf"), help="start no arm after so many seconds")
    options = parser.parse_args()
    ends = time.monotonic() + options.until
    with tempfile.TemporaryDirectory(prefix="memo-merging-") as scratch:
        work = options.work or Path(scratch)
        base, memories = make_models(options.shape, work)
        bench = Bench(work, base, memories, options.threads, ends)
        for turn in range(options.rounds):
            bench.arm(f"copy {turn}", bench.copying)
            bench.arm(f"linear {turn}", lambda out: bench.merging((Linear(method="linear"),), out))
            bench.arm(f"pass {turn}", lambda out: bench.merging((Linear(method="linear"),), out, checked=True))
        bench.arm("sweep", lambda out: bench.merging(PAPER, out, checked=True))
        for recipe in PAPER:
            bench.arm(f"sequential {recipe_id(recipe)}", lambda out, recipe=recipe: bench.mergekit(recipe, out))
        found = bench.measured
    sweep, sequential = found["sweep"], [one for arm, one in found.items() if arm.startswith("sequential")]
    copies, linears = statistics.median(bench.seconds("copy")), statistics.median(bench.seconds("linear"))
    alone = {name: sums for one in sequential for name, sums in one["digests"].items()}
    print(json.dumps({
        "linear_over_copy": round(linears / copies, 3),
        "pass_over_copy": round(statistics.median(bench.seconds("pass")) / copies, 3),
        "sweep_over_sequential": round(sweep["seconds"] / sum(bench.seconds("sequential")), 3),
        "peak_mb": sweep["peak_mb"],
        "peak_mb_linear": max(one["peak_mb"] for arm, one in found.items() if arm.startswith("linear")),
        "peak_mb_mergekit": max(one["peak_mb"] for one in sequential),
        "copy_s": copies,
        "linear_s": linears,
        "sweep_s": sweep["seconds"],
        "sequential_s": round(sum(bench.seconds("sequential")), 1),
        "sweep_read_mb": sweep["read_mb"],
        "sequential_read_mb": sum(one["read_mb"] for one in sequential),
        "differ_from_mergekit": sorted(name for name, sums in alone.items() if sweep["digests"][name] != sums),
        "threads": options.threads,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
