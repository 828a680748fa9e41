"""The console: GET / and the files of `console/`, for a browser. Static and the same for everybody.

The page holds no data. Whatever it shows it asks of the gateway's endpoints, with the key that is typed into it; so the
headers let it load nothing from elsewhere, run no code but its own files, and be framed by nobody.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import Response

FOLDER = Path(__file__).parent / "console"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
    # Text can only ever become text: the ways to turn a string into markup or code throw.
    "require-trusted-types-for": "'script'",
    "trusted-types": "'none'",
}
"""The Content-Security-Policy by directive."""

HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in POLICY.items()),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}


def add_page(app: FastAPI) -> None:
    """Add the routes to the gateway. Files are read once, here; a path that is none of theirs is never opened."""
    for file in sorted(FOLDER.iterdir()):
        if file.suffix in TYPES:
            path = "/" if file.name == "index.html" else f"/console/{file.name}"
            add_file(app, path, file.read_bytes(), TYPES[file.suffix])


def add_file(app: FastAPI, path: str, content: bytes, media_type: str) -> None:
    """Serve `content` at `path`."""

    @app.get(path)
    async def file() -> Response:
        return Response(content, headers=HEADERS, media_type=media_type)
