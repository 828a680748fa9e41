"""The console's files: what a browser is allowed to do with them, and that nothing in them gets round it."""

from __future__ import annotations

import re

import pytest

from memo_ray.serving.page import FOLDER, TYPES
from tests.unit.serving.test_gateway import Echo, client_of

pytestmark = pytest.mark.anyio

FILES = sorted(path for path in FOLDER.iterdir() if path.suffix in TYPES)
SCRIPTS = [path for path in FILES if path.suffix == ".js"]
UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|Function\(|setTimeout\(\s*[\"'`]|srcdoc|DOMParser"
    r"|createContextualFragment|location\.(href|assign|replace)|localStorage\.setItem\(KEY"
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def test_every_file_is_served_to_everybody_under_a_strict_policy() -> None:
    http = client_of(Echo(), key="secret")
    for file in FILES:
        path = "/" if file.name == "index.html" else f"/console/{file.name}"
        response = await http.get(path)
        assert (response.status_code, response.content) == (200, file.read_bytes())
        assert response.headers["content-type"].partition(";")[0] == TYPES[file.suffix]
        policy = dict(part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";"))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
        assert {policy[name] for name in ("script-src", "style-src", "img-src", "connect-src")} == {"'self'"}
        assert policy["require-trusted-types-for"] == "'script'"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", ["/console/", "/console/index.html", "/console/../page.py", "/console/%2e%2e/keys.py"])
async def test_no_other_file_is_reached(path: str) -> None:
    assert (await client_of(Echo()).get(path)).status_code == 404


def test_nothing_is_loaded_from_elsewhere_or_written_inline() -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.\w", text), file.name
        assert len(text.splitlines()) <= 300, file.name
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?! type=\"module\" src=\"console/)|javascript:", html)
    assert set(re.findall(r"(?:src|href)=\"(console/[^\"]+)\"", html)) <= {f"console/{path.name}" for path in FILES}


def test_text_can_only_become_text() -> None:
    for script in SCRIPTS:
        text = script.read_text(encoding="utf-8")
        assert not UNSAFE.search(text), script.name
        for module in re.findall(r"from \"\./([^\"]+)\"", text):
            assert (FOLDER / module).is_file(), (script.name, module)


def test_fields_have_names() -> None:
    html = (FOLDER / "index.html").read_text(encoding="utf-8")
    fields = re.findall(r"<(?:input|select|textarea) id=\"([\w-]+)\"", html)
    assert len(fields) == 8
    # A field within a form hides the form's own member of that name.
    assert not {"contains", "submit", "reset", "action", "method", "name", "children"} & set(fields)
    assert set(fields) <= set(re.findall(r"<label for=\"([\w-]+)\"", html))
