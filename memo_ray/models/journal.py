"""Replies that were paid for, kept in a file of JSON lines, so that no prompt is paid for twice.

A request's key hashes everything that shapes its reply. Lines are appended as replies come; a line that a kill cut
short is passed over. One process writes at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from memo_ray.models.chat import ChatReply, ChatRequest

TOKENS = ("input_tokens", "output_tokens", "cached_tokens")


def request_key(model: str, request: ChatRequest) -> str:
    """Thirty-two hexadecimal digits over the model and the whole request, its id included (it counts samples)."""
    body = json.dumps([model, asdict(request)], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(body.encode()).hexdigest()[:32]


class Journal:
    """The kept replies by key. Without a path it remembers nothing beyond its totals."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._kept: dict[str, ChatReply] = {}
        self.used: Counter[str] = Counter()
        for entry in read_lines(path) if path else ():
            key = entry.pop("key", "")
            self._note(key, ChatReply(**entry))

    def get(self, key: str) -> ChatReply | None:
        """The reply that was kept under `key`."""
        return self._kept.get(key)

    def put(self, key: str, reply: ChatReply) -> None:
        """Keep a reply, and count its tokens in `used`."""
        if self._path:
            append_line(self._path, {"key": key, **asdict(reply)})
        self._note(key, reply)

    def _note(self, key: str, reply: ChatReply) -> None:
        if self._path:
            self._kept[key] = reply
        for name in TOKENS:
            self.used[name] += getattr(reply, name)


def append_line(path: Path, entry: dict[str, Any]) -> None:
    """Add one JSON line to a file, on a line of its own even where a kill left half a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, 2)
            torn = file.read(1) != b"\n"
        else:
            torn = False
        file.write((b"\n" if torn else b"") + json.dumps(entry, ensure_ascii=False).encode() + b"\n")


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole JSON lines of a file, which need not exist; torn ones are passed over."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    for line in content.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
