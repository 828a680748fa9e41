"""Transfers of a model folder to S3 and back, beside one boto3 call a file: `python benchmarks/s3_transfer.py`.

Without `--endpoint` it starts moto's server, or with `--rclone PROGRAM` that of rclone, which is not Python, and puts
20 ms before every answer of it. Each arm runs in a process of its own, in turns; a line for each says how much of the
cores the arm took (`cpu`, seconds), and how much the server and the delay before it (`server_cpu`, `delay_cpu`). The
last line is JSON: `over_sequential` (upload and download against `upload_file` and `download_file` one after another,
boto3's defaults), `over_upload_file` (the uploads alone), `peak_mb` (memory of the process of ours).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from contextlib import suppress
from pathlib import Path

import psutil

MIB = 2**20
SMALL = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "model.safetensors.index.json",
)
BUCKET = "memo-benchmark"


def make_folder(folder: Path, megabytes: int) -> None:
    """A model folder: shards of a quarter of the size each, and the small files beside them."""
    block = os.urandom(16 * MIB)
    for shard in range(4):
        with (folder / f"model-{shard}.safetensors").open("wb") as file:
            for number in range(megabytes // 4 // 16):
                file.write(number.to_bytes(8, "little") + block[8:])
    for name in SMALL:
        (folder / name).write_bytes(os.urandom(200_000))


def ours(folder: Path) -> tuple[float, float]:
    """Seconds of an upload and a download through a place."""
    from memo_ray.artifacts.place import local_folder
    from memo_ray.artifacts.s3 import S3Place
    from memo_ray.artifacts.s3_client import client

    place = S3Place(f"s3://{BUCKET}/{uuid.uuid4().hex}")
    clock = time.perf_counter()
    with place.storing("model") as scratch:
        for path in folder.iterdir():
            os.link(path, scratch / path.name)
        clock = time.perf_counter()
    up = time.perf_counter() - clock
    location = place.location("model")
    assert location is not None
    clock = time.perf_counter()
    local_folder(location)
    down = time.perf_counter() - clock
    # Each by its name: some servers refuse to delete what is not there, as `place.remove` does.
    for name in list(place.names()):
        client().delete_object(Bucket=BUCKET, Key=place.key(name))
    return up, down


def sequential(folder: Path) -> tuple[float, float]:
    """Seconds of one `upload_file`, then one `download_file`, for each file after another."""
    import boto3.session

    client = boto3.session.Session().client("s3")
    prefix = uuid.uuid4().hex
    paths = sorted(folder.iterdir())
    clock = time.perf_counter()
    for path in paths:
        client.upload_file(str(path), BUCKET, f"{prefix}/{path.name}")
    up = time.perf_counter() - clock
    with tempfile.TemporaryDirectory() as target:
        clock = time.perf_counter()
        for path in paths:
            client.download_file(BUCKET, f"{prefix}/{path.name}", str(Path(target) / path.name))
        down = time.perf_counter() - clock
    for path in paths:
        client.delete_object(Bucket=BUCKET, Key=f"{prefix}/{path.name}")
    return up, down


ARMS = {"ours": ours, "sequential": sequential}


async def delayed(port: int, target: int, seconds: float) -> None:
    """Pass connections from `port` to `target`; the first bytes of every answer wait."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: list[bool], back: bool) -> None:
        try:
            while data := await reader.read(MIB):
                if back and asked[0]:
                    asked[0] = False
                    await asyncio.sleep(seconds)
                elif not back:
                    asked[0] = True
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, upward = await asyncio.open_connection("127.0.0.1", target, limit=4 * MIB)
        asked = [False]
        await asyncio.gather(
            pump(reader, upward, asked, False), pump(onward, writer, asked, True), return_exceptions=True
        )

    server = await asyncio.start_server(connect, "127.0.0.1", port, limit=4 * MIB)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def start_moto() -> tuple[subprocess.Popen[str], int]:
    """moto's server and its port."""
    code = (
        "from moto.server import ThreadedMotoServer; import logging, time\n"
        "logging.getLogger('werkzeug').setLevel(logging.ERROR)\n"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); server.start()\n"
        "print(server.get_host_and_port()[1], flush=True); time.sleep(1e6)"
    )
    moto = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert moto.stdout is not None
    return moto, int(moto.stdout.readline())


def start_rclone(program: str, folder: Path) -> tuple[subprocess.Popen[str], int]:
    """rclone's server of `folder` and its port."""
    (folder / BUCKET).mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--auth-key", "test,testtest"]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True)
    for _ in range(200):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return server, port
        time.sleep(0.05)
    raise TimeoutError(f"{program} does not listen")


def start_delay(port: int, seconds: float) -> tuple[subprocess.Popen[str], int]:
    """The delay before the server at `port`, in a process of its own, and its port."""
    command = [sys.executable, __file__, "--delay", str(port), str(seconds)]
    delay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert delay.stdout is not None
    return delay, int(delay.stdout.readline())


def used(process: subprocess.Popen[str]) -> float:
    """Seconds of a core that a process has taken."""
    times = psutil.Process(process.pid).cpu_times()
    return times.user + times.system


def run_arm(name: str, folder: Path, servers: dict[str, subprocess.Popen[str]]) -> dict[str, float]:
    """One arm in a fresh process."""
    before = {key: used(server) for key, server in servers.items()}
    command = [sys.executable, __file__, "--arm", name, str(folder)]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"MEMO_CACHE": cache}
        )
    taken = {f"{key}_cpu": round(used(server) - before[key], 2) for key, server in servers.items()}
    return json.loads(done.stdout.strip().splitlines()[-1]) | taken


def main() -> None:
    """Parse, run the arms in turns, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", help="another S3 server; it must hold or allow the bucket memo-benchmark")
    parser.add_argument("--rclone", metavar="PROGRAM", help="that of rclone (`rclone serve s3`) in the place of moto's")
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before every answer of the server here")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--delay", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.delay:
        asyncio.run(delayed(0, int(options.delay[0]), float(options.delay[1])))
    if options.arm:
        name, folder = options.arm
        up, down = ARMS[name](Path(folder))
        used_here = resource.getrusage(resource.RUSAGE_SELF)
        cpu = round(used_here.ru_utime + used_here.ru_stime, 2)
        print(json.dumps({"up": up, "down": down, "peak_mb": used_here.ru_maxrss / 1024, "cpu": cpu}))
        return
    servers: dict[str, subprocess.Popen[str]] = {}
    work = Path(tempfile.mkdtemp(prefix="memo-s3-benchmark-"))
    try:
        if options.endpoint:
            os.environ["AWS_ENDPOINT_URL"] = options.endpoint
        else:
            folder = work.with_name(f"{work.name}-server")
            servers["server"], port = start_rclone(options.rclone, folder) if options.rclone else start_moto()
            servers["delay"], port = start_delay(port, options.latency)
            os.environ |= {
                "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "testtest",
                "AWS_DEFAULT_REGION": "us-east-1",
            }
        import boto3.session

        client = boto3.session.Session().client("s3")
        if BUCKET not in [bucket["Name"] for bucket in client.list_buckets()["Buckets"]]:
            client.create_bucket(Bucket=BUCKET)
        make_folder(work, options.megabytes)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in ARMS}
        for number in range(options.rounds):
            for name in ARMS:
                found[name].append(run_arm(name, work, servers))
                print(json.dumps({"round": number, "arm": name, **found[name][-1]}), file=sys.stderr, flush=True)
    finally:
        for server in servers.values():
            server.terminate()
            server.wait()
        for folder in (work, work.with_name(f"{work.name}-server")):
            shutil.rmtree(folder, ignore_errors=True)

    def median(name: str, *what: str) -> float:
        return statistics.median(sum(one[key] for key in what) for one in found[name])

    result = {
        "over_sequential": round(median("sequential", "up", "down") / median("ours", "up", "down"), 2),
        "over_upload_file": round(median("sequential", "up") / median("ours", "up"), 2),
        "peak_mb": round(max(one["peak_mb"] for one in found["ours"])),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
