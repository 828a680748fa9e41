"""Memory of a synthesis as its corpus grows; prints one JSON line.

    python benchmarks/synthesis_scale.py [--rows 3000 9000] [--slice-rows 1000] [--words 60] [--target 1000000]
        [--work FOLDER] [--until S]

Steps 1a to 5 are reduced to one prompt a chunk (`_stub.py`), which an engine without delay answers, so that what is
measured is Ray Data, the actor, the files and the assembly. For each number of rows, in processes of its own, looked at
twice a second: `peak_mib`, the largest sum of the proportional set sizes of the driver, its cluster and the object
store; `driver_mib`, the largest of the driver alone; `rows_per_s`. `kib_a_row` and `driver_kib_a_row` are their slopes
between the two largest numbers of rows. What Ray Data remembers of a row it forgets with the row's slice, so the slices
are made small (`--slice-rows`, at most half of the smallest number of rows), or it would count as growth: with slices
above all rows the slope says how much it is.

The object store and the actors are bounded, so `target_gib`, the memory at `--target` rows, is the larger sum of the
two with the driver's slope alone: an extrapolation, in such slices.

Sizes that are done are kept in `--work`: after `--until` seconds no other is begun, and run again on the same folder
the script goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from _stub import Plan, family, finished, start, wait

LOOK_S = 0.5


def mebibytes(members: list[int]) -> float:
    """Proportional set sizes of processes: what they share is counted once."""
    total = 0
    for member in members:
        with suppress(OSError):  # it has ended meanwhile
            lines = Path(f"/proc/{member}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def measure(root: Path, plan: Plan) -> dict[str, Any]:
    """One run of the stage."""
    process = start(root, plan)
    peak = driver = 0.0
    while process.poll() is None:
        peak = max(peak, mebibytes(family(process.pid)))
        driver = max(driver, mebibytes([process.pid]))
        time.sleep(LOOK_S)
    seconds = wait(process)["seconds"]
    assert finished(root).record.facts["units"] == plan.documents
    return {
        "rows": plan.documents, "peak_mib": round(peak), "driver_mib": round(driver), "seconds": seconds,
        "rows_per_s": round(plan.documents / seconds, 1),
    }  # fmt: skip


def measured(work: Path, plan: Plan, ends: float) -> dict[str, Any]:
    """One size, unless `work` has it already."""
    name = f"{plan.documents}-{plan.words}-{plan.slice_rows}"
    file = work / f"{name}.json"
    if not file.is_file():
        if time.monotonic() > ends:
            sys.exit(f"time is up before {plan.documents} rows: run the same command again to go on")
        root = work / name
        shutil.rmtree(root, ignore_errors=True)
        file.write_text(json.dumps(measure(root, plan)))
        shutil.rmtree(root)
    return json.loads(file.read_text())


def main() -> None:
    """Measure each size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=(3000, 9000))
    parser.add_argument("--slice-rows", type=int, default=1000, help="rows of one execution of Ray Data")
    parser.add_argument("--words", type=int, default=60, help="of a chunk")
    parser.add_argument("--target", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, help="folder of the sizes that are done; kept")
    parser.add_argument("--until", type=float, default=float("inf"), help="begin no size after so many seconds")
    options = parser.parse_args()
    ends = time.monotonic() + options.until
    with tempfile.TemporaryDirectory(prefix="scale-", dir="/tmp") as scratch:
        work = options.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        plan = Plan(min(options.rows), options.words, steps=False, slice_rows=options.slice_rows)
        runs = [measured(work, replace(plan, documents=rows), ends) for rows in sorted(options.rows)]
    told: dict[str, Any] = {"runs": runs, "words": options.words, "slice_rows": options.slice_rows}
    if len(runs) > 1:
        first, last = runs[-2:]
        more, left = last["rows"] - first["rows"], options.target - last["rows"]
        slope, driver = (1024 * (last[name] - first[name]) / more for name in ("peak_mib", "driver_mib"))
        peak = max(first["peak_mib"], last["peak_mib"]) / 1024
        told |= {
            "kib_a_row": round(slope, 2), "driver_kib_a_row": round(driver, 2), "target_rows": options.target,
            "target_gib": round(peak + driver * left / 2**20, 2),
            "target_hours": round(options.target / last["rows_per_s"] / 3600, 1),
        }  # fmt: skip
    print(json.dumps(told))


if __name__ == "__main__":
    main()
