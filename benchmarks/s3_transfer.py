"""Transfers of a model folder to S3 and back, beside one boto3 call a file: `python benchmarks/s3_transfer.py`.

Without `--endpoint` it starts moto's server and puts 20 ms before every answer of it. Each arm runs in a process of its
own, in turns. The last line is JSON: `over_sequential` (upload and download against `upload_file` and `download_file`
one after another, boto3's defaults), `over_upload_file` (the uploads alone), `peak_mb` (memory of the process of ours).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

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
    from memo_ray.artifacts.place import local_folder, open_place

    place = open_place(f"s3://{BUCKET}/{uuid.uuid4().hex}")
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
    place.remove("model")
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


def start_server(latency_s: float) -> tuple[list[subprocess.Popen[str]], str]:
    """moto's server and the delay before it, each a process of its own."""
    code = (
        "from moto.server import ThreadedMotoServer; import logging, time\n"
        "logging.getLogger('werkzeug').setLevel(logging.ERROR)\n"
        "server = ThreadedMotoServer(ip_address='127.0.0.1', port=0, verbose=False); server.start()\n"
        "print(server.get_host_and_port()[1], flush=True); time.sleep(1e6)"
    )
    moto = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert moto.stdout is not None
    command = [sys.executable, __file__, "--delay", moto.stdout.readline().strip(), str(latency_s)]
    delay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert delay.stdout is not None
    return [moto, delay], f"http://127.0.0.1:{delay.stdout.readline().strip()}"


def run_arm(name: str, folder: Path) -> dict[str, float]:
    """One arm in a fresh process."""
    command = [sys.executable, __file__, "--arm", name, str(folder)]
    with tempfile.TemporaryDirectory() as cache:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"MEMO_CACHE": cache}
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Parse, run the arms in turns, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", help="another S3 server; it must hold or allow the bucket memo-benchmark")
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--latency", type=float, default=0.02, help="seconds before every answer of moto's server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--delay", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.delay:
        asyncio.run(delayed(0, int(options.delay[0]), float(options.delay[1])))
    if options.arm:
        name, folder = options.arm
        up, down = ARMS[name](Path(folder))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps({"up": up, "down": down, "peak_mb": peak}))
        return
    servers: list[subprocess.Popen[str]] = []
    work = Path(tempfile.mkdtemp(prefix="memo-s3-benchmark-"))
    try:
        if options.endpoint:
            os.environ["AWS_ENDPOINT_URL"] = options.endpoint
        else:
            servers, os.environ["AWS_ENDPOINT_URL"] = start_server(options.latency)
            os.environ |= {
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
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
                found[name].append(run_arm(name, work))
                print(json.dumps({"round": number, "arm": name, **found[name][-1]}), file=sys.stderr, flush=True)
    finally:
        for server in servers:
            server.terminate()
        shutil.rmtree(work, ignore_errors=True)

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
