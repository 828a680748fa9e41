"""What a stage holds of a real cluster, and its end at the run's limit while it waits for Ray."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import ray

from memo_ray.accounts import Account
from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.store import Attempt
from memo_ray.cli import main
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.costs import Costs
from memo_ray.config.loading import load_run
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import SpendingLimitReached
from memo_ray.ray_meter import metered
from memo_ray.workspace import Workspace


def account(tmp_path: Path, costs: Costs) -> Account:
    run = RunConfig(name="x", root=str(tmp_path), corpora=(CorpusConfig(name="a", paths=("d",)),), costs=costs)
    return Account(run, LocalPlace(tmp_path))


def attempt(tmp_path: Path) -> Attempt:
    return Attempt(tmp_path, LocalPlace(tmp_path), LocalPlace(tmp_path))


@ray.remote(num_cpus=1)
def nap(seconds: float) -> None:
    time.sleep(seconds)


def work(seconds: float) -> None:
    """Hold one core for so long."""
    ray.get(nap.remote(seconds))


def test_cores_that_a_stage_holds_are_counted(ray_cluster: None, tmp_path: Path) -> None:
    work(0.01)  # the worker is there
    one = attempt(tmp_path)
    with metered(account(tmp_path, Costs(cpu_hour=36.0)), "corpus", one, look_s=0.1):
        work(3.0)
        time.sleep(1.5)
    assert 2.0 < one.cost["cpu_seconds"] < 4.2
    assert one.cost["gpu_seconds"] == 0
    assert one.cost["money"] == pytest.approx(one.cost["cpu_seconds"] / 100, abs=1e-3)


def test_a_stage_that_waits_for_ray_ends_at_the_limit(ray_cluster: None, tmp_path: Path) -> None:
    clock = time.monotonic()
    spent = account(tmp_path, Costs(cpu_hour=3600.0, max_cost=1.0))
    with pytest.raises(SpendingLimitReached, match="max_cost"), metered(spent, "corpus", attempt(tmp_path), look_s=0.1):
        work(60.0)
    assert time.monotonic() - clock < 15
    assert spent.spent()["money"] >= 1.0


def test_a_run_stops_at_its_limit_with_one_line_and_goes_on_when_it_is_raised(
    ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tower.md").write_text("# The tower\n\nThe mason Rolf Anstick built the tower in 1801.\n")
    (tmp_path / "run.yaml").write_text(
        "name: paid\ncorpora: [{name: a, paths: [tower.md]}]\ncosts: {cpu_hour: 1000000, max_cost: 1}\n"
    )
    run = ["run", "run.yaml", "--until", "corpus"]
    held = nap.remote(120)  # so that a core is in use at the first look, however short the stage
    try:
        assert main(run) == 2
        said = capsys.readouterr().err
        last = said.strip().splitlines()[-1]
        assert last.startswith("memo run: costs.max_cost: the run's limit of 1 USD is reached (")
        assert last.endswith("raise the limit and run the same command to go on")
        assert "Traceback" not in said
        assert main([*run, "--set", "costs.max_cost=1000000"]) == 0
    finally:
        ray.cancel(held, force=True)
    made = Workspace(load_run("run.yaml"), Console(quiet=True)).finished("corpus-a")
    assert made is not None
    cost = made.record.cost
    assert cost["cpu_seconds"] > 0 and cost["gpu_seconds"] == cost["input_tokens"] == cost["output_tokens"] == 0
    assert cost["money"] == pytest.approx(cost["cpu_seconds"] * 1e6 / 3600, rel=0.01)
