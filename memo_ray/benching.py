"""`memo bench`: the checkout's benchmarks, at sizes that show in minutes whether they work."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path

import yaml

from memo_ray.errors import ConfigError


def bench(options: Namespace) -> int:
    """`memo bench [SCRIPT ...]`: the checkout's benchmarks one after another; one line of JSON each."""
    folder = Path(__file__).resolve().parents[1] / "benchmarks"
    if not folder.is_dir():
        raise ConfigError("benchmarks: there are none beside this package; run `memo bench` from a checkout")
    quick: dict[str, str] = yaml.safe_load((folder / "quick.yml").read_text(encoding="utf-8"))
    for name in options.scripts or sorted(quick):
        if not (folder / f"{name}.py").is_file():
            known = ", ".join(sorted(path.stem for path in folder.glob("[!_]*.py")))
            raise ConfigError(f"{name}: no such script; there are {known}")
        sizes = [] if options.full else quick.get(name, "").split()
        clock = time.monotonic()
        command = [sys.executable, str(folder / f"{name}.py"), *sizes]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"{name}.py: ended with status {done.returncode}; its messages are above")
        measured = json.loads(done.stdout.strip().splitlines()[-1])
        took = {"benchmark": name, "arguments": sizes, "took_s": round(time.monotonic() - clock, 1)}
        print(json.dumps(took | measured), flush=True)
    return 0
