"""A memory with its card in a bucket and on a hub: what arrives, and what is refused."""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.place import local_folder, open_place
from memo_ray.errors import ConfigError
from memo_ray.pushing import push_memory
from memo_ray.workspace import Workspace
from tests.unit.test_export import made, workspace_in


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    found = workspace_in(tmp_path)
    made(found)
    return found


def test_a_bucket_gets_the_memory_and_its_card(workspace: Workspace, bucket: str) -> None:
    where = push_memory(workspace, f"{bucket}/islands/", "apache-2.0")
    assert where == f"{bucket}/islands"
    folder = local_folder(where)  # as `training.base` or `--base` reads it
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json"]
    card = (folder / "README.md").read_text()
    corpus = workspace.finished("corpus-law")
    assert corpus is not None and corpus.record.digest in card and "license: apache-2.0" in card
    assert push_memory(workspace, where, "mit") == where  # the same memory with another card
    assert "license: mit" in (open_place(where).get("README.md") or b"").decode()


def test_a_prefix_with_something_else_is_left_alone(workspace: Workspace, bucket: str) -> None:
    open_place(f"{bucket}/a").put("notes.txt", b"mine")
    open_place(f"{bucket}/b").put("README.md", b"another memory")
    for name in "ab":
        with pytest.raises(ConfigError, match=rf"{bucket}/{name}: already holds something else"):
            push_memory(workspace, f"{bucket}/{name}")
    assert list(open_place(f"{bucket}/a").names()) == ["notes.txt"]


@pytest.mark.parametrize("to", ["out", "hf://islands", "hf://a/b/c", "https://huggingface.co/a/b"])
def test_an_address_that_is_none(to: str, workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=rf"^{to}: .*write hf://OWNER/NAME"):
        push_memory(workspace, to)


@dataclass
class Hub:
    """What a hub was asked, and the one repository that it has."""

    private: bool | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    tokens: set[str | None] = field(default_factory=set)
    refuses: bool = False


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A server that speaks as much of the hub's protocol as a commit takes."""
    from huggingface_hub import constants

    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply({"id": "o/n", "private": state.private, "siblings": [{"rfilename": n} for n in state.files]})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            state.tokens.add(self.headers.get("Authorization"))
            if state.refuses:
                self.reply({"error": "Forbidden: no write access"}, 403)
            elif self.path.endswith("/repos/create"):
                if state.private is None:
                    state.private = json.loads(body)["visibility"] == "private"
                self.reply({"url": f"{address}/o/n"})
            elif self.path.endswith("/validate-yaml"):
                self.reply({"errors": [], "warnings": []})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                modes = [{"path": one["path"], "uploadMode": "regular", "shouldIgnore": False} for one in files]
                self.reply({"files": modes})
            else:
                for line in map(json.loads, body.splitlines()):
                    value = line["value"]
                    if line["key"] == "file":
                        state.files[value["path"]] = base64.b64decode(value["content"])
                    elif line["key"] == "deletedFile":
                        del state.files[value["path"]]
                self.reply({"commitUrl": f"{address}/o/n/commit/1", "commitOid": "1" * 40})

        def reply(self, value: dict[str, Any], status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    yield state
    server.shutdown()


def test_a_hub_gets_one_private_commit_without_old_weights(workspace: Workspace, hub: Hub) -> None:
    hub.files = {"model-00001-of-00002.safetensors": b"old", "logo.png": b"theirs", "README.md": b"old"}
    where = push_memory(workspace, "hf://o/n", "apache-2.0")
    assert where.endswith("/o/n") and hub.private
    assert sorted(hub.files) == ["README.md", "config.json", "logo.png"]
    assert b"license: apache-2.0" in hub.files["README.md"] and hub.files["config.json"] == b"{}"
    assert hub.tokens == {"Bearer hf_secret"}


def test_what_everybody_may_read_must_be_asked_for(workspace: Workspace, hub: Hub) -> None:
    hub.private = False
    with pytest.raises(ConfigError, match="hf://o/n: everybody may read this repository; add --public"):
        push_memory(workspace, "hf://o/n")
    assert hub.files == {}
    push_memory(workspace, "hf://o/n", public=True)
    assert set(hub.files) == {"README.md", "config.json"}


def test_a_hub_that_refuses_is_named_without_the_token(workspace: Workspace, hub: Hub) -> None:
    hub.refuses = hub.private = True
    with pytest.raises(
        ConfigError, match=r"^hf://o/n: the hub refuses this \(.*403.*HF_TOKEN may write there$"
    ) as told:
        push_memory(workspace, "hf://o/n")
    assert "hf_secret" not in str(told.value)


def test_without_a_network_nothing_is_pushed(workspace: Workspace) -> None:
    with pytest.raises(ConfigError, match=r"^hf://o/n: the hub refuses this \(.*offline"):
        push_memory(workspace, "hf://o/n")


def test_a_hub_that_nobody_answers_for_is_one_line(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    with socket.socket() as taken:  # bound and not listening: connecting is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConfigError, match=r"^hf://o/n: the hub refuses this \(.*refused\); check the name"):
            push_memory(workspace, "hf://o/n")
