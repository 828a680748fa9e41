"""Every check finds what is missing and says what to do; needs follow from the run's config."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from memo_ray import preflight
from memo_ray.config.loading import validate
from memo_ray.config.models import VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.errors import EnvironmentProblem
from memo_ray.preflight import GIB, Finding, Needs, check, needs_of, report, require

CORPUS = {"name": "one", "paths": ["docs"]}
ENOUGH = Needs(disk=1, temporary_disk=1, memory=1, shared_memory=1, open_files=16)


def failing(needs: Needs) -> dict[str, Finding]:
    return {row.check: row for row in check(needs)}


def run_config(**sections: object) -> RunConfig:
    return validate({"name": "run", "corpora": [CORPUS], **sections}, "run.yaml")


@pytest.fixture
def clean_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder that is all of PATH; no CXX."""
    empty = tmp_path / "bin"
    empty.mkdir()
    monkeypatch.setenv("PATH", str(empty))
    monkeypatch.delenv("CXX", raising=False)
    return empty


def test_a_machine_with_enough_of_everything_passes(tmp_path: Path) -> None:
    assert check(Needs(root=tmp_path / "runs", disk=1, memory=1, compiler=True)) == []
    require(ENOUGH)


def test_every_finding_of_the_doctor_has_a_name_and_its_remedy_when_it_is_not_ok() -> None:
    rows = report()
    assert len({row.check for row in rows}) == len(rows) >= 14
    assert all(row.remedy for row in rows if row.status != "ok")


def test_a_missing_compiler_stops_a_run_that_compiles(clean_path: Path) -> None:
    assert "apt install g++" in failing(Needs(compiler=True))["C++ compiler"].remedy
    assert "C++ compiler" not in failing(ENOUGH)


@pytest.mark.parametrize(
    ("need", "check_name"),
    [("memory", "memory"), ("shared_memory", "/dev/shm"), ("disk", "disk at "), ("temporary_disk", "disk at ")],
)
def test_too_little_room_says_how_much_there_is_and_how_much_is_needed(need: str, check_name: str) -> None:
    (found,) = check(preflight.replace(ENOUGH, **{need: 1 << 60}))
    assert found.check.startswith(check_name)
    assert "GiB free, about 1073741824.0 GiB needed" in found.found


def test_all_problems_are_named_at_once_one_a_line() -> None:
    with pytest.raises(EnvironmentProblem) as caught:
        require(preflight.replace(ENOUGH, memory=1 << 60, gpus=64))
    lines = str(caught.value).splitlines()
    assert [line.split(":")[0] for line in lines] == ["GPUs", "memory"]
    assert "kv_cache_gb" in lines[1]


def test_a_bound_port_is_named_with_its_host() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (found,) = check(preflight.replace(ENOUGH, ports=(("127.0.0.1", port),)))
    assert (found.check, found.found) == (f"port 127.0.0.1:{port}", "cannot be opened")
    assert "another port" in found.remedy


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    (found,) = check(preflight.replace(ENOUGH, root=tmp_path / "runs"))
    assert found.check == f"disk at {tmp_path / 'runs'}"
    assert "root:" in found.remedy


def test_a_folder_too_long_for_rays_sockets_is_named_before_ray_fails(tmp_path: Path) -> None:
    fits = Path("/tmp")
    assert failing(preflight.replace(ENOUGH, ray_folder=fits)) == {}
    long = tmp_path / ("x" * 90)
    long.mkdir()
    assert "at most 43 bytes" in failing(preflight.replace(ENOUGH, ray_folder=long))["Ray's folder"].remedy


def test_the_longest_folder_that_passes_holds_rays_socket() -> None:
    folder = "/" + "f" * (preflight.SOCKET_PATH - preflight.RAY_SOCKET - 1)
    path = f"{folder}/session_2026-11-22_16-08-25_123456_4194304/sockets/plasma_store"
    assert len(os.fsencode(path)) == preflight.SOCKET_PATH


@pytest.fixture
def few_files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_few_open_files_are_a_warning(few_files: None) -> None:
    (row,) = [row for row in report(Needs()) if row.check == "open files"]
    assert (row.status, row.found) == ("warn", "512")
    assert "ulimit" in row.remedy


def test_needs_grow_with_the_models_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi: the needs of a machine without a GPU
    small = needs_of(run_config())
    model = tmp_path / "model"
    model.mkdir()
    with (model / "model.safetensors").open("wb") as file:
        file.truncate(GIB)
    large = needs_of(run_config(training={"base": str(model), "epochs": 2}))
    assert small.cpu_engine
    assert small.compiler
    assert large.memory - small.memory > 2 * GIB
    assert large.disk == GIB + (2 + 2 * preflight.TRAINING_STATE) * GIB


def test_engines_that_serve_together_are_counted_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    remote = {"engine": "openai", "base_url": "http://127.0.0.1:1/v1", "model": "m"}
    both = needs_of(run_config())
    assert both.memory == preflight.RAY + 2 * preflight.engine_memory(VllmModel(engine="vllm"))
    assert needs_of(run_config(serving={"executive": remote})).memory < both.memory


def test_only_the_wanted_stages_need_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    needs = needs_of(run_config(), ("corpus", "synthesis"))
    assert needs.memory == preflight.RAY + preflight.engine_memory(VllmModel(engine="vllm"))
    assert needs.disk < needs_of(run_config()).disk
    monkeypatch.setattr(preflight.machine, "gpus", lambda: ["NVIDIA H200"])
    monkeypatch.setattr(preflight.machine, "engine", lambda: "vllm 0.29.0")
    assert [needs_of(run_config(), ("synthesis",)).gpus, needs_of(run_config()).gpus] == [1, 2]
    assert needs_of(run_config(), ("corpus",)).gpus == 0


def test_a_cluster_at_ray_address_does_the_work_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    needs = needs_of(run_config())
    assert (needs.memory, needs.shared_memory, needs.compiler, needs.cpu_engine) == (0, 0, False, False)
    assert needs.disk > GIB


def test_an_installation_without_an_engine_is_told_which_extra_brings_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight.machine, "engine", lambda: "")
    (found,) = (row for row in preflight.report() if row.check == "engine")
    assert found.found == "no vLLM" and found.status == "fail"
    assert "memo-ray's extra `cpu` or `gpu`" in found.remedy and "docs/installation.md" in found.remedy
