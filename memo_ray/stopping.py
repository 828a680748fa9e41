"""`memo stop`: ends what a run has left running on this machine, and its jobs on a cluster.

Only by what the run itself has recorded: the process in a lock that is still held, the one in the note of a running
`memo serve`, and job ids. A number whose process has ended and that another one bears now is recognised and left alone.
"""

from __future__ import annotations

import os
import signal
import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from memo_ray.artifacts.owner import is_alive
from memo_ray.asking import server_of
from memo_ray.console import Console
from memo_ray.errors import EnvironmentProblem
from memo_ray.workspace import Workspace, open_run

PATIENCE_S = 60.0
"""What a command may take to end by itself: it closes engines and its Ray cluster."""


def stop(options: Namespace) -> int:
    """`memo stop RUN`: interrupt its processes and wait for them; with `--address` stop its jobs too."""
    workspace = open_run(options.run, Console())
    ended = []
    for what, owner in running(workspace).items():
        end(owner)
        ended.append(f"process {owner['process']}: stopped ({what})")
    if options.address:
        from memo_ray.ray_jobs import stop as stop_jobs

        ended += [f"{job}: stopped" for job in stop_jobs(workspace, options.address)]
    print("\n".join(ended) or "nothing of this run is running here")
    if ended:
        print(f"next: memo status {workspace.where}")
    return 0


def running(workspace: Workspace) -> dict[str, Mapping[str, Any]]:
    """The live processes of this machine that work for the run, each once, by what they do."""
    found: dict[str, Mapping[str, Any]] = {"memo serve": server_of(workspace)}
    store = workspace.store.place
    for name in store.folders():
        for folder in store.child(name).folders():
            found[f"making {name}"] = store.child(f"{name}/{folder}").holder() or found.get(f"making {name}", {})
    by_process = {owner["process"]: (what, owner) for what, owner in found.items() if is_alive(owner)}
    return {what: owner for what, owner in by_process.values() if owner["process"] != os.getpid()}


def end(owner: Mapping[str, Any], patience_s: float = PATIENCE_S) -> None:
    """Interrupt a process as Ctrl-C does, so that it takes down what it has started; if that is ignored, terminate it.

    Raises EnvironmentProblem when it does neither.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            os.kill(owner["process"], number)
        except ProcessLookupError:
            return
        except PermissionError:
            raise EnvironmentProblem(f"process {owner['process']}: belongs to another user, who must stop it") from None
        until = time.monotonic() + patience_s
        while time.monotonic() < until:
            if not is_alive(owner):
                return
            time.sleep(0.2)
    raise EnvironmentProblem(f"process {owner['process']}: does not end; end it with `kill -9 {owner['process']}`")
