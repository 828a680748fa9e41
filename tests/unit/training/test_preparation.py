"""What cannot be trained on is named before any worker starts."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.rows import Reflection
from memo_ray.training.examples import Examples
from memo_ray.training.preparation import prepare

ROWS = [Reflection("a", "Who charted the coast?", "The surveyor did.", "direct", "train")]
CONFIG = TrainingConfig(max_sequence_length=512)


def test_examples_are_written_with_their_counts(tiny_model: Path, tmp_path: Path) -> None:
    counts = prepare(CONFIG, ROWS, tiny_model, tmp_path)
    examples = Examples.load(tmp_path)
    longest = int(examples.lengths[0])
    counted = {"reflections": 1, "truncated": 0, "left_out": 0, "longest": longest}
    assert counts == counted | {"pad": 0, "positions": 1024}
    assert len(examples) == 1


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("*.safetensors", r"training\.base: .*no \.safetensors weights; convert"),
        ("tokenizer.json", r"training\.base: .*no tokenizer; copy tokenizer\.json"),
    ],
)
def test_an_incomplete_base_is_named(missing: str, message: str, tiny_model: Path, tmp_path: Path) -> None:
    base = shutil.copytree(tiny_model, tmp_path / "base")
    for path in base.glob(missing):
        path.unlink()
    with pytest.raises(TrainingError, match=message):
        prepare(CONFIG, ROWS, base, tmp_path / "examples")


def test_sequences_beyond_the_models_positions_are_refused(tiny_model: Path, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"max_sequence_length: 8096 is beyond the 1024 positions .*set it to 1024"):
        prepare(TrainingConfig(), ROWS, tiny_model, tmp_path)
