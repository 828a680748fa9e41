"""One stage of a run as a process of its own, which a Ray job runs: idempotent, with an exit status that says why.

`python -m memo_ray.job STAGE RUN`. The run is named by the folder or `s3://` address that `memo submit` (or `memo
run`) has put its settings into; the stages before must be finished. Submitting the same stage again finds it finished,
or goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from importlib import metadata

from memo_ray.errors import BeingMade, ConfigError, MemoError

PYTHON = ".".join(map(str, sys.version_info[:2]))
BUSY = 75
"""Exit status when another process is making the same artefact (EX_TEMPFAIL): try again later. The others are
`memo`'s own: 0 done, 2 the user can mend it, 1 a bug."""


def main(stage: str, arguments: list[str]) -> int:
    """Bring `stage` of the run in `arguments` to its finished state; returns the exit status."""
    parser = argparse.ArgumentParser(prog=f"memo_ray.job {stage}", description=f"Make the {stage} stage of a run.")
    parser.add_argument("run", metavar="RUN", help="the run's folder or s3:// address, with its run.yaml")
    parser.add_argument("--settings", metavar="DIGEST", help="do nothing unless run.yaml still has this digest")
    parser.add_argument("--made-for", metavar="RAY/PYTHON", help="do nothing with other versions of these two")
    options = parser.parse_args(arguments)
    if options.made_for not in (None, found := made_for()):
        there, here = (" on Python ".join(f"Ray {one}".split("/")) for one in (found, options.made_for))
        print(
            f"{stage}: the cluster has {there}, `memo submit` ran with {here}; install the same lock on both",
            file=sys.stderr,
        )
        return MemoError.exit_status
    try:
        return make(stage, options)
    except ModuleNotFoundError as error:
        lacks = (error.name or "memo_ray").partition(".")[0]
        if lacks == "memo_ray":
            raise
        print(
            f"{stage}: the Python of this node ({sys.executable}) lacks {lacks}; make its image from the lock "
            "(cluster/Dockerfile), or give `memo submit` --install cpu or gpu",
            file=sys.stderr,
        )
        return MemoError.exit_status


def made_for() -> str:
    """The versions of Ray and Python here, which a job and its cluster must share."""
    return f"{metadata.version('ray')}/{PYTHON}"


def make(stage: str, options: argparse.Namespace) -> int:
    """The work; what it needs is imported here, since a node may lack it."""
    from memo_ray.console import Console
    from memo_ray.continual.registering import register
    from memo_ray.json_log import failed
    from memo_ray.pipeline import run_stages
    from memo_ray.quiet import quiet_libraries
    from memo_ray.results import finish, stored_results
    from memo_ray.standing import note_finished, settings_digest
    from memo_ray.workspace import open_run

    quiet_libraries()
    try:
        with open_run(options.run, Console()) as run:
            settings = settings_digest(run)
            if options.settings not in (None, settings):
                raise ConfigError(f"{options.run}/run.yaml: has changed since this job was submitted; submit again")
            results = run_stages(run, stage, stage)
        finish(run, stored_results(run), seconds=None)
        register(run, stored_results(run))
        note_finished(run, stage, results.all(), settings)
    except MemoError as error:
        failed(stage, error)
        return BUSY if isinstance(error, BeingMade) else error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(next(iter(sys.argv[1:]), "STAGE"), sys.argv[2:]))
