"""Prices, a run's account over all its attempts, and its end at the limit, without a cluster."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from memo_ray import ray_meter
from memo_ray.accounts import Account, priced, spent_text
from memo_ray.artifacts.local import LocalPlace
from memo_ray.artifacts.store import Attempt
from memo_ray.config.costs import Costs
from memo_ray.config.loading import read_run
from memo_ray.config.run import RunConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError, SpendingLimitReached
from memo_ray.results import finish, status_of, status_text, stored_results
from memo_ray.rows import Document
from memo_ray.workspace import Workspace

ENDPOINT = {"engine": "openai", "base_url": "http://x/v1", "model": "m"}
PRICES = {"input": 2.0, "output": 10.0, "cached_input": 0.5}


def config(tmp_path: Path, **sections: Any) -> RunConfig:
    whole = {"name": "x", "root": str(tmp_path), "corpora": [{"name": "isles", "paths": ["d"]}]} | sections
    return read_run(json.dumps(whole).encode(), "run.yaml")


def test_gpus_cores_and_an_endpoints_tokens_have_prices(tmp_path: Path) -> None:
    run = config(
        tmp_path,
        costs={"gpu_hour": 3.0, "cpu_hour": 0.05},
        synthesis={"generator": ENDPOINT | {"prices": PRICES}},
        serving={"executive": ENDPOINT | {"prices": PRICES}},
    )
    assert priced(run, "training", {"gpu_seconds": 7200, "cpu_seconds": 36_000}) == 6.0 + 0.5
    tokens = {"input_tokens": 1_000_000, "cached_tokens": 400_000, "output_tokens": 100_000}
    assert priced(run, "synthesis", tokens) == 1.2 + 0.2 + 1.0
    assert priced(run, "evaluation", tokens) == 0, "the memory's tokens cost its GPU's time"
    assert priced(run, "evaluation", {"executive_output_tokens": 500_000}) == 5.0
    assert priced(config(tmp_path), "training", {"gpu_seconds": 7200}) is None, "nothing has a price"


def test_a_limit_in_money_is_reached_by_an_endpoints_tokens_alone(tmp_path: Path) -> None:
    run = config(tmp_path, costs={"max_cost": 2}, synthesis={"generator": ENDPOINT | {"prices": PRICES}})
    account = Account(run, LocalPlace(tmp_path))
    account.keep("synthesis", {"money": priced(run, "synthesis", {"output_tokens": 250_000}) or 0.0})
    with pytest.raises(SpendingLimitReached, match=r"costs\.max_cost: the run's limit of 2 USD is reached \(2\.50"):
        account.check()


def test_an_account_adds_up_every_attempt(tmp_path: Path) -> None:
    account = Account(config(tmp_path, costs={"gpu_hour": 2, "max_gpu_hours": 3}), LocalPlace(tmp_path))
    assert not account.spent()
    account.keep("first", {"gpu_seconds": 3600.0, "money": 2.0})
    account.keep("second", {"gpu_seconds": 1800.0, "money": 1.0})
    account.keep("second", {"gpu_seconds": 5400.0, "money": 3.0, "input_tokens": 1200})
    assert account.spent() == {"gpu_seconds": 9000.0, "money": 5.0, "input_tokens": 1200}
    assert spent_text(account.spent(), "EUR") == "2.50 GPU-hours, 0.00 core-hours, 1,200 tokens read, 5.00 EUR"
    account.check()
    account.keep("third", {"gpu_seconds": 1800.0, "money": 1.0})
    with pytest.raises(
        SpendingLimitReached, match=r"costs\.max_gpu_hours: the run's limit of 3 GPU-hours is reached \(3"
    ):
        account.check()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        (
            {"costs": {"max_cost": 10}},
            "max_cost needs a price: costs.gpu_hour, costs.cpu_hour, or an endpoint's prices",
        ),
        ({"costs": {"max_gpu_hours": 0}}, r"costs\.max_gpu_hours: .*greater than 0"),
        (
            {
                "costs": {"currency": "EUR"},
                "synthesis": {"generator": ENDPOINT | {"prices": PRICES}},
            },
            "costs.currency is EUR, synthesis.generator.prices.currency is USD",
        ),
    ],
)
def test_costs_that_cannot_be_counted_are_refused(tmp_path: Path, sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(tmp_path, **sections)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A run whose cluster has two GPUs and four cores in use."""
    monkeypatch.setattr(ray_meter, "in_use", lambda: {"gpu_seconds": 2.0, "cpu_seconds": 4.0})
    costs = {"gpu_hour": 3600.0, "max_cost": 1.0}
    return Workspace(config(tmp_path, costs=costs), Console(quiet=True))


def made(workspace: Workspace, seconds: float) -> None:
    """The run's corpus, in an attempt that takes so long."""

    def build(attempt: Attempt) -> None:
        attempt.add_cost(input_tokens=30)
        attempt.write("documents", [], Document)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.02)

    workspace.note("corpus-isles", "1" * 64)
    with (
        workspace.store.attempt("corpus-isles", "corpus", "1" * 64, {}, {}) as attempt,
        ray_meter.metered(Account(workspace.config, workspace.place), "corpus", attempt, look_s=0.05),
    ):
        build(attempt)


def test_a_record_holds_what_its_attempt_cost_and_a_report_sums_the_run(workspace: Workspace) -> None:
    made(workspace, 0.2)
    artifact = workspace.finished("corpus-isles")
    assert artifact is not None
    cost = artifact.record.cost
    assert 0.1 < cost["gpu_seconds"] < 2
    assert cost["cpu_seconds"] == pytest.approx(2 * cost["gpu_seconds"], abs=0.01)
    assert (cost["input_tokens"], cost["output_tokens"]) == (30, 0)
    assert cost["money"] == pytest.approx(cost["gpu_seconds"])
    summary = finish(workspace, stored_results(workspace), None, again=True)["cost"]
    assert summary["money"] == summary["all_attempts"]["money"] == pytest.approx(cost["money"], abs=0.002)
    assert summary["currency"] == "USD"
    said = status_text(workspace, status_of(workspace))
    assert "spent, with all attempts: 0.00 GPU-hours, 0.00 core-hours, 30 tokens read" in said
    page = (Path(workspace.place.url) / "report.html").read_text()
    assert "money in USD" in page and "gpu seconds" in page.lower()


@pytest.mark.parametrize("in_a_script", [False, True])
def test_a_stage_that_reaches_the_limit_ends_and_goes_on_when_it_is_raised(
    workspace: Workspace, in_a_script: bool, request: pytest.FixtureRequest
) -> None:
    if in_a_script:  # the background processes of a script ignore Ctrl-C
        request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN)))
    clock = time.monotonic()
    with pytest.raises(
        SpendingLimitReached, match=r"costs\.max_cost: the run's limit of 1 USD is reached \(1\.\d\d spent\)"
    ):
        made(workspace, 20.0)
    assert time.monotonic() - clock < 5
    assert workspace.finished("corpus-isles") is None
    spent_before = Account(workspace.config, workspace.place).spent()["money"]
    assert spent_before >= 1.0
    with pytest.raises(SpendingLimitReached, match="raise the limit"):
        made(workspace, 0.0)
    raised = workspace.config.model_copy(update={"costs": Costs(gpu_hour=3600.0, max_cost=1000.0)})
    again = Workspace(raised, Console(quiet=True))
    made(again, 0.2)
    artifact, spent = again.finished("corpus-isles"), Account(raised, again.place).spent()
    assert artifact is not None and artifact.record.cost["money"] < 1.0
    assert spent["money"] == pytest.approx(artifact.record.cost["money"] + spent_before, abs=0.01)
