"""Memory of a synthesis as its corpus grows; prints one JSON line.

    python benchmarks/synthesis_scale.py [--rows 500 2000] [--words 60] [--target 1000000]

Steps 1a to 5 are reduced to one prompt a chunk (`_stub.py`), which an engine without delay answers, so that what is
measured is Ray Data, the actor, the files and the assembly. For each number of rows, in processes of its own:
`peak_mib`, the largest sum of the proportional set sizes of the driver, its cluster and the object store, looked at
twice a second; `rows_per_s`. `kib_a_row` is the slope between the smallest and the largest number of rows,
`target_gib` the line through them at `--target` rows: an extrapolation, unless that many were run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from _stub import Plan, family, finished, start, wait

LOOK_S = 0.5


def mebibytes(pid: int) -> float:
    """Proportional set sizes of a process and all its descendants: what they share is counted once."""
    total = 0
    for member in family(pid):
        with suppress(OSError):  # it has ended meanwhile
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(root: Path, plan: Plan) -> dict[str, Any]:
    """One run of the stage."""
    process = start(root, plan)
    peak = 0.0
    while process.poll() is None:
        peak = max(peak, mebibytes(process.pid))
        time.sleep(LOOK_S)
    seconds = wait(process)["seconds"]
    assert finished(root).record.facts["units"] == plan.documents
    rate = plan.documents / seconds
    return {"rows": plan.documents, "peak_mib": round(peak), "seconds": seconds, "rows_per_s": round(rate, 1)}


def main() -> None:
    """Measure each size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=(500, 2000))
    parser.add_argument("--words", type=int, default=60, help="of a chunk")
    parser.add_argument("--target", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-", dir="/tmp") as name:
        runs = []
        for rows in sorted(options.rows):
            plan = Plan(rows, options.words, steps=False)
            runs.append(measure(Path(name) / str(rows), plan))
    first, last = runs[0], runs[-1]
    told: dict[str, Any] = {"runs": runs, "words": options.words}
    if len(runs) > 1:
        slope = (last["peak_mib"] - first["peak_mib"]) / (last["rows"] - first["rows"])
        at_target = last["peak_mib"] + slope * (options.target - last["rows"])
        told |= {"kib_a_row": round(1024 * slope, 2), "target_rows": options.target}
        told |= {
            "target_gib": round(at_target / 1024, 2),
            "target_hours": round(options.target / last["rows_per_s"] / 3600, 1),
        }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
