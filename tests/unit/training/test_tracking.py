"""Every service gets the same figures; one that is not installed is named with the remedy."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any, get_args

import pytest

from memo_ray.artifacts.place import open_place
from memo_ray.config.training import TrackingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.preparation import prepare
from memo_ray.training.tracking import OPENERS, StepMetrics, Tracked, open_tracker
from tests.unit.training.conftest import reflections
from tests.unit.training.test_resuming import start

METRICS = StepMetrics(
    loss=1.5, learning_rate=2e-5, gradient_norm=0.7, tokens_per_second=900.0, mfu=None, memory_gb=2.5, pad_share=0.02
)
NUMBERS = {
    "train/loss": 1.5, "train/learning_rate": 2e-5, "train/gradient_norm": 0.7, "train/tokens_per_second": 900.0,
    "train/memory_gb": 2.5, "train/pad_share": 0.02,
}  # fmt: skip


def test_every_choice_has_an_opener() -> None:
    assert set(OPENERS) == set(get_args(TrackingConfig.model_fields["to"].annotation))


def run_in(folder: Path, step: int = 0) -> Tracked:
    return Tracked(folder / "tracking", "training-law-1a2b3c4d", {"epochs": 3}, step, open_place(folder / "progress"))


@pytest.mark.parametrize("service", ["mlflow", "wandb"])
def test_a_package_that_is_missing_is_named(service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, service, None)
    with pytest.raises(TrainingError, match=rf"training\.tracking\.to: the package {service} is not installed"):
        open_tracker(TrackingConfig(to=service), run_in(tmp_path))


def test_no_worker_waits_for_one_that_has_no_tracker(settings: Any, tiny_model: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("wandb"):
        pytest.skip("wandb is installed here")
    progress = open_place(tmp_path)
    with progress.storing("examples") as examples:
        prepare(settings(), reflections(), tiny_model, examples)
    config = settings(tracking={"to": "wandb"})
    workers = start(2, config, tiny_model, progress)
    assert all(worker.wait(timeout=120) != 0 for worker in workers)


def test_nothing_is_kept_when_nothing_is_wanted(tmp_path: Path) -> None:
    tracker = open_tracker(TrackingConfig(to="none"), run_in(tmp_path))
    tracker.step(1, METRICS)
    tracker.epoch(1, 1, {"loss": 1.0})
    tracker.close()
    assert list(tmp_path.iterdir()) == []


def mlflow_that(told: list[Any]) -> Any:
    def start_run(**options: Any) -> Any:
        told.append(options)
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id="7f"))

    return types.SimpleNamespace(
        set_experiment=lambda name: told.append(name),
        start_run=start_run,
        log_params=lambda settings: told.append(settings),
        log_metrics=lambda numbers, step: told.append((step, numbers)),
        end_run=lambda: told.append("end"),
    )


def test_mlflow_gets_the_run_its_settings_and_every_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    monkeypatch.setitem(sys.modules, "mlflow", mlflow_that(told))
    config = TrackingConfig(to="mlflow", project="islands")
    tracker = open_tracker(config, run_in(tmp_path))
    tracker.step(4, METRICS)
    tracker.epoch(1, 4, {"loss": 1.25})
    tracker.close()
    assert told == [
        "islands", {"run_name": "training-law-1a2b3c4d"}, {"epochs": "3"}, (4, NUMBERS),
        (4, {"epoch/loss": 1.25, "epoch/number": 1}), "end",
    ]  # fmt: skip
    told.clear()
    open_tracker(config, run_in(tmp_path, step=4))
    assert told == ["islands", {"run_id": "7f"}], "a resumed training goes on in the same run"
    told.clear()
    open_tracker(config, run_in(tmp_path))
    assert told[1] == {"run_name": "training-law-1a2b3c4d"}, "one that begins anew does not"


def test_weights_and_biases_get_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    def init(**options: Any) -> Any:
        told.append(options)
        return types.SimpleNamespace(
            id="9c", log=told.append, finish=lambda: told.append("end"), define_metric=lambda *_, **__: None
        )

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for step, known in ((0, None), (7, "9c")):
        tracker = open_tracker(TrackingConfig(to="wandb"), run_in(tmp_path, step))
        tracker.step(step + 1, METRICS)
        tracker.close()
        options = {
            "project": "memo-ray", "name": "training-law-1a2b3c4d", "config": {"epochs": 3},
            "dir": str(tmp_path / "tracking"), "id": known, "resume": "allow",
        }  # fmt: skip
        assert told == [options, NUMBERS | {"step": step + 1}, "end"]
        told.clear()


def test_a_service_that_fails_costs_the_curves_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow = mlflow_that([])
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    tracker = open_tracker(TrackingConfig(to="mlflow"), run_in(tmp_path))

    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("503: the server is away\nand more")

    mlflow.log_metrics = fail
    for step in (1, 2):
        tracker.step(step, METRICS)
    tracker.close()
    message = "training.tracking: ConnectionError: 503: the server is away; no curves from here on"
    assert caplog.messages == [message]

    mlflow.start_run = fail
    with pytest.raises(TrainingError, match=r"tracking\.to: mlflow cannot be used \(ConnectionError: 503"):
        open_tracker(TrackingConfig(to="mlflow"), run_in(tmp_path))
