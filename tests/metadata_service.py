"""A server that speaks what EC2's instance metadata service (IMDSv2) says of spot machines, over HTTP."""

from __future__ import annotations

import json
import secrets
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ROOT = "/latest/meta-data/"


class MetadataService:
    """Answers at `url` with 401 without a token it gave, and with 404 for what it has no document of."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.documents: dict[str, dict[str, str]] = {}
        self.tokens: set[str] = set()
        self.asked: list[tuple[str, int]] = []
        """Paths and the status of each answer."""
        self._server = ThreadingHTTPServer((host, 0), self._handler())
        self.url = f"http://{host}:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def notice(self, seconds: float) -> None:
        """The machine will be taken back after so long."""
        end = datetime.now(UTC) + timedelta(seconds=seconds)
        self.documents["spot/instance-action"] = {"action": "terminate", "time": end.strftime("%Y-%m-%dT%H:%M:%SZ")}

    def recommend(self) -> None:
        """The machine is likelier than others to be taken back."""
        told = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.documents["events/recommendations/rebalance"] = {"noticeTime": told}

    def end(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_PUT(self) -> None:
                seconds = self.headers.get("X-aws-ec2-metadata-token-ttl-seconds", "")
                if self.path != "/latest/api/token" or not seconds.isdigit() or not 1 <= int(seconds) <= 21600:
                    self.answer(400)
                    return
                token = secrets.token_urlsafe(40)
                service.tokens.add(token)
                self.answer(200, token)

            def do_GET(self) -> None:
                found = service.documents.get(self.path.removeprefix(ROOT))
                if self.headers.get("X-aws-ec2-metadata-token") not in service.tokens:
                    self.answer(401)
                elif found is None:
                    self.answer(404)
                else:
                    self.answer(200, json.dumps(found))

            def answer(self, status: int, text: str = "") -> None:
                service.asked.append((self.path, status))
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing on the terminal."""

        return Handler
