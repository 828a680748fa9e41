"""cluster/Dockerfile: what its targets install, as whom they run, and that its build context has what it copies."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.unit.cluster.conftest import tool

ROOT = Path(__file__).resolve().parents[3]
TEXT = (ROOT / "cluster" / "Dockerfile").read_text()


def stages() -> dict[str, list[str]]:
    """Stage → its instructions, each with its continued lines in one, without comments."""
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE))
    found: dict[str, list[str]] = {}
    for line in filter(None, map(str.strip, joined.splitlines())):
        if line.startswith("FROM "):
            _, base, _, name = line.split()
            found[name] = [*found.get(base, [])]
        elif found:
            found[next(reversed(found))].append(line)
    return found


def test_both_targets_install_their_lock_and_end_as_a_numbered_user_without_rights() -> None:
    for target in ("cpu", "gpu"):
        lines = stages()[target]
        (install,) = (line for line in lines if "install.py" in line)
        assert f"requirements/install.py {target} .venv" in install and "--mount=type=secret,id=pip" in install
        # By number: Kubernetes cannot tell whether a name is root's.
        assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
        assert not [line for line in lines if "pip install" in line or "sudo" in line]


def test_no_registry_is_named_and_no_secret_kept() -> None:
    assert re.findall(r"^ARG (\w+)=(\S+)", TEXT, re.MULTILINE) == [("PYTHON_IMAGE", "python:3.11-slim-bookworm")]
    assert re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE) == ["${PYTHON_IMAGE}", "base", "base"]
    assert not re.search(r"\w+://|(?i:token|password|secret)=\S*[a-z0-9]{16}", TEXT)


def test_nodes_want_the_token_and_find_package_and_jobs_from_any_folder() -> None:
    environment = dict(re.findall(r"([A-Z_]+)=(\S+)", " ".join(line for line in stages()["gpu"] if line[:4] == "ENV ")))
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["PYTHONPATH"] == "/opt/memo-ray"
    assert environment["PATH"].startswith("/opt/memo-ray/.venv/bin:")


def test_what_is_copied_is_in_the_build_context_and_there() -> None:
    context = (ROOT / "cluster" / "Dockerfile.dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in context if line.startswith("!")}
    copied = {
        name.rstrip("/")
        for lines in stages().values()
        for line in lines
        if line.startswith("COPY ")
        for name in line.split()[1:-1]
    }
    assert "*" in context and copied == kept
    assert [name for name in kept if not (ROOT / name).exists()] == []


def test_the_stages_run_from_the_folder_that_is_copied(tmp_path: Path) -> None:
    """As in the image: package and jobs found through PYTHONPATH alone, from another folder."""
    command = [sys.executable, "-P", "-m", "jobs.corpus", str(tmp_path / "nothing")]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("corpus: ") and "no run there" in done.stderr


def test_hadolint_finds_nothing() -> None:
    command = [tool("hadolint"), str(ROOT / "cluster" / "Dockerfile")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
