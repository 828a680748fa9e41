"""One stage of a run as a process of its own, which a Ray job runs: idempotent, with an exit status that says why.

`python -m memo_ray.job STAGE RUN`. The run is named by the folder or `s3://` address that `memo submit` (or `memo
run`) has put its settings into; the stages before must be finished. Submitting the same stage again finds it finished,
or goes on where it stopped.
"""

from __future__ import annotations

import argparse
import sys

from memo_ray.errors import BeingMade, ConfigError, MemoError

BUSY = 75
"""Exit status when another process is making the same artefact (EX_TEMPFAIL): try again later. The others are
`memo`'s own: 0 done, 2 the user can mend it, 1 a bug."""


def main(stage: str, arguments: list[str]) -> int:
    """Bring `stage` of the run in `arguments` to its finished state; returns the exit status."""
    from memo_ray.console import Console
    from memo_ray.continual.registering import register
    from memo_ray.json_log import failed
    from memo_ray.pipeline import run_stages
    from memo_ray.quiet import quiet_libraries
    from memo_ray.results import finish, stored_results
    from memo_ray.standing import note_finished, settings_digest
    from memo_ray.workspace import open_run

    parser = argparse.ArgumentParser(prog=f"memo_ray.job {stage}", description=f"Make the {stage} stage of a run.")
    parser.add_argument("run", metavar="RUN", help="the run's folder or s3:// address, with its run.yaml")
    parser.add_argument("--settings", metavar="DIGEST", help="do nothing unless run.yaml still has this digest")
    options = parser.parse_args(arguments)
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
    sys.exit(main(sys.argv[1], sys.argv[2:]))
