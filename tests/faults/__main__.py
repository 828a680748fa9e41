"""Runs drills and writes docs/reliability.md's table: `python -m tests.faults [DRILL ...] [--write]`, as root.

Each drill runs in a process of its own and prints one line of JSON; `--write` puts those that ran into the table, each
in its row, and leaves the other rows as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.faults import corpus, evaluation, head, merging, returning, serving, synthesis, training
from tests.faults.drill import HEAD, Outcome
from tests.faults.fleet import ENVIRONMENT, can_have_machines, remove_fleet

DRILLS = {
    name: drill
    for part in (corpus, synthesis, training, merging, evaluation, head, serving, returning)
    for name, drill in part.DRILLS.items()
}
PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"
MARK = "<!-- table of `python -m tests.faults --write` -->"
LIMIT_S = 400


def drill(name: str) -> Outcome:
    """Run a drill in a process of its own. Raises CalledProcessError or TimeoutExpired."""
    command = [sys.executable, "-m", "tests.faults", "--alone", name]
    # A session of its own, so that nothing of it outlives its end.
    process = subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    try:
        said, _ = process.communicate(timeout=LIMIT_S)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        remove_fleet(process.pid)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Outcome(**json.loads(said.strip().splitlines()[-1]))


def write(outcomes: list[Outcome]) -> None:
    """Put the rows of `outcomes` into the page's table, over those of the same stage and fault."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(MARK)
    old, _, after = rest.partition(MARK)
    rows = {tuple(row.split(" | ")[:2]): row for row in old.strip().splitlines()[2:]}
    rows |= {tuple(row.split(" | ")[:2]): row for row in (outcome.row() for outcome in outcomes)}
    PAGE.write_text(f"{before}{MARK}\n\n" + "\n".join([HEAD, *rows.values()]) + f"\n\n{MARK}{after}", encoding="utf-8")


def main() -> int:
    """Run what was asked for, or everything; 1 when a drill failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", metavar="DRILL", help=f"of {', '.join(DRILLS)}; default: all")
    parser.add_argument("--write", action="store_true", help=f"write into {PAGE.name}")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.drills) - set(DRILLS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if options.alone:
        (name,) = options.drills
        print(json.dumps(DRILLS[name]().as_json()), flush=True)
        return 0
    if not can_have_machines():
        print("the drills need root, for network namespaces and mounts", file=sys.stderr)
        return 2
    failed = 0
    for name in options.drills or DRILLS:
        clock = time.monotonic()
        try:
            outcome = drill(name)
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(json.dumps({"drill": name, "failed": str(error)[:200]}), flush=True)
            continue
        seconds = round(time.monotonic() - clock)
        print(json.dumps({"drill": name, "seconds": seconds, **outcome.as_json()}), flush=True)
        if options.write:
            write([outcome])
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
