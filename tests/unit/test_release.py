"""What is released is whole: the wheel's data, the extras' names, licences, and workflows that run what is there."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from memo_ray import extras
from requirements.licences import accepted, refused

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
DISTRIBUTIONS = {"liger_kernel": "liger-kernel", "tensorboardX": "tensorboardx", "vllm": "vllm"}
"""Modules whose distribution has another name."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built from a copy without resolving or downloading anything."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copyfile(ROOT / name, source / name)
    shutil.copytree(ROOT / "memo_ray", source / "memo_ray", ignore=shutil.ignore_patterns("__pycache__"))
    build = "import setuptools.build_meta as backend, sys; backend.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", build, str(out)], cwd=source, check=True, capture_output=True, timeout=120)
    (made,) = out.glob("*.whl")
    return made


def test_the_wheel_has_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "memo_ray").rglob("*") if path.is_file()}
    wanted = {name for name in files if "__pycache__" not in name}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == wanted
    assert {Path(name).suffix for name in wanted} >= {".py", ".md", ".yaml", ".html", ".js", ".css", ".svg"}


def test_a_module_that_is_not_installed_names_its_extra_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("The tower was built in 1810.")
    (tmp_path / "run.yaml").write_text("name: mine\ncorpora: [{paths: [one.txt]}]\n")
    code = "import sys; sys.modules['transformers'] = None; from memo_ray.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "plan", "run.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert line.startswith("memo plan: transformers is not installed: it comes with memo-ray's extra `synthesis` or")
    assert "Traceback" not in done.stderr


def test_every_extra_brings_what_it_is_said_to_bring() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for module, names in extras.EXTRAS.items():
        for extra in names:
            wanted = [Requirement(line) for line in declared[extra]]
            brought = {one.name.removesuffix("-cpu") for one in wanted}
            brought |= {"starlette", "fastapi", "uvicorn"} if any("serve" in one.extras for one in wanted) else set()
            assert DISTRIBUTIONS.get(module, module) in brought, (module, extra)
    assert extras.remedy("no_package_of_ours.module") == ""


def test_every_installed_package_has_a_licence_that_is_allowed() -> None:
    assert refused() == []


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("MIT", True),
        ("Apache Software License; MIT License", True),
        ("GPL-3.0-only OR MIT", True),
        ("Apache-2.0 AND (MIT OR BSD-3-Clause)", True),
        ("GPL-3.0-only", False),
        ("MIT AND GPL-2.0-only", False),
        ("OSI Approved", False),
        ("", False),
    ],
)
def test_each_part_of_a_licence_must_be_allowed(licence: str, allowed: bool) -> None:
    assert accepted(licence) is allowed


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_pins_its_actions_and_asks_for_little(path: Path) -> None:
    flow: dict[str, Any] = yaml.safe_load(path.read_text())
    assert flow["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name, job in flow["jobs"].items():
        assert job["timeout-minutes"] <= 240, name
        for step in job["steps"]:
            assert re.fullmatch(r"[\w.-]+/[\w.-]+@[0-9a-f]{40}", step.get("uses", f"a/b@{'0' * 40}")), step
            asked = re.findall(r"^make (.*)$", step.get("run", ""), re.MULTILINE)
            assert {target for line in asked for target in line.split()} <= targets, step
    writing = {
        key for job in flow["jobs"].values() for key, value in job.get("permissions", {}).items() if value == "write"
    }
    assert not writing or path.name == "release.yml"


def test_what_a_tag_publishes_was_tested_and_audited() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    runs = {name: [step.get("run", "") for step in job["steps"]] for name, job in jobs.items()}
    before = [line for name in jobs["publish"]["needs"] for line in runs[name]]
    assert {"bash .ci/run", "make audit", "make dist sbom docs"} <= set(before)


def test_where_checks_run_their_tools_are_brought_first() -> None:
    for path in WORKFLOWS:
        for name, job in yaml.safe_load(path.read_text())["jobs"].items():
            runs = [step.get("run", "") for step in job["steps"]]
            testing = [at for at, line in enumerate(runs) if line in {"bash .ci/run", "make test-all"}]
            assert not testing or "bash .github/tools.sh" in runs[: testing[0]], (path.name, name)


def test_the_drills_run_as_root_every_night() -> None:
    jobs = yaml.safe_load((ROOT / ".github/workflows/nightly.yml").read_text())["jobs"]
    assert any(
        re.match(r"sudo .*pytest tests/faults$", step.get("run", "")) for job in jobs.values() for step in job["steps"]
    )


def test_every_lock_is_in_the_bills_of_materials_and_in_the_audit() -> None:
    text = (ROOT / "Makefile").read_text()
    (named,) = re.findall(r"^LOCKS := (.*)$", text, re.MULTILINE)
    assert sorted(named.split()) == sorted(path.stem for path in (ROOT / "requirements").glob("*.in"))
    for target in ("sbom", "audit"):
        (recipe,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", text, re.MULTILINE)
        assert "for lock in $(LOCKS)" in recipe, target


def test_a_bill_of_materials_says_each_installed_packages_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "requirements"))  # its scripts run from their folder
    sbom = importlib.import_module("sbom")
    known = sbom.installed([Path(path) for path in sys.path if path.endswith("site-packages")])
    versions = dict(known.keys()) | {"nobody": "1.0"}
    names = ("torch", "Requests", "nobody")
    bill = {"components": [{"name": name, "version": versions[name.lower()]} for name in names]}
    assert sbom.add(bill, known) == 1
    said = {one["name"]: one.get("licenses") for one in bill["components"]}
    assert said["Requests"] == [{"license": {"id": "Apache-2.0"}}]
    assert said["torch"] and said["nobody"] is None
