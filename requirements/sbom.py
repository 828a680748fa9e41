"""Writes licences into bills of materials: `python requirements/sbom.py FILE ...`, after cyclonedx-py has made them.

A lock says no licence, so it is taken from the package as it is installed here, in `.venv`, `.venv-release` or
`.hipporag`, in the lock's version; one that is installed in none of them (much of gpu.txt) is counted on the last line.
Runs in the release's environment.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

from licences import ALLOWED, EXCEPTIONS, spdx, stated

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = (".venv", ".venv-release", ".hipporag")
IDS = {name for name in ALLOWED if " " not in name} - {"AFL", "BSD"}
"""Those of SPDX's names that are its identifiers."""
Known = dict[tuple[str, str], list[dict[str, Any]]]


def key(name: str, version: str) -> tuple[str, str]:
    """A package, however its name is spelt and wherever it was built (torch 2.13.0 and 2.13.0+cpu have one licence)."""
    return re.sub(r"[-_.]+", "-", name).lower(), version.partition("+")[0]


def licences(package: Distribution) -> list[dict[str, Any]]:
    """CycloneDX's `licenses` of an installed package, in its own words; empty when it says nothing."""
    words = stated(package)
    if words and words == package.metadata.json.get("license_expression"):
        return [{"expression": words}]
    names = [spdx(name) for name in words.split("; ") if name and spdx(name)] or [EXCEPTIONS.get(package.name, "")]
    return [{"license": {"id" if name in IDS else "name": name}} for name in names if name]


def installed(folders: Iterable[Path]) -> Known:
    """What the environments that are there hold."""
    found = distributions(path=[str(folder) for folder in folders])
    return {key(package.name, package.version): licences(package) for package in found}


def add(bill: dict[str, Any], known: Known) -> int:
    """Write what is known into a bill; returns for how many components nothing is."""
    for component in bill["components"]:
        said = known.get(key(component["name"], component.get("version", "")))
        if said:
            component["licenses"] = said
    return sum("licenses" not in component for component in bill["components"])


def main() -> None:
    # In the release's environment alone, which type checkers here do not see.
    from cyclonedx.schema import SchemaVersion  # pyright: ignore[reportMissingImports]
    from cyclonedx.validation.json import JsonStrictValidator  # pyright: ignore[reportMissingImports]

    known = installed(folder for name in ENVIRONMENTS for folder in (ROOT / name).glob("lib/python3*/site-packages"))
    for path in map(Path, sys.argv[1:]):
        bill = json.loads(path.read_text())
        without = add(bill, known)
        text = json.dumps(bill, indent=2, sort_keys=True) + "\n"
        wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
        if wrong:
            sys.exit(f"{path}: not CycloneDX 1.6: {wrong}")
        path.write_text(text)
        print(f"{path}: {len(bill['components'])} packages, {without} of them without a licence: not installed here")


if __name__ == "__main__":
    main()
