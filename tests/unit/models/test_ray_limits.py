"""What a cluster that can grow is taken to have, before any of it is there."""

from __future__ import annotations

import pytest
import ray

from memo_ray.config.models import VllmModel
from memo_ray.errors import EnvironmentProblem
from memo_ray.models import ray_limits
from memo_ray.models.ray_engine import actor_resources


@pytest.fixture
def _small_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A head of four cores and 8 GB, as `ray` reports it, whose autoscaler is silent as those of Ray 2.60 are."""
    monkeypatch.delenv(ray_limits.VARIABLE, raising=False)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "memory": 8e9})
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 4.0, "memory": 8e9}}])
    monkeypatch.setattr("ray._private.state.state.get_max_resources_from_cluster_config", lambda: None)


@pytest.mark.usefixtures("_small_cluster")
def test_without_an_autoscaler_the_cluster_is_what_it_is() -> None:
    assert ray_limits.largest_cluster() == {"CPU": 4.0, "GPU": 0.0, "memory": 8e9}
    assert ray_limits.largest_node_memory() == 8e9
    assert actor_resources(VllmModel(engine="vllm")) == {"num_cpus": 1, "num_gpus": 0}


@pytest.mark.usefixtures("_small_cluster")
def test_gpus_that_the_autoscaler_may_bring_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ray_limits.VARIABLE, '{"GPU": 8, "node_memory": 120e9}')
    assert ray_limits.largest_cluster() == {"CPU": 4.0, "GPU": 8.0, "memory": 8e9}
    assert ray_limits.largest_node_memory() == 120e9
    assert actor_resources(VllmModel(engine="vllm", tensor_parallel_size=2)) == {"num_cpus": 1, "num_gpus": 2}


@pytest.mark.usefixtures("_small_cluster")
@pytest.mark.parametrize("wrong", ["8", '{"GPUs": 8}', '{"GPU": -1}', "{"])
def test_what_cannot_be_read_names_the_variable(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv(ray_limits.VARIABLE, wrong)
    with pytest.raises(EnvironmentProblem, match=r"^MEMO_AUTOSCALES_TO: .*; write it on the cluster's nodes"):
        ray_limits.largest_cluster()
