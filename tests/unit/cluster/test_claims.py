"""docs/security.md: every test and file that a claim rests on is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "docs" / "security.md").read_text()


def test_every_test_that_shows_a_claim_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", TEXT)
    assert len(named) > 30
    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE)
    ]
    assert missing == []


def test_every_file_that_holds_a_boundary_exists() -> None:
    cells = re.findall(
        r"`((?:cluster|serving|models|protocol|synthesis|evaluation|artifacts|training|merging)/[\w./]*)`", TEXT
    )
    assert len(cells) > 20
    assert [one for one in cells if not (ROOT / one).exists() and not (ROOT / "memo_ray" / one).exists()] == []
