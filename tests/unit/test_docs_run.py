"""Every shown block of Bash and Python is run, or says why it is not; each in a temporary folder, by itself."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.shown import BLOCKS, MARK, PARSED, ROOT, Block, run

RUN = [block for block in BLOCKS if block.language in {"bash", "python"} and not (block.reason or block.test)]
COMMAND = re.compile(r"^\s*(?:[$>] |\.venv/bin/|(?:memo|make|python|pip|curl|ray|kubectl|aws|openssl) [a-z-])")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What a reader has: a checkout's environment, and documents."""
    (tmp_path / ".venv").symlink_to(Path(sys.executable).parents[1])
    (tmp_path / "path/to/documents").mkdir(parents=True)
    (tmp_path / "path/to/documents/tower.md").write_text("# A tower\n\nThe tower of Corvane was built in 1810.\n")
    return tmp_path


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.where)
def test_a_shown_block_runs(block: Block, folder: Path) -> None:
    done = run(block, folder)
    assert done.returncode == 0, f"{block.where}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


def test_what_fails_or_is_not_marked_would_be_noticed(folder: Path) -> None:
    assert run(Block("bash", "memo rum\ntrue", ""), folder).returncode == 2
    assert run(Block("python", "import memo_ray.nothing", ""), folder).returncode == 1
    assert len(RUN) >= 5


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.where)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in {"bash", "python", "yaml", "text"}, "a picture or a printed text is `text`"
    if block.language in {"text", "yaml"}:
        assert not (block.reason or block.test), "YAML is validated, and `text` is not code"
    if block.language == "text":
        assert not [line for line in block.text.splitlines() if COMMAND.match(line)], "commands are `bash`"
    if block.reason:
        assert len(block.reason.split()) >= 4, "a reason, not a word"
    if block.test:
        assert block.where.partition(":")[0] in (ROOT / block.test).read_text(), "that test does not name the page"


def test_a_reason_names_only_tests_that_there_are() -> None:
    named = {name for block in BLOCKS for name in re.findall(r"tests/[\w/.]*\w", block.reason)}
    assert named and [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", PARSED)
def test_every_mark_stands_before_a_block(page: str) -> None:
    comments = [
        token for token in PARSED[page] if token.type.startswith("html") and re.match(r"<!--.*run", token.content)
    ]
    marked = [block for block in BLOCKS if block.where.startswith(f"{page}:") and (block.reason or block.test)]
    assert len(comments) == len(marked)


def test_readers_see_no_mark() -> None:
    shown = MarkdownIt().render("<!-- not run: needs a cluster of GPUs -->\n```bash\nmemo submit\n```\n")
    assert MARK.search(shown) and "&lt;!--" not in shown
