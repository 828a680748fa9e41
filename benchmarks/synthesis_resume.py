"""What a kill and the checkpoints cost a synthesis; prints one JSON line.

    python benchmarks/synthesis_resume.py [--documents 600] [--delay 0.1] [--in-flight 16] [--timings 2]
        [--work FOLDER] [--until S]

The stage itself, all five steps, on Ray Data with a stub for an engine (`_stub.py`) that answers after `--delay`
seconds. One run is left alone, one is killed at half of its prompts, with SIGKILL for its driver and cluster, and
gone on with. `prompts_over_n`: prompts that were executed in all tries over the different prompts of the run left
alone; `asked_again`: prompts that were executed twice. `duplicates` and `missing` are of reflections, against the run
left alone. `checkpoint_share`: time with checkpoints over time with every row kept in memory alone, less one, the
median of `--timings` alternated pairs of runs; 0: none is timed.

What is done is kept in `--work`: after `--until` seconds the run under way is killed too, and run again on the same
folder the script goes on with it. `kills` counts all kills of the run that was to be killed once, so that its figures
are then of more than one; a run that is timed begins anew.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from _stub import Plan, asked, finished, is_finished, kill, start, wait

from memo_ray.rows import Reflection

LOOK_S = 0.05


def ids(root: Path) -> Counter[str]:
    """The ids of a finished run's reflections."""
    return Counter(row.reflection_id for row in finished(root).rows("reflections", Reflection))


class Bench:
    """The runs below `work`, and what was seen of them."""

    def __init__(self, work: Path, plan: Plan, ends: float) -> None:
        self.work, self.plan, self._ends = work, plan, ends
        self._file = work / "seen.json"
        self.seen: dict[str, Any] = {"kills": 0, "before_the_kill": 0, "seconds": {}}
        if self._file.is_file():
            self.seen = json.loads(self._file.read_text())

    def note(self, **seen: Any) -> None:
        """Keep what was seen."""
        self.seen |= seen
        self._file.write_text(json.dumps(self.seen))

    def run(self, name: str, plan: Plan, kill_at: float = float("inf")) -> dict[str, Any] | None:
        """One run to its end, or until it has asked `kill_at` prompts; what it printed, None when it was killed."""
        if time.monotonic() > self._ends:
            sys.exit(f"time is up before {name}: run the same command again to go on")
        root = self.work / name
        process = start(root, plan)
        while process.poll() is None:
            late = time.monotonic() > self._ends
            if late or len(asked(root)) >= kill_at:
                kill(process)
                time.sleep(2)  # a worker that outlives its driver for a moment still asks
                if name == "killed":
                    self.note(kills=self.seen["kills"] + 1)
                if late:
                    sys.exit(f"time is up in {name}: run the same command again to go on")
                return None
            time.sleep(LOOK_S)
        return wait(process)

    def kill_at_half(self, prompts: int) -> None:
        """The run that is killed at half of its `prompts`, and its end."""
        root = self.work / "killed"
        if not self.seen["before_the_kill"]:
            if len(asked(root)) < prompts / 2 and self.run("killed", self.plan, prompts / 2) is not None:
                raise SystemExit("the run ended before it could be killed; give more --documents or more --delay")
            self.note(before_the_kill=len(asked(root)))
        if not is_finished(root):
            self.run("killed", self.plan)

    def time(self, pairs: int) -> dict[bool, list[float]]:
        """Seconds with and without checkpoints, of runs that take turns."""
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for turn in range(2 * pairs):
            name, checkpoints = f"timing-{turn}", not turn % 2
            if name not in self.seen["seconds"]:
                shutil.rmtree(self.work / name, ignore_errors=True)
                told = self.run(name, replace(self.plan, checkpoints=checkpoints))
                assert told is not None
                self.note(seconds=self.seen["seconds"] | {name: told["seconds"]})
            seconds[checkpoints].append(self.seen["seconds"][name])
        return seconds


def main() -> None:
    """Run, kill, go on, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--delay", type=float, default=0.1, help="seconds that a reply takes")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--timings", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder of the runs; kept")
    parser.add_argument(
        "--until", type=float, default=float("inf"), help="kill the run under way after so many seconds"
    )
    options = parser.parse_args()
    plan = Plan(options.documents, delay_s=options.delay, at_once=options.in_flight)
    ends = time.monotonic() + options.until
    with tempfile.TemporaryDirectory(prefix="resume-", dir="/tmp") as scratch:
        folder = options.work or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        bench = Bench(folder, plan, ends)
        if not is_finished(folder / "whole"):
            bench.run("whole", plan)
        prompts = set(asked(folder / "whole"))
        bench.kill_at_half(len(prompts))
        executed = Counter(asked(folder / "killed"))
        seconds = bench.time(options.timings)
        one, other = ids(folder / "whole"), ids(folder / "killed")
    shares = [on / off - 1 for on, off in zip(seconds[True], seconds[False], strict=True)]
    print(
        json.dumps(
            {
                "prompts_over_n": round(executed.total() / len(prompts), 4), "prompts": len(prompts),
                "executed": executed.total(), "executed_before_the_kill": bench.seen["before_the_kill"],
                "asked_again": executed.total() - len(executed), "kills": bench.seen["kills"],
                "unexpected_prompts": len(executed.keys() - prompts), "duplicates": other.total() - len(other),
                "missing": len(one - other), "unexpected": len(other - one), "reflections": len(one),
                "checkpoint_share": round(statistics.median(shares), 4) if shares else None,
                "seconds_with": seconds[True], "seconds_without": seconds[False],
                "chunks_in_flight": options.in_flight, "delay_s": options.delay,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
