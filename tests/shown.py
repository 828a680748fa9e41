"""The fenced blocks of the documentation, each with what is said of running it.

A block of Bash or Python is run by `tests/unit/test_docs_run.py` in a temporary folder, unless the line before it, a
comment that no reader sees, says why not (`<!-- not run: REASON -->`) or by which other test
(`<!-- run by tests/... -->`). YAML is validated. `text` is a picture or what something prints.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[1]
PAGES = [*sorted((ROOT / "docs").glob("*.md")), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
MARK = re.compile(r"<!-- (?:not run: (?P<reason>.+)|run by (?P<test>\S+)) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, where it begins, and its mark: why it is not run, or which test does."""

    language: str
    text: str
    where: str
    reason: str = ""
    test: str = ""


PARSED = {page.name: MarkdownIt().parse(page.read_text(encoding="utf-8")) for page in PAGES}


def blocks() -> list[Block]:
    """Every block of every page."""
    found = []
    for name, tokens in PARSED.items():
        for before, token in zip([None, *tokens], tokens, strict=False):
            if token.type == "fence":
                marked = before is not None and before.type == "html_block" and MARK.fullmatch(before.content.strip())
                said = {key: value or "" for key, value in marked.groupdict().items()} if marked else {}
                found.append(Block(token.info, token.content, f"{name}:{token.map[0] + 1 if token.map else 0}", **said))
    return found


BLOCKS = blocks()


def run(block: Block, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a block of Bash or Python in `folder` with this environment's commands; the first that fails ends it."""
    command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}[block.language]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # Nothing is written into the reader's own home but the models that every test shares.
    shared = os.environ.get("MEMO_CACHE", str(Path.home() / ".cache" / "memo-ray"))
    environment = os.environ | {"PATH": path, "HOME": str(folder), "PYTHONPATH": str(ROOT), "MEMO_CACHE": shared}
    return subprocess.run(
        [*command, block.text], cwd=folder, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
