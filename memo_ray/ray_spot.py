"""Drains this machine's Ray node once EC2 says that it takes the machine back: `python -m memo_ray.ray_spot`.

In go the documents of the instance's metadata service (IMDSv2), looked at every few seconds; out comes one `ray
drain-node` with the notice's deadline, so that Ray places nothing new here, Ray Train saves state and leaves, and Serve
moves its replicas. Whatever goes wrong is said in a line and tried again: until the machine is gone it costs nothing.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import Any

import httpx

SERVICE = "http://169.254.169.254"
NOTICE = "spot/instance-action"
REBALANCE = "events/recommendations/rebalance"
POLL_S = 5.0
"""Between two looks: what EC2 advises. From the notice to the machine's end it is two minutes."""
TOKEN_S = 6 * 3600
DRAIN_S = 60
"""How long `ray drain-node` may take before it is begun anew."""


class Metadata:
    """The metadata service of this instance, at AWS_EC2_METADATA_SERVICE_ENDPOINT or where EC2 has it."""

    def __init__(self) -> None:
        service = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", SERVICE)
        self._http = httpx.Client(base_url=service, timeout=2.0, trust_env=False)
        self._token = ""

    def get(self, name: str) -> dict[str, Any] | None:
        """The document of that name; None while there is none. Raises httpx.HTTPError, ValueError."""
        reply = self._ask(name) if self._token else None
        if reply is None or reply.status_code == httpx.codes.UNAUTHORIZED:  # a token has its time
            seconds = {"X-aws-ec2-metadata-token-ttl-seconds": str(TOKEN_S)}
            self._token = self._http.put("/latest/api/token", headers=seconds).raise_for_status().text
            reply = self._ask(name)
        return None if reply.status_code == httpx.codes.NOT_FOUND else reply.raise_for_status().json()

    def _ask(self, name: str) -> httpx.Response:
        return self._http.get(f"/latest/meta-data/{name}", headers={"X-aws-ec2-metadata-token": self._token})


def drain(address: str, why: str, deadline: datetime | None) -> None:
    """Have the cluster drain the node of this machine. Raises subprocess.SubprocessError."""
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", f"--address={address}"]
    command += ["--reason=DRAIN_NODE_REASON_PREEMPTION", f"--reason-message={why}"]
    if deadline is not None:
        left = max(0, int((deadline - datetime.now(UTC)).total_seconds()))
        command.append(f"--deadline-remaining-seconds={left}")
    # Ray asks for the node of this machine in the cluster of RAY_ADDRESS, and would start one if it found none.
    environment = os.environ | {"RAY_ADDRESS": address}
    subprocess.run(command, check=True, timeout=DRAIN_S, capture_output=True, text=True, env=environment)


def watch(address: str, *, rebalance: bool, every_s: float = POLL_S) -> None:
    """Look until a notice has come and its drain was accepted. `rebalance`: drain, without a deadline, also when EC2
    only expects to take the machine back."""
    metadata, early, said = Metadata(), False, ""
    while True:
        try:
            if notice := metadata.get(NOTICE):
                drain(address, f"EC2 will {notice['action']} this machine", datetime.fromisoformat(notice["time"]))
                say(f"drained: EC2 will {notice['action']} this machine at {notice['time']}")
                return
            if rebalance and not early and metadata.get(REBALANCE):
                drain(address, "EC2 recommends to leave this machine", None)
                early = True
                say("drained: EC2 recommends to leave this machine")
        except (httpx.HTTPError, subprocess.SubprocessError, ValueError, KeyError, TypeError) as error:
            told = (getattr(error, "stderr", None) or f"{type(error).__name__}: {error}").strip().splitlines()[-1]
            if told != said:
                say(f"not drained, will try again: {told}")
            said = told
        time.sleep(every_s)


def say(text: str) -> None:
    """One line for the log."""
    print(f"{datetime.now(UTC).isoformat(timespec='seconds')} {text}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    """Watch until the node is drained."""
    parser = argparse.ArgumentParser(prog="python -m memo_ray.ray_spot", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--address", required=True, metavar="HOST:PORT", help="the GCS of the node's cluster")
    parser.add_argument("--rebalance", action="store_true", help="drain on EC2's rebalance recommendation too")
    options = parser.parse_args(arguments)
    say(f"looking for EC2's notice every {POLL_S:g} s")
    watch(options.address, rebalance=options.rebalance)
    return 0


if __name__ == "__main__":
    sys.exit(main())
