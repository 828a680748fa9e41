"""What the pages show works: commands and options exist, Python compiles, settings load, every page is reached."""

from __future__ import annotations

import argparse
import ast
import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.scripts.scripts import cli as ray_program
from ray.serve.scripts import cli as serve_program

from memo_ray.cli import parser
from memo_ray.config.loading import read_run
from memo_ray.serving.keys import read_keys
from tests.shown import BLOCKS, PARSED, ROOT, Block

MINIMAL = {"name": "shown", "corpora": [{"paths": ["documents"]}]}
"""What a block of some settings needs beside them to be a whole run."""
SEVERAL = {"name": "shown", "corpora": [{"name": name, "paths": [name]} for name in ("law", "wiki")], "merging": {}}


SHELL = [block for block in BLOCKS if block.language == "bash"]
COMMANDS = [
    (block.where, line.strip().removeprefix(".venv/bin/"))
    for block in SHELL
    for line in block.text.splitlines()
    if re.match(r"\s*(\.venv/bin/)?(memo [a-z]|make |python benchmarks/)", line) and "─" not in line
]
INLINE = [
    (name, part.content)
    for name, tokens in PARSED.items()
    for token in tokens
    for part in token.children or ()
    if part.type == "code_inline" and re.match(r"memo [a-z]|make |python benchmarks/", part.content)
]


def of(language: str) -> list[Block]:
    """All blocks of one language."""
    return [block for block in BLOCKS if block.language == language]


def verbs() -> dict[str, argparse.ArgumentParser]:
    """`memo`'s verbs and the parser of each."""
    (action,) = (one for one in parser()._actions if isinstance(one, argparse._SubParsersAction))
    return dict(action.choices)


def problem(command: str) -> str:
    """What is wrong with a command as a page shows it; empty when it could be typed."""
    words = shlex.split(command, comments=True)
    if words[0] == "make":
        targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        return "" if {word for word in words[1:] if "=" not in word} <= targets else "no such target"
    if words[0] == "python":
        script = ROOT / words[1]
        if not script.is_file():
            return "no such script"
        known = "\n".join(path.read_text() for path in (script, *(ROOT / "benchmarks").glob("_*.py")))
        return ", ".join(
            f"no option {word}" for word in words[2:] if word.startswith("--") and f'"{word}"' not in known
        )
    verb = verbs().get(words[1])
    if verb is None:
        return "no such verb"
    known_options = verb._option_string_actions
    return ", ".join(f"no option {word}" for word in words[2:] if word.startswith("--") and word not in known_options)


@pytest.mark.parametrize(("where", "command"), COMMANDS + INLINE)
def test_a_shown_command_exists_with_its_options(where: str, command: str) -> None:
    assert problem(command) == "", f"{where}: {command}"


@pytest.mark.parametrize(
    ("where", "command"), [(w, c) for w, c in COMMANDS if c.startswith("memo ") and "..." not in c]
)
def test_a_shown_memo_command_parses(where: str, command: str) -> None:
    command = re.split(r" >+ | \| ", command.partition("  #")[0])[0]
    assert parser().parse_args(shlex.split(command, comments=True)[1:]).verb, where


def test_commands_that_do_not_exist_would_be_noticed() -> None:
    wrong = (
        "memo rum run.yaml",
        "memo run run.yaml --onyl corpus",
        "make demos",
        "python benchmarks/merging.py --fats",
    )
    assert all(problem(command) for command in wrong)
    assert len(COMMANDS) > 30
    assert len(INLINE) > 80


def rays_commands() -> list[tuple[str, str]]:
    """Where and what: commands of Ray's own programs, those that another one runs on the head among them."""
    texts = [(block.where, block.text) for block in SHELL]
    texts += [
        (n, p.content) for n, ts in PARSED.items() for t in ts for p in t.children or () if p.type == "code_inline"
    ]
    start = r"(?:^|[;&|'] *|-- )((?:ray|serve) [a-z][a-z-]+\b[^;&|'#\n]*)"
    return [(where, command) for where, text in texts for command in re.findall(start, text, re.MULTILINE)]


def rays_problem(command: str) -> str:
    """What is wrong with it by Ray's own parsers; empty when it could be typed."""
    program, *words = shlex.split(command)
    parser: Any = {"ray": ray_program, "serve": serve_program}[program]
    while hasattr(parser, "commands") and words:  # a group
        parser = parser.commands.get(words.pop(0))
    if parser is None:
        return "no such command"
    known = {option for parameter in parser.params for option in parameter.opts}
    words = words[: words.index("--")] if "--" in words else words
    return ", ".join(f"no option {word}" for word in words if word.startswith("-") and word not in known)


def test_shown_commands_of_ray_exist_with_their_options() -> None:
    found = rays_commands()
    assert len(found) > 20
    assert {where: command for where, command in found if rays_problem(command)} == {}
    assert rays_problem("serve status --adress http://127.0.0.1:8265") and rays_problem("ray stats")


def test_no_page_has_ray_status_asked_where_it_cannot_answer() -> None:
    """It wants the head's own address: the dashboard's in RAY_ADDRESS ends it."""
    text = (ROOT / "docs" / "runbooks.md").read_text().partition("\n## ")[0]
    assert "ray exec cluster/aws.yaml 'ray status'" in text and "-- ray status" in text
    assert "`serve status -a http://" in text and "ray status" not in text.partition("RAY_ADDRESS")[0]


@pytest.mark.parametrize("block", of("python"), ids=lambda block: block.where)
def test_shown_python_compiles(block: Block) -> None:
    assert ast.parse(block.text).body


@pytest.mark.parametrize("block", of("bash"), ids=lambda block: block.where)
def test_shown_shell_is_shell(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("block", of("yaml"), ids=lambda block: block.where)
def test_shown_settings_load(block: Block, tmp_path: Path) -> None:
    shown = yaml.safe_load(block.text)
    if "keys" in shown:
        digest = "ab" * 32
        (tmp_path / "keys.yaml").write_text(block.text.replace("5f0c...", digest))
        assert [key.name for key in read_keys(tmp_path / "keys.yaml")] == ["team-a"]
        return
    whole = (SEVERAL if "merging" in shown or "memories" in shown.get("serving", {}) else MINIMAL) | shown
    config = read_run(yaml.safe_dump(whole).encode(), block.where)
    assert shown.keys() <= config.model_fields_set


def test_the_site_has_every_page_once() -> None:
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    listed = [page for entry in nav for value in entry.values() for page in pages_in(value)]
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").iterdir() if path.suffix in {".md", ".ipynb"})


def pages_in(value: str | list[dict[str, str]]) -> list[str]:
    """The pages below an entry of the navigation."""
    return [value] if isinstance(value, str) else [page for entry in value for page in entry.values()]


def test_the_changelog_begins_with_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    newest = re.search(r"^## (\d+\.\d+\.\d+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest and newest[1] == version
