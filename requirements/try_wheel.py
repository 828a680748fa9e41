"""Tries a wheel with the core's packages alone, in an environment of its own: `python try_wheel.py [WHEEL]`.

The commands that need no model must work there, and one that needs an extra must say which in one line. Versions are
those of cpu.txt. The environment is made in a temporary folder and removed again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from sources import configured_sources

FOLDER = Path(__file__).resolve().parent
WORKS = (["--version"], ["--help"], ["init", "documents"], ["status", "run.yaml"], ["gc", "run.yaml"], ["key", "me"])
REFUSED = ["submit", "run.yaml", "--stop", "--address", "http://127.0.0.1:1"]
"""Works up to the cluster, which is not there."""
LACKS = {"serve": ["serve", "run.yaml"], "plan": ["plan", "run.yaml"]}
"""Commands that need an extra, whose one line must name it."""


def install(wheel: Path, environment: Path) -> None:
    """Make `environment` with the wheel and the core's packages. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    sources = configured_sources(sys.executable)
    command = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", python, *sources.arguments()]
    versions = ["--constraint", str(FOLDER / "cpu.txt")]
    subprocess.run([*command, *versions, str(wheel)], check=True, env=os.environ | sources.environment())


def problems(environment: Path, folder: Path) -> list[str]:
    """What does not work of a core installation, tried in the empty `folder`; a line each."""
    (folder / "documents").mkdir()
    (folder / "documents" / "one.txt").write_text("The tower was built in 1810.")
    settings = {key: value for key, value in os.environ.items() if key not in {"PYTHONPATH", "RAY_ADDRESS"}}
    found = []

    def memo(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        command = [str(environment / "bin" / "memo"), *arguments]
        return subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False)

    for arguments in WORKS:
        done = memo(arguments)
        if done.returncode:
            found.append(f"memo {' '.join(arguments)}: status {done.returncode}: {done.stderr.strip()[-300:]}")
    done = memo(REFUSED)
    if done.returncode != 2 or "no Ray dashboard answers there" not in done.stderr or "Traceback" in done.stderr:
        found.append(f"memo submit: does not look for the cluster: status {done.returncode}: {done.stderr[-300:]}")
    for verb, arguments in LACKS.items():
        done = memo(arguments)
        lines = done.stderr.strip().splitlines() or [""]
        if done.returncode != 2 or "comes with memo-ray's extra" not in lines[-1] or "Traceback" in done.stderr:
            found.append(f"memo {verb}: does not say which extra it needs: status {done.returncode}: {lines[-1][:300]}")
    return found


def main() -> None:
    given = [Path(name) for name in sys.argv[1:]] or sorted(FOLDER.parent.glob("dist/*.whl"))
    if len(given) != 1 or not given[0].is_file():
        sys.exit("try_wheel: give one wheel, or make dist first")
    with tempfile.TemporaryDirectory(prefix="memo-wheel-") as name:
        environment, folder = Path(name) / "environment", Path(name) / "work"
        folder.mkdir()
        install(given[0].resolve(), environment)
        found = problems(environment, folder)
    print("\n".join(found) or f"{given[0].name}: installs with the core alone, and says what needs an extra")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
