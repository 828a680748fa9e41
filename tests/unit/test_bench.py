"""`memo bench`: which scripts it runs, and at which sizes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from memo_ray.cli import main

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def test_quick_sizes_are_options_that_their_scripts_have() -> None:
    for name, sizes in yaml.safe_load((FOLDER / "quick.yml").read_text()).items():
        source = (FOLDER / f"{name}.py").read_text()
        assert all(f'"{option}"' in source for option in re.findall(r"--\w+", sizes)), name


def test_a_script_by_its_name_and_one_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "citation_support"]) == 0
    line = json.loads(capsys.readouterr().out)
    assert line["benchmark"] == "citation_support" and "MuSiQue" in line["skipped"] and line["took_s"] > 0
    assert main(["bench", "nothing"]) == 2
    assert "nothing: no such script; there are autoscaling, candidates," in capsys.readouterr().err
