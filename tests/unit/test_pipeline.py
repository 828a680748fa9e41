"""What the pipeline refuses before a stage begins."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from memo_ray.config.run import RunConfig
from memo_ray.errors import MergeError
from memo_ray.pipeline import Results, make_merging


def test_a_memory_of_another_base_is_refused_by_its_record(embedded_model: Path) -> None:
    corpora = tuple({"name": name, "paths": ("docs",)} for name in ("law", "wiki"))
    config = RunConfig.model_validate({"name": "run", "corpora": corpora, "merging": {}})
    other: Any = SimpleNamespace(record=SimpleNamespace(inputs={"base": "another digest"}))
    run: Any = SimpleNamespace(config=config)
    with pytest.raises(MergeError, match=r"the memory law was trained from another base than training\.base"):
        make_merging(run, Results(training={"law": other}), may_run=True)
