"""Memory of a synthesis's driver beside Ray, phase by phase, as its corpus grows; prints one JSON line.

    python benchmarks/synthesis_driver.py [--rows 20000 60000] [--words 60] [--pairs 3] [--lost 3] [--target 1000000]

What the driver does itself: it reads the chunks, makes the input rows, gathers the results of all rows (made up, with
so many pairs and losses each) and writes the tables. No engine and no cluster is started; `synthesis_scale.py` measures
with both. Each number of rows has a process of its own. For each: `mib` after each phase, resident, and `peak_mib`, the
most there ever was. `kib_a_row` is the slope of the peak between the two largest numbers of rows, and `target_gib` what
the peak would be at `--target` rows.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from _made_up import ENGLISH, corpus
from _stub import Plan

from memo_ray.artifacts.store import Store
from memo_ray.artifacts.tables import iterate_rows
from memo_ray.rows import Chunk, Document, LedgerEntry, Reflection, Reject
from memo_ray.synthesis.asking import StepCount
from memo_ray.synthesis.assembly import assemble
from memo_ray.synthesis.pairs import Pair, lost
from memo_ray.synthesis.recipe import UnitResult
from memo_ray.synthesis.shelf import Shelf
from memo_ray.synthesis.units import gathered, unit_rows, write_result

PAGES_A_MIB = 2**20 // resource.getpagesize()


@dataclass(frozen=True)
class Size:
    """`rows` of one chunk of `words` words; of each come `pairs` that are kept and `lost` that are not."""

    rows: int
    words: int
    pairs: int
    lost: int


def made_up(row_id: str, size: Size) -> UnitResult:
    """What an engine might have made of a row."""
    draw = random.Random(row_id)

    def pair() -> Pair:
        question, answer = " ".join(draw.choices(ENGLISH, k=12)), " ".join(draw.choices(ENGLISH, k=6))
        return Pair(f"What {question}?", answer, "direct", "", (row_id,), (row_id,), row_id, 0)

    count = StepCount(prompts=1, made=size.pairs + size.lost, lost=StepCount().lost)
    count.lost["malformed"] = size.lost
    losses = [lost(pair(), "malformed", "the question names nothing of its source") for _ in range(size.lost)]
    return UnitResult([pair() for _ in range(size.pairs)], losses, {"direct": count.to_json()}, {"prompts": 1})


def measure(root: Path, size: Size) -> dict[str, Any]:
    """The phases of one size, in this process."""
    begun, phases = time.monotonic(), dict[str, int]()

    def told(phase: str) -> None:
        phases[phase] = int(Path("/proc/self/statm").read_text().split()[1]) // PAGES_A_MIB

    made = corpus(root, size.rows, size.words)
    told("started")
    chunks = Shelf(lambda row: Chunk(**row), iterate_rows(made.path("chunks.parquet")))
    documents = made.rows("documents", Document, without=("text",))
    told("chunks")
    config = Plan(size.rows, size.words, steps=False).config()
    ids = [row["row_id"] for row in unit_rows(chunks, documents, config)]
    told("input")

    def results() -> Iterator[dict[str, str]]:
        for row_id in reversed(ids):
            yield {"row_id": row_id, "result": write_result(made_up(row_id, size)), "error": ""}

    found = gathered(results(), ids)
    told("gathered")
    with Store(root).attempt("synthesis", "synthesis", "2" * 64, {}, {}) as attempt:
        tables = assemble([found], config, chunks, documents)
        told("assembled")
        attempt.write("reflections", tables.reflections, Reflection)
        attempt.write("ledger", tables.ledger, LedgerEntry)
        attempt.write("rejects", tables.rejects, Reject)
    told("written")
    assert attempt.rows["rejects"] >= size.rows * size.lost
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return {"rows": size.rows, "mib": phases, "peak_mib": peak, "seconds": round(time.monotonic() - begun, 1)}


def main() -> None:
    """Measure each size and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=(20_000, 60_000))
    parser.add_argument("--words", type=int, default=60, help="of a chunk")
    parser.add_argument("--pairs", type=int, default=3, help="of a row that are kept")
    parser.add_argument("--lost", type=int, default=3, help="pairs of a row that are not")
    parser.add_argument("--target", type=int, default=1_000_000)
    parser.add_argument("--one", help="measure one size, given as JSON, in this process")
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory(prefix="driver-") as root:
            print(json.dumps(measure(Path(root), Size(**json.loads(options.one)))))
        return
    runs: list[dict[str, Any]] = []
    for rows in sorted(options.rows):
        size = json.dumps(asdict(Size(rows, options.words, options.pairs, options.lost)))
        done = subprocess.run([sys.executable, __file__, "--one", size], stdout=subprocess.PIPE, text=True, check=True)
        runs.append(json.loads(done.stdout.splitlines()[-1]))
        print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
    told: dict[str, Any] = {"runs": runs, "words": options.words, "pairs": options.pairs, "lost": options.lost}
    if len(runs) > 1:
        first, last = runs[-2:]
        slope = (last["peak_mib"] - first["peak_mib"]) * 1024 / (last["rows"] - first["rows"])
        target = last["peak_mib"] / 1024 + slope * (options.target - last["rows"]) / 2**20
        told |= {"kib_a_row": round(slope, 2), "target_rows": options.target, "target_gib": round(target, 2)}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
