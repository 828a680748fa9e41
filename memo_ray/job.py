"""One stage of a run as a process of its own, which a Ray job runs: idempotent, with an exit status that says why.

`python -m memo_ray.job STAGE RUN`. The run is named by the folder or `s3://` address that `memo submit` (or `memo
run`) has put its settings into; the stages before must be finished. Submitting the same stage again finds it finished,
or goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress
from importlib import metadata
from typing import TYPE_CHECKING

from memo_ray.errors import BeingMade, ConfigError, EnvironmentProblem, MemoError
from memo_ray.json_log import failed

if TYPE_CHECKING:
    from memo_ray.workspace import Workspace

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
        problem = EnvironmentProblem(
            f"the cluster has {there}, `memo submit` ran with {here}; install the same lock on both"
        )
        count(options.run, stage, problem)
        failed(stage, problem)
        return problem.exit_status
    return make(stage, options)


def made_for() -> str:
    """The versions of Ray and Python here, which a job and its cluster must share."""
    return f"{metadata.version('ray')}/{PYTHON}"


def make(stage: str, options: argparse.Namespace) -> int:
    """The work; what it needs is imported here, since a node may lack it."""
    run: Workspace | None = None
    try:
        from memo_ray.console import Console
        from memo_ray.continual.registering import register
        from memo_ray.pipeline import run_stages
        from memo_ray.quiet import quiet_libraries
        from memo_ray.results import finish, stored_results
        from memo_ray.standing import note_finished, settings_digest
        from memo_ray.workspace import open_run

        quiet_libraries()
        with open_run(options.run, Console()) as run:
            settings = settings_digest(run)
            if options.settings not in (None, settings):
                raise ConfigError(f"{options.run}/run.yaml: has changed since this job was submitted; submit again")
            results = run_stages(run, stage, stage)
        finish(run, stored_results(run), seconds=None)
        register(run, stored_results(run))
        note_finished(run, stage, results.all(), settings)
    except BeingMade as error:
        failed(stage, error)
        return BUSY
    except Exception as error:
        if run is None or not run.failure_counted:
            count(options.run, stage, error)
        lacks = error.name.partition(".")[0] if isinstance(error, ModuleNotFoundError) and error.name else "memo_ray"
        if lacks != "memo_ray":
            error = EnvironmentProblem(
                f"the Python of this node ({sys.executable}) lacks {lacks}; make its image from the lock "
                "(cluster/Dockerfile), or give `memo submit` --install cpu or gpu"
            )
        if not isinstance(error, MemoError):
            raise
        failed(stage, error)
        return error.exit_status
    return 0


def count(run: str, stage: str, error: Exception) -> None:
    """Have a failure outside an attempt at the stage in the metrics too; those of an attempt are counted there."""
    with suppress(ImportError):
        from memo_ray.ray_stages import count_failure

        count_failure(run.rstrip("/").rpartition("/")[2], stage, error)


if __name__ == "__main__":
    sys.exit(main(next(iter(sys.argv[1:]), "STAGE"), sys.argv[2:]))
