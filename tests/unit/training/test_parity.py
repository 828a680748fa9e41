"""Packed examples on a GPU in bf16 beside each alone, for a small model of each family."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "benchmarks" / "packing_parity.py"


@pytest.mark.gpu
def test_packed_losses_and_gradients_in_bf16_are_those_of_each_example_alone() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--device", "cuda"], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    families = [name for name, figures in found.items() if isinstance(figures, dict)]
    assert len(families) == 3 and found["precision"] == "bf16"
    for name in families:
        assert found[name]["loss"] < 1e-3, name
        assert found[name]["gradient"] < 1e-3, name
