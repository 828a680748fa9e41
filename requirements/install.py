"""Makes a virtual environment from a lock: `python3.11 requirements/install.py cpu .venv`.

pip installs uv, uv installs the lock, without resolving dependencies and checking every file's hash, and memo-ray
itself is installed in place (not beside the tools of `release`, nor in `hipporag`, another package's environment). A
stamp is written last: an environment without a stamp, or with that of another lock, is made anew, so an interrupted
installation is never trusted. Runs on a bare Python 3.11.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from sources import Sources, configured_sources

FOLDER = Path(__file__).resolve().parent
OURS = ("cpu", "gpu")
"""The targets that memo-ray itself is installed for."""
STAMP = ".installed-{target}"
"""Make's target; holds the digest of what was installed."""
SECONDS = ".setup-seconds"
TORCH_CPU_PAGE = "https://download.pytorch.org/whl/cpu/torch/"
"""PyTorch's own page of CPU builds, asked only where no configured source has the one in the lock."""


class InstallError(Exception):
    """The environment cannot be made; the message says what to do."""


def digest(target: str) -> str:
    """Identifies what an environment for `target` holds: the interpreter and both locks."""
    parts = [(FOLDER / name).read_bytes() for name in ("bootstrap.txt", f"{target}.txt")]
    return hashlib.sha256(b"\0".join([*parts, sys.version.encode()])).hexdigest()


def install(target: str, environment: Path, torch_page: str) -> None:
    """Make `environment` what the lock of `target` says, from nothing unless its stamp says that it is so already."""
    stamp, wanted = environment / STAMP.format(target=target), digest(target)
    if not stamp.exists() or stamp.read_text() != wanted:
        started = time.monotonic()
        shutil.rmtree(environment, ignore_errors=True)
        print(f"Making {environment} from requirements/{target}.txt; this takes a few minutes.", flush=True)
        _run([sys.executable, "-m", "venv", str(environment)], "python3.11's venv module is missing or incomplete")
        python = str(environment / "bin" / "python")
        _run(
            [*(python, "-m", "pip", "install", "-qq", "--no-deps", "--require-hashes"), "-r", _lock("bootstrap")],
            "pip could not install uv; check the machine's package source (`pip config list`)",
        )
        sources = configured_sources(python)
        if "+cpu" in torch_pin(target) and not _offers(python, sources, torch_pin(target)):
            print(f"No configured package source has torch's CPU build; taking it from {torch_page}", flush=True)
            sources = sources.with_page(torch_page)
        _uv(python, sources, ["--require-hashes", "--compile-bytecode", "-r", _lock(target)])
        _ourselves(target, python, sources)
        (environment / SECONDS).write_text(f"{time.monotonic() - started:.0f}\n")
        stamp.write_text(wanted)
    else:
        python = str(environment / "bin" / "python")
        _ourselves(target, python, configured_sources(python))
    stamp.touch()


def _ourselves(target: str, python: str, sources: Sources) -> None:
    if target in OURS:
        _uv(python, sources, ["--editable", str(FOLDER.parent)])


def _lock(name: str) -> str:
    return str(FOLDER / f"{name}.txt")


def torch_pin(target: str) -> str:
    """The torch that a lock names; empty for a lock without it."""
    lines = Path(_lock(target)).read_text().splitlines()
    return next((line.split()[0] for line in lines if line.startswith("torch==")), "")


def _offers(python: str, sources: Sources, pin: str) -> bool:
    """Whether a configured source has what `pin` names."""
    command = [python, "-m", "uv", "pip", "compile", "-", "--no-deps", "-qq", *sources.arguments()]
    env = os.environ | sources.environment()
    return subprocess.run(command, input=pin, text=True, capture_output=True, env=env, check=False).returncode == 0


def _uv(python: str, sources: Sources, what: list[str]) -> None:
    """`uv pip install`. Only what is published as source alone (deepspeed), and memo-ray itself, is ever built."""
    built = ["--no-build-isolation", "--only-binary=:all:", "--no-binary=deepspeed", "--no-binary=memo-ray"]
    command = [python, "-m", "uv", "pip", "install", "--python", python, "--no-deps", "--quiet", *built]
    _run(
        [*command, *sources.arguments(), *what],
        "uv could not install the lock; its reason is above. Check the network and the machine's package source",
        sources.environment(),
    )


def _run(command: list[str], remedy: str, extra: dict[str, str] | None = None) -> None:
    if subprocess.run(command, env=os.environ | (extra or {}), check=False).returncode:
        raise InstallError(remedy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=(*OURS, "hipporag", "release"))
    parser.add_argument("environment", type=Path)
    parser.add_argument(
        "--torch-page", default=TORCH_CPU_PAGE, help="page with torch's CPU wheels, used as last resort"
    )
    arguments = parser.parse_args()
    if sys.version_info[:2] != (3, 11):
        sys.exit(f"memo-ray runs on Python 3.11, this is {sys.version.split()[0]}; see README, Set-up")
    try:
        install(arguments.target, arguments.environment, arguments.torch_page)
    except InstallError as error:
        sys.exit(f"make venv: {error}")
    except KeyboardInterrupt:
        sys.exit("make venv: interrupted; run it again, it begins anew")


if __name__ == "__main__":
    main()
