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
from ray.exceptions import RayTaskError

from memo_ray.artifacts import s3_client
from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.store import Store
from memo_ray.errors import StoreError

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


@pytest.mark.parametrize("writing", [True, False])
@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("ExpiredToken", 400, "the credentials have expired; renew them"),
        ("InvalidAccessKeyId", 403, "the access key is not known"),
        ("AccessDenied", 403, "these credentials may not do this"),
        ("RequestTimeTooSkewed", 403, "this machine's clock is wrong"),
    ],
)
def test_a_refusal_to_arrow_is_the_same_line(
    service: str, monkeypatch: pytest.MonkeyPatch, code: str, status: int, said: str, writing: bool
) -> None:
    """As Ray's workers meet it in the middle of a stage."""
    keys = {"AWS_ACCESS_KEY_ID": "AKIAEXAMPLE", "AWS_SECRET_ACCESS_KEY": "very-secret", "AWS_REGION": "us-east-1"}
    for name, value in (keys | {"AWS_ENDPOINT_URL": service}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Refusing, "code", code)
    monkeypatch.setattr(Refusing, "status", status)
    s3_client._client.cache_clear()
    filesystem, root = open_place("s3://bucket/runs").arrow()
    use = filesystem.open_output_stream if writing else filesystem.open_input_file
    try:
        with pytest.raises(StoreError, match=f"^s3://bucket/runs: {said}"), s3_client.told_of_arrow("s3://bucket/runs"):
            use(f"{root}/one.parquet").close()
    finally:
        s3_client._client.cache_clear()


def test_arrows_errors_of_a_task_are_told_where_an_artefact_is_made(bucket: str) -> None:
    said = (
        "AWS Error UNKNOWN (HTTP status 400) during UploadPart operation: Unable to parse ExceptionName: ExpiredToken"
    )
    lost = RayTaskError("write", f"a traceback\n{said} Message: no", OSError(said)).as_instanceof_cause()
    made = Store(bucket).attempt("corpus-a", "corpus", "1" * 64, {}, {})
    with pytest.raises(StoreError, match="the credentials have expired"), made:
        raise lost
    with pytest.raises(OSError, match="nothing of S3") as kept, s3_client.told_of_arrow(bucket):
        raise OSError("nothing of S3")
    assert not isinstance(kept.value, StoreError)
