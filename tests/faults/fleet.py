"""A Ray cluster of separate machines on this one, of which each can be lost by itself.

A machine is a network namespace with an address, a host name and a disk of its own (a tmpfs where Ray and the cache
are), and a `ray start` in it. Root is needed: for namespaces and mounts. The driver, the S3 server and a stub endpoint
stay outside, on the bridge that joins them, as Ray's head does unless a machine is started as one.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import ray

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "RAY_AUTH_MODE": "disabled",
    "RAY_raylet_start_wait_time_s": "120",  # of a busy machine; 30 otherwise
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
STORE_BYTES = 100_000_000
DASHBOARD = 8265
SMALL_MB = 8
"""A disk that all machines see, to be filled."""


def can_have_machines() -> bool:
    """Whether this process may make network namespaces and mount disks in them."""
    name = f"memo-{os.getpid()}"
    if os.getuid() or not shutil.which("ip"):
        return False
    try:
        sh("ip", "netns", "add", name)
        sh("ip", "netns", "exec", name, "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt")
    except subprocess.CalledProcessError:
        return False
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return True


class S3:
    """moto's server at `host`; what it holds outlives `stop`."""

    def __init__(self, host: str) -> None:
        self.host, self.port = host, 0
        self.start()
        os.environ["AWS_ENDPOINT_URL"] = f"http://{host}:{self.port}"

    def start(self) -> None:
        """Listen, at the same port as before."""
        import logging

        from moto.server import ThreadedMotoServer

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.server = ThreadedMotoServer(ip_address=self.host, port=self.port, verbose=False)
        self.server.start()
        self.port = self.server.get_host_and_port()[1]

    def stop(self) -> None:
        """Refuse every connection."""
        self.server.stop()
        assert self.server._server is not None
        self.server._server.server_close()

    def bucket(self) -> str:
        """The URL of a new bucket."""
        from memo_ray.artifacts.s3_client import client

        name = f"memo-{time.monotonic_ns()}"
        client().create_bucket(Bucket=name)
        return f"s3://{name}"


class Machine:
    """One machine of a fleet: a node of so many cores, or a head with its dashboard and none."""

    def __init__(
        self, fleet: Fleet, number: int, cpus: int, head: str, disk_mb: int, grace_s: int, settings: dict[str, str]
    ) -> None:
        """`head`: the address to join; none: be a head. `grace_s`: from a notice to the machine's end. `settings`: of
        its environment."""
        self.name, self.address = f"{fleet.name}n{number}", f"{fleet.net}.{number}"
        self.host, self.joined, self.settings = fleet.host, head, settings
        self.link = f"{fleet.name}v{number}"
        sh("ip", "netns", "add", self.name)
        sh("ip", "link", "add", self.link, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        sh("ip", "link", "set", self.link, "master", fleet.name, "up")
        sh("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            sh("ip", "-n", self.name, "link", "set", device, "up")
        self._cpus, self._disk_mb, self._grace_s, self._folder = cpus, disk_mb, grace_s, fleet.folder
        self.start()

    def start(self) -> None:
        """Start Ray on it; on one that was killed the disk is a new one."""
        mount = f"hostname {self.name} && mount -t tmpfs -o size={self._disk_mb}m tmpfs {self._folder}"
        prepare = ["ip", "netns", "exec", self.name, "unshare", "--uts", "sh", "-c", f'{mount} && exec "$@"', "sh"]
        start = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--node-ip-address={self.address}"]
        start += [f"--num-cpus={self._cpus}", f"--object-store-memory={STORE_BYTES}"]
        if self.joined:
            start += [f"--address={self.joined}"]
        else:
            start += ["--head", f"--temp-dir={self._folder}", "--port=6379", "--dashboard-host=0.0.0.0"]
            start += [f"--dashboard-port={DASHBOARD}"]
        environment = os.environ | {
            "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": str(self._grace_s),
            "VLLM_HOST_IP": self.address,  # which it would ask the default route for, and there is none
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.process = subprocess.Popen(
            [*prepare, *start], env=environment | self.settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    @property
    def gcs(self) -> str:
        """Where a head is joined."""
        return f"{self.address}:6379"

    def processes(self) -> list[psutil.Process]:
        """Everything that runs on it."""
        told = subprocess.run(["ip", "netns", "pids", self.name], capture_output=True, text=True, check=False).stdout
        found = []
        for number in told.split():
            try:
                found.append(psutil.Process(int(number)))
            except psutil.NoSuchProcess:
                continue
        return found

    def runs(self, word: str) -> bool:
        """Whether a process on it has `word` in its command line."""
        for process in self.processes():
            try:
                if any(word in part for part in process.cmdline()):
                    return True
            except psutil.Error:
                continue
        return False

    def kill(self) -> None:
        """End every process of it at once; who was connected hears of it."""
        for process in self.processes():
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def cut(self) -> None:
        """Take its network away: everything on it runs on, and nobody hears of it."""
        sh("ip", "link", "set", self.link, "down")

    def join(self) -> None:
        """Give its network back."""
        sh("ip", "link", "set", self.link, "up")

    def notice(self) -> None:
        """What a cloud or Kubernetes does before it takes a machine away."""
        self.process.send_signal(signal.SIGTERM)

    def look_for_notices(self, metadata: str) -> None:
        """Start the watcher of EC2's notices on it, which asks the metadata service at that URL."""
        inside = ["nsenter", f"--target={self.process.pid}", "--mount", "--net", "--uts"]
        watcher = [sys.executable, "-m", "memo_ray.ray_spot", f"--address={self.joined}"]
        subprocess.Popen([*inside, *watcher], env=os.environ | {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata},
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip

    def remove(self) -> None:
        """Nothing is left of it."""
        if self.processes():
            self.kill()
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True, check=False)


class Fleet:
    """The bridge and the machines on it. `host`: the driver's address on it."""

    def __init__(self) -> None:
        number = os.getpid() % 60_000
        self.name, self.net = name_of(os.getpid()), f"10.{100 + number // 250 % 100}.{number % 250}"
        self.host = f"{self.net}.1"
        # Under /tmp by name: Ray's sockets lie below it, and an AF_UNIX path has at most 107 bytes.
        self.folder = tempfile.mkdtemp(prefix=f"r-{self.name}-", dir="/tmp")
        self.work = Path(tempfile.mkdtemp(prefix=f"faults-{self.name}-", dir="/tmp"))
        os.environ |= ENVIRONMENT | {"MEMO_CACHE": f"{self.folder}/cache"}
        sh("ip", "link", "add", self.name, "type", "bridge")
        sh("ip", "addr", "add", f"{self.host}/24", "dev", self.name)
        sh("ip", "link", "set", self.name, "up")
        # Mounted before there are machines, which see what was there before them.
        self.small = self.work / "small"
        self.small.mkdir()
        sh("mount", "-t", "tmpfs", "-o", f"size={SMALL_MB}m", "tmpfs", str(self.small))
        self.machines: list[Machine] = []
        self.s3 = S3(self.host)

    def start_head(self) -> None:
        """Ray's head, without a core, beside the driver, which is then connected."""
        ray.init(
            address="local",
            num_cpus=0,
            object_store_memory=STORE_BYTES,
            include_dashboard=False,
            configure_logging=False,
            log_to_driver=False,
            _temp_dir=self.folder,
            _node_ip_address=self.host,
        )

    def add(
        self, cpus: int = 2, head: str | None = None, disk_mb: int = 1000, grace_s: int = 20, **settings: str
    ) -> Machine:
        """One more machine; it joins `start_head`'s cluster, or that of the address `head`; "": it is a head."""
        joined = ray.get_runtime_context().gcs_address if head is None else head
        machine = Machine(self, len(self.machines) + 2, cpus, joined, disk_mb, grace_s, settings)
        self.machines.append(machine)
        return machine

    def wait_for_cores(self, cores: int) -> None:
        """Until the driver's cluster has them."""
        wait_for(lambda: ray.cluster_resources().get("CPU", 0) >= cores)

    def end(self) -> None:
        """Stop and remove everything."""
        ray.shutdown()
        for machine in self.machines:
            machine.remove()
        self.s3.stop()
        remove_fleet(os.getpid())


@contextmanager
def fleet(machines: int, cpus: int = 2) -> Iterator[Fleet]:
    """A fleet with a head beside the driver and so many machines, all of them there."""
    made = Fleet()
    try:
        made.start_head()
        for _ in range(machines):
            made.add(cpus)
        made.wait_for_cores(machines * cpus)
        yield made
    finally:
        made.end()


def wait_for(what: Callable[[], Any], seconds: float = 120, every: float = 0.05) -> Any:
    """What `what` gives, as soon as it is true. Raises TimeoutError."""
    end = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > end:
            raise TimeoutError(f"it did not happen within {seconds:g} s")
        time.sleep(every)
    return found


def name_of(process: int) -> str:
    """The bridge of the fleet that a process makes, and how the names of all else that is its begin."""
    return f"m{process % 60_000}"


def remove_fleet(process: int) -> None:
    """Remove what is left of a process's fleet, as after its kill: machines, bridge, disk and folders."""
    name = name_of(process)
    spaces = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout.split()
    for space in spaces:
        if space.startswith(f"{name}n"):
            told = subprocess.run(["ip", "netns", "pids", space], capture_output=True, text=True, check=False).stdout
            for number in told.split():
                with suppress(ProcessLookupError):
                    os.kill(int(number), signal.SIGKILL)
            subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
    subprocess.run(["ip", "link", "del", name], capture_output=True, check=False)
    for folder in (*Path("/tmp").glob(f"faults-{name}-*"), *Path("/tmp").glob(f"r-{name}-*")):
        subprocess.run(["umount", str(folder / "small")], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def sh(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, capture_output=True, check=True)
