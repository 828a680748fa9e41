"""Jobs on nodes whose image lacks packages, and a sweep whose job is stopped, through the Jobs API of a cluster."""

from __future__ import annotations

import importlib.metadata
import json
import re
import site
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from memo_ray.config.loading import load_run
from memo_ray.console import Console
from memo_ray.errors import GenerationError
from memo_ray.ray_dashboard import connect
from memo_ray.ray_jobs import stop, submit
from memo_ray.rows import SweepRow
from memo_ray.stage_packages import part_for
from memo_ray.workspace import Workspace
from tests.ray.test_jobs import run_of, started

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).resolve().parents[2]
LACKS = "jmespath"
"""What the node's image has not: boto3 imports it, so no stage of a run on S3 gets far."""
ENGINE = {
    "engine": "vllm", "dtype": "float32", "max_model_len": 256, "max_num_seqs": 8, "kv_cache_gb": 0.1,
    "enforce_eager": True,
}  # fmt: skip
FACTS = {
    "harbour": [("founded Port Amber", "Ilse Verran"), ("kept the tame heron", "Odo Stell"), ("dug the dock", "Bram")],
    "light": [("built the Skarn lighthouse", "Per Tallow"), ("lit the lamp", "Ada Quill"), ("sold the oil", "Finn")],
}
RECIPES = 16


def image(folder: Path) -> Path:
    """The Python of an environment with what the corpus stage needs, but for one package; and no PyTorch or engine."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    locked = set(re.findall(r"^([a-z0-9-]+)==", part_for("cpu", ROOT, models=False), re.M))
    wanted = {"ray", "pip", "setuptools"} | locked - {LACKS}
    for one in importlib.metadata.distributions(path=site.getsitepackages()):
        if re.sub(r"[-_.]+", "-", one.name).lower() not in wanted:
            continue
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            link = packages / top
            if not link.exists():
                link.symlink_to(Path(str(one.locate_file(top))))
    return folder / "bin" / "python"


def test_a_job_installs_what_the_image_lacks(
    s3_server: str, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pin = f"{LACKS}=={importlib.metadata.version(LACKS)}"
    fetch = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "-d", str(tmp_path / "wheels"), pin]
    if subprocess.run(fetch, capture_output=True, check=False).returncode:
        pytest.skip("no package source offers what is to be installed")
    run = run_of(bucket, tmp_path)
    with started(image(tmp_path / "image")) as address:
        with pytest.raises(GenerationError, match="-corpus-1: failed"):
            submit(run, ["corpus"], address)
        assert f"lacks {LACKS}; make its image from the lock" in capsys.readouterr().out
        job = submit(run, ["corpus"], address, install="cpu")
        environment: Any = connect(address).get_job_info(job).runtime_env
    assert job.endswith("-corpus-2")
    made = run.finished("corpus-a")
    assert made is not None and made.record.rows["documents"] == 2
    assert "--require-hashes" in environment["pip"]["pip_install_options"]


def two_corpora(folder: Path, base: Path) -> Workspace:
    """A run on this machine's disk with a sweep of many merges, from question-answer sets."""
    corpora = []
    for name, facts in FACTS.items():
        (folder / f"{name}.md").write_text(" ".join(f"{who} {did}." for did, who in facts))
        rows = [{"question": f"Who {did}?", "answer": who} for did, who in facts]
        rows += [{"question": f"By whom was it that {did}?", "answer": who, "split": "held_out"} for did, who in facts]
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
        paths = {"paths": [str(folder / f"{name}.md")], "reflections": [str(folder / f"{name}.jsonl")]}
        corpora.append({"name": name} | paths)
    densities = [round(0.05 * number, 2) for number in range(1, RECIPES + 1)]
    config = {
        "name": "swept",
        "root": str(folder / "runs"),
        "corpora": corpora,
        "training": {"base": str(base), "epochs": 1, "reflections_per_step": 2, "max_sequence_length": 256},
        "merging": {"recipes": [{"method": "ties", "density": densities}]},
        "serving": {"executive": ENGINE, "memory": ENGINE},
        "evaluation": {"engine": ENGINE, "max_tokens": 8},
    }
    (folder / "run.yaml").write_text(yaml.safe_dump(config))
    return Workspace(load_run(folder / "run.yaml"), Console(quiet=True))


def scored(folder: Path) -> dict[str, float]:
    """The merges that the sweep under way has put away, each with the seconds that it took to ask."""
    found = folder.glob("runs/swept/artifacts/merging/*/progress/scores/*/*/answers.parquet")
    names = [answers.parent for answers in found if not answers.parent.name.startswith(".")]
    return {one.name: json.loads(one.with_name(f"{one.name}.seconds.json").read_text()) for one in names}


def test_a_stopped_sweep_goes_on_in_the_next_job(s3_server: str, tmp_path: Path, tiny_model: Path) -> None:
    run = two_corpora(tmp_path, tiny_model)
    chain = ["corpus", "synthesis", "training", "merging"]
    with started(Path(sys.executable)) as address:
        submit(run, chain[:3], address)
        job = submit(run, ["merging"], address, wait=False)
        end = time.monotonic() + 240
        while not (before := scored(tmp_path)):
            assert time.monotonic() < end and not connect(address).get_job_status(job).is_terminal()
            time.sleep(0.05)
        assert stop(run, address) == [job]
        while not (status := connect(address).get_job_status(job)).is_terminal():
            assert time.monotonic() < end
            time.sleep(0.2)
        assert status.value == "STOPPED"
        before = scored(tmp_path)
        assert 0 < len(before) < RECIPES and run.finished("merging") is None
        last = submit(run, chain, address)
    assert last == job.removesuffix("1") + "2"
    made = run.finished("merging")
    assert made is not None
    rows = made.rows("sweep", SweepRow)
    assert len(rows) == RECIPES
    again = {row.recipe_id: row.score_seconds for row in rows if row.recipe_id in before}
    assert again == before, "what was scored is not asked again"
