"""A cluster that does not fit this environment is named before any work begins."""

from __future__ import annotations

import importlib
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ray

from memo_ray import ray_session
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.models import VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.config.training import TrainingConfig
from memo_ray.console import Console
from memo_ray.errors import EnvironmentProblem, TrainingError
from memo_ray.models import ray_engine
from memo_ray.pipeline import STAGES
from memo_ray.ray_room import check_room
from memo_ray.ray_session import check_nodes, missing_packages, session
from memo_ray.workspace import Workspace

GPU_MODEL = VllmModel(engine="vllm", model="some/model", replicas=4, tensor_parallel_size=2)
MISMATCH = (
    "Version mismatch: The cluster was started with:\n    Ray: 2.54.0\n    Python: 3.12.4\n"
    "This process on 10.0.0.1:6379 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n"
)


def test_every_node_of_a_right_cluster_has_what_is_needed(ray_cluster: None) -> None:
    check_nodes("here")


def test_a_node_without_a_package_is_named(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_session, "package_versions", lambda: {"ray": "1", "no-such-engine": "1"})
    with pytest.raises(EnvironmentProblem, match=r"RAY_ADDRESS=here: the node [\d.]+ lacks no-such-engine; install"):
        check_nodes("here")


def test_the_look_at_a_node_needs_nothing_of_ours_there(tmp_path: Path) -> None:
    """The function is unpickled in an interpreter that has cloudpickle's own loader, and no memo_ray."""
    pickling = importlib.import_module("ray.cloudpickle")
    (tmp_path / "look.pickle").write_bytes(pickling.dumps(missing_packages()))
    code = (
        "import sys, importlib.util; sys.path[:] = [p for p in sys.path if p not in ('', sys.argv[2])]\n"
        "find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name: None if name == 'memo_ray' else find(name)\n"
        "import ray.cloudpickle as p; print(p.loads(open(sys.argv[1], 'rb').read())(['ray', 'memo-ray']))"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "look.pickle"), str(Path(__file__).resolve().parents[2])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['memo-ray']"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            RuntimeError(MISMATCH),
            "RAY_ADDRESS=auto: the cluster has Ray 2.54.0 on Python 3.12.4, this environment Ray 2.60.0 on "
            "Python 3.11.7; install the same lock on both (make venv), or run the stages there with `memo submit`",
        ),
        (
            ConnectionError("nobody\n  answers"),
            "RAY_ADDRESS=auto: no Ray cluster answers there; check the address, or unset it (nobody answers)",
        ),
    ],
)
def test_another_version_and_no_cluster_are_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception, said: str
) -> None:
    def refused(**_: Any) -> None:
        raise error

    monkeypatch.setenv("RAY_ADDRESS", "auto")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refused)
    with pytest.raises(EnvironmentProblem) as raised, session(tmp_path):
        pass
    assert str(raised.value) == said


def test_an_address_where_nothing_listens_is_said_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    line = f"RAY_ADDRESS={address}: no Ray cluster answers there \\(Connection refused\\)"
    with pytest.raises(EnvironmentProblem, match=line), session(tmp_path):
        pass


@pytest.mark.parametrize(("gpus", "engines", "fits"), [(8, 4, True), (4, 4, False), (4, 1, True), (1, 1, False)])
def test_more_gpus_than_there_are_is_said_before_an_actor_waits(
    monkeypatch: pytest.MonkeyPatch, gpus: float, engines: int, fits: bool
) -> None:
    monkeypatch.setattr(ray_engine, "largest_cluster", lambda: {"CPU": 8.0, "GPU": gpus})
    if fits:
        assert ray_engine.actor_resources(GPU_MODEL, engines) == {"num_cpus": 1, "num_gpus": 2}
        return
    with pytest.raises(EnvironmentProblem, match=rf"GPUs: the cluster has at most {gpus:g}, and {engines} engine"):
        ray_engine.actor_resources(GPU_MODEL, engines)


def test_what_later_stages_can_never_get_is_said_before_the_first_works(ray_cluster: None, tmp_path: Path) -> None:
    corpora = (CorpusConfig(name="a", paths=("d",)),)
    config = RunConfig(name="x", root=str(tmp_path), corpora=corpora, training=TrainingConfig(workers=64))
    run = Workspace(config, Console(quiet=True))
    for stages in (None, STAGES):
        run.stages = stages
        with pytest.raises(
            TrainingError, match=r"^training.workers: 64 of them need \d+ CPUs, but the cluster has 2; "
        ):
            run.look_ahead("corpus")
    for stages, stage in ((STAGES[:2], "corpus"), (STAGES, "evaluation")):
        run.stages = stages
        run.look_ahead(stage)


def test_the_generators_of_a_later_stage_count_too(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMO_AUTOSCALES_TO", '{"CPU": 64, "GPU": 4}')
    corpora = (CorpusConfig(name="a", paths=("d",)),)
    config = RunConfig(name="x", corpora=corpora, synthesis=SynthesisConfig(generator=GPU_MODEL))
    with pytest.raises(EnvironmentProblem, match=r"^GPUs: the cluster has at most 4, and 4 engine"):
        check_room(config, ["corpus", "synthesis"])
    check_room(config, ["corpus"])
    monkeypatch.setenv("MEMO_AUTOSCALES_TO", '{"CPU": 64, "GPU": 8}')
    check_room(config, STAGES)
