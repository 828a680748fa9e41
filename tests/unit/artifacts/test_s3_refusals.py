"""What a person sees of an S3 service that refuses: one line with the cause and the remedy, before anything is made."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
EMPTY = "<ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>"


class Refusing(BaseHTTPRequestHandler):
    """Answers every request with the error `code`; `read_only`: reading finds an empty bucket."""

    code, status, read_only = "", 403, False

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.read_only and self.command in {"GET", "HEAD"}:
            listing = "list-type" in self.path
            self.say(200 if listing else 404, EMPTY if listing else "<Error><Code>NoSuchKey</Code></Error>")
        else:
            self.say(self.status, f"<Error><Code>{self.code}</Code><Message>no</Message></Error>")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer

    def say(self, status: int, body: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


@pytest.fixture
def service() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def line_of(folder: Path, service: str) -> str:
    (folder / "docs").mkdir()
    (folder / "docs" / "one.txt").write_text("The tower was built in 1810.")
    (folder / "run.yaml").write_text("name: mine\nroot: s3://bucket/runs\ncorpora: [{paths: [docs]}]\n")
    keys = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_REGION": "us-east-1"}
    settings = os.environ | keys | {"AWS_ENDPOINT_URL": service, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "memo_ray.cli", "run", "run.yaml"]
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr and "very-secret" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("InvalidAccessKeyId", 403, "the access key is not known; check AWS_ACCESS_KEY_ID or AWS_PROFILE"),
        ("ExpiredToken", 400, "the credentials have expired; renew them"),
        ("RequestTimeTooSkewed", 403, "this machine's clock is wrong; set it (NTP)"),
        ("RequestExpired", 400, "this machine's clock is wrong; set it (NTP)"),
        ("NoSuchBucket", 404, "there is no such bucket; create it, or correct the name"),
    ],
)
def test_a_refusal_is_one_line(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, status: int, said: str
) -> None:
    monkeypatch.setattr(Refusing, "code", code)
    monkeypatch.setattr(Refusing, "status", status)
    assert said in line_of(tmp_path, service)


def test_a_bucket_that_may_only_be_read_says_what_is_missing(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Refusing, "code", "AccessDenied")
    monkeypatch.setattr(Refusing, "read_only", True)
    line = line_of(tmp_path, service)
    assert line.startswith("memo run: s3://bucket/runs/mine/run.yaml: these credentials may not do this; they need")
