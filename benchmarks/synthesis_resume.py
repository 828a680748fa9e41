"""What a kill and the checkpoints cost a synthesis; prints one JSON line.

    python benchmarks/synthesis_resume.py [--documents 600] [--delay 0.1] [--in-flight 16] [--timings 2]

The stage itself, all five steps, on Ray Data with a stub for an engine (`_stub.py`) that answers after `--delay`
seconds. One run is left alone, one is killed at half of its prompts, with SIGKILL for its driver and cluster, and
gone on with. `prompts_over_n`: prompts that were executed in both tries over those of the run left alone;
`in_flight`: prompts that were executed twice. `duplicates` and `missing` are of reflections, against the run left
alone. `checkpoint_share`: time with checkpoints over time with every row kept in memory alone, less one, the median
of `--timings` alternated pairs of runs; 0: none is timed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from _stub import Plan, asked, finished, kill, start, wait

from memo_ray.rows import Reflection

LOOK_S = 0.05


def ids(root: Path) -> Counter[str]:
    """The ids of a finished run's reflections."""
    return Counter(row.reflection_id for row in finished(root).rows("reflections", Reflection))


def main() -> None:
    """Run, kill, go on, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=600)
    parser.add_argument("--delay", type=float, default=0.1, help="seconds that a reply takes")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--timings", type=int, default=2)
    options = parser.parse_args()
    plan = Plan(options.documents, delay_s=options.delay, at_once=options.in_flight)
    with tempfile.TemporaryDirectory(prefix="resume-", dir="/tmp") as name:
        folder = Path(name)
        seconds = {True: [wait(start(folder / "whole", plan))["seconds"]], False: []}
        whole = asked(folder / "whole")
        process = start(folder / "killed", plan)
        while len(asked(folder / "killed")) < len(whole) / 2:
            if process.poll() is not None:
                raise SystemExit("the run ended before it could be killed; give more --documents or more --delay")
            time.sleep(LOOK_S)
        kill(process)
        time.sleep(2)  # a worker that outlives its driver for a moment still asks
        first = len(asked(folder / "killed"))
        wait(start(folder / "killed", plan))
        executed = Counter(asked(folder / "killed"))
        for turn in range(2 * options.timings - 1):
            checkpoints = bool(turn % 2)
            root = folder / f"timing-{turn}"
            seconds[checkpoints].append(wait(start(root, replace(plan, checkpoints=checkpoints)))["seconds"])
        one, other = ids(folder / "whole"), ids(folder / "killed")
        shares = [on / off - 1 for on, off in zip(seconds[True], seconds[False], strict=False)]
    print(
        json.dumps(
            {
                "prompts_over_n": round(executed.total() / len(whole), 4), "prompts": len(whole),
                "executed": executed.total(), "executed_before_the_kill": first,
                "in_flight": sum(times - 1 for times in executed.values()),
                "duplicates": other.total() - len(other), "missing": len(one - other), "unexpected": len(other - one),
                "reflections": len(one), "checkpoint_share": round(statistics.median(shares), 4) if shares else None,
                "seconds_with": seconds[True], "seconds_without": seconds[False],
                "chunks_in_flight": options.in_flight, "delay_s": options.delay,
            }
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
