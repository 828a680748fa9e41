"""Fixtures of the tests on Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.merging.tiny import make_base, make_memories


@pytest.fixture(scope="module")
def models(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `base` and the memories `a` and `b`."""
    folder = tmp_path_factory.mktemp("models")
    make_memories(make_base(tiny_model, folder / "base"), folder, 2)
    return folder
