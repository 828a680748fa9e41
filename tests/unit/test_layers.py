"""Who may import whom, what starts fast, how long a file may be, and that README's tree is the real one."""

from __future__ import annotations

import ast
import fnmatch
import json
import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for folder in ("memo_ray", "jobs", "benchmarks", "requirements") for path in ROOT.glob(f"{folder}/**/*.py")
)

WHO_MAY_IMPORT = {
    "ray": ("**/ray_*.py", "memo_ray/serving/*", "jobs/*", "benchmarks/*"),
    "boto3": ("memo_ray/artifacts/s3*.py", "benchmarks/*"),
    "botocore": ("memo_ray/artifacts/s3*.py",),
    "s3transfer": ("memo_ray/artifacts/s3*.py",),
    "vllm": ("memo_ray/models/vllm.py", "memo_ray/serving/*", "benchmarks/*"),
    "deepspeed": ("memo_ray/training/*", "benchmarks/*"),
    "mergekit": ("memo_ray/merging/*", "benchmarks/*"),
    "torch": ("memo_ray/models/*", "memo_ray/training/*", "memo_ray/merging/*", "benchmarks/*"),
    "transformers": ("memo_ray/models/*", "memo_ray/training/*", "memo_ray/merging/*", "benchmarks/*"),
}
"""Library → the files that may import it, at their top or inside a function."""

FOUNDATION = {"errors", "rows", "progress", "quiet", "json_log", "ray_stages", "config", "artifacts", "models"}
ROOMS = {
    "errors": set[str](),
    "rows": set[str](),
    "progress": set[str](),
    "quiet": set[str](),
    "json_log": set[str](),
    "ray_stages": set[str](),
    "config": {"errors"},
    "artifacts": {"errors", "rows", "config"},
    "models": FOUNDATION,
    "protocol": FOUNDATION,
    "corpus": FOUNDATION,
    "synthesis": FOUNDATION | {"corpus"},
    "training": FOUNDATION,
    "citations": FOUNDATION | {"corpus", "protocol"},
    "serving": FOUNDATION | {"protocol", "citations"},
}
"""Room → the rooms of ours it may import. Stages meet in artefacts; only pipeline, merging and evaluation join them."""

LIGHT = ("memo_ray.rows", "memo_ray.errors", "memo_ray.cli", "memo_ray.commands", "memo_ray.preflight")
HEAVY = {"torch", "ray", "vllm", "boto3", "transformers", "deepspeed", "mergekit"}


@cache
def imported(path: Path) -> frozenset[str]:
    """The dotted names that a file imports anywhere, but for those under `if TYPE_CHECKING:`."""

    def walk(node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    return frozenset(walk(ast.parse(path.read_text(encoding="utf-8"))))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_the_walk_sees_every_import(tmp_path: Path) -> None:
    source = tmp_path / "m.py"
    source.write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch\n"
        "def f():\n    import ray.data as d\n    from memo_ray import rows\n    if d:\n        import boto3\n"
    )
    assert {"ray.data", "memo_ray.rows", "boto3"} <= imported(source)
    assert "torch" not in imported(source)


@pytest.mark.parametrize("library", WHO_MAY_IMPORT)
def test_only_its_own_rooms_import_a_heavy_library(library: str) -> None:
    users = [path for path in SOURCES if library in {name.split(".")[0] for name in imported(path)}]
    strangers = [
        name_of(path)
        for path in users
        if not any(fnmatch.fnmatch(f"/{name_of(path)}", f"*/{pattern}") for pattern in WHO_MAY_IMPORT[library])
    ]
    assert strangers == [], f"only {', '.join(WHO_MAY_IMPORT[library])} may import {library}"


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_imports_only_what_lies_below_it(room: str) -> None:
    files = [*ROOT.glob(f"memo_ray/{room}/**/*.py"), *ROOT.glob(f"memo_ray/{room}.py")]
    assert files, f"memo_ray/{room} is gone: take it out of ROOMS"
    ours = {
        (name_of(path), name.split(".")[1]) for path in files for name in imported(path) if name.startswith("memo_ray.")
    }
    assert sorted((path, other) for path, other in ours if other != room and other not in ROOMS[room]) == []


def test_configs_and_the_command_line_import_nothing_heavy() -> None:
    configs = [f"memo_ray.config.{path.stem}" for path in ROOT.glob("memo_ray/config/[!_]*.py")]
    code = (
        f"import json, sys\nfor name in {[*LIGHT, *configs]!r}: __import__(name)\nprint(json.dumps(list(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert HEAVY & set(json.loads(done.stdout)) == set()


def test_help_answers_in_half_a_second_of_processor_time() -> None:
    """Processor time, so that a busy machine cannot fail it; on an idle one it is the wall time."""

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "memo_ray.cli", "--help"], capture_output=True, check=True, cwd=ROOT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(seconds() for _ in range(3)) < 0.5


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in lengths.items() if lines > 300} == {}


def test_no_module_is_a_drawer_for_anything() -> None:
    drawers = re.compile(r"^_?(utils?|helpers?|common|misc)$")
    found = [path for path in ROOT.glob("memo_ray/**/*") if drawers.match(path.stem) and path.suffix in {"", ".py"}]
    assert [name_of(path) for path in found] == []


def test_init_files_hold_no_code() -> None:
    bodies = {name_of(path): ast.parse(path.read_text()).body for path in ROOT.glob("memo_ray/**/__init__.py")}
    assert [name for name, body in bodies.items() if not all(isinstance(node, ast.Expr) for node in body)] == []


def tree_of_readme() -> list[str]:
    """The paths in the block after README's heading `## The tree`: a name first on its line, folders ending in `/`."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^## The tree$.*?^```[a-z]*\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert block, "README.md has no block after a line `## The tree`"
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in block.group(1).splitlines():
        depth = len(line) - len(line.lstrip(" │├└─"))
        names = re.match(r"(?:[\w.*-]+/?, )*[\w.*-]+/?(?=\s|$)", line[depth:])
        if not names or depth > 12:  # a comment that goes on from the line above
            continue
        folders = [(at, name) for at, name in folders if at < depth]
        inside = "".join(name for _, name in folders)
        for name in names.group().split(", "):
            paths.append(inside + name)
            if name.endswith("/"):
                folders.append((depth, name))
    assert len(paths) > 20, "README's tree is not in the form that this test reads"
    return paths


def test_every_path_of_readmes_tree_exists() -> None:
    assert [path for path in tree_of_readme() if not list(ROOT.glob(path))] == []


def test_readmes_tree_names_every_module_and_room() -> None:
    real = [path for path in (ROOT / "memo_ray").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()]
    wanted = {name_of(path) + "/" * path.is_dir() for path in real} - {"memo_ray/__init__.py"}
    assert sorted(wanted - set(tree_of_readme())) == []
