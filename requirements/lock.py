"""Writes the locks: `python requirements/lock.py [cpu] [gpu] [release] [hipporag] [bootstrap]` (all: none).

Each NAME.in becomes NAME.txt: every package that the environment needs, at one version, with the hashes of its
files, for Python 3.11 on Linux x86-64. A package in excluded.txt (and excluded-NAME.txt) is left out wherever
it is declared; a version in overrides-NAME.txt stands in the place of what a package asks for. Versions already in
a lock stay unless `--upgrade` is given.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from sources import Sources, configured_sources

FOLDER = Path(__file__).resolve().parent
NAMES = ("bootstrap", "cpu", "gpu", "hipporag", "release")
PYTHON_VERSION = "3.11"
PLATFORM = "x86_64-manylinux_2_28"


def resolve(name: str, upgrade: bool) -> int:
    """Write NAME.txt and return the number of packages in it. Raises CalledProcessError when uv finds no solution.

    An extra index often holds few of a release's files; those of the main index are locked wherever it suffices.
    """
    sources = configured_sources(sys.executable)
    try:
        _compile(name, upgrade, replace(sources, extra_index_urls=()), quiet=bool(sources.extra_index_urls))
    except subprocess.CalledProcessError:
        if not sources.extra_index_urls:
            raise
        _compile(name, upgrade, sources, quiet=False)
    return _tidy(FOLDER / f"{name}.txt")


def _compile(name: str, upgrade: bool, sources: Sources, quiet: bool) -> None:
    excluded = [path for path in (FOLDER / "excluded.txt", FOLDER / f"excluded-{name}.txt") if path.exists()]
    overrides = FOLDER / f"overrides-{name}.txt"
    command = [
        *(sys.executable, "-m", "uv", "pip", "compile", f"requirements/{name}.in"),
        *("--output-file", f"requirements/{name}.txt", "--generate-hashes"),
        *("--python-version", PYTHON_VERSION, "--python-platform", PLATFORM),
        *(f"--excludes={path}" for path in excluded),
        *([f"--overrides={overrides}"] if overrides.exists() else []),
        *("--no-emit-package", "memo-ray", "--no-header", "-qq" if quiet else "--quiet"),
        *(["--upgrade"] if upgrade else []),
        *sources.arguments(),
    ]
    subprocess.run(command, check=True, cwd=FOLDER.parent, env=os.environ | sources.environment())


def _tidy(lock: Path) -> int:
    """Put a header on `lock`, and drop any line that names a package source and uv's trailing note."""
    lines = lock.read_text().splitlines()
    kept = [line for line in lines if line and not line.startswith(("--index", "--extra-index", "--find-links", "#"))]
    header = f"# Made by `make lock` for Python {PYTHON_VERSION} on Linux x86-64; change {lock.stem}.in, not this file."
    lock.write_text("\n".join([header, *kept]) + "\n")
    return sum(line[0].isalnum() for line in kept)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(NAMES)}; default: all")
    parser.add_argument("--upgrade", action="store_true", help="take the newest versions that fit")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no such lock: {', '.join(sorted(unknown))}; known: {', '.join(NAMES)}")
    for name in arguments.names or NAMES:
        try:
            print(f"requirements/{name}.txt: {resolve(name, arguments.upgrade)} packages")
        except subprocess.CalledProcessError as error:
            sys.exit(f"requirements/{name}.in: uv found no solution (status {error.returncode}); its reason is above")


if __name__ == "__main__":
    main()
