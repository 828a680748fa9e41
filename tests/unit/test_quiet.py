"""Which lines do not reach the terminal, and that nothing but its result reaches the reader of a command's JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import memo_ray
from memo_ray.quiet import RESTARTABLE, SERVE_ENDS, json_alone, print_json, without_lines

NOISE = "[date E 1 1] core_worker.cc:1: Actor x " + RESTARTABLE.decode() + ". If they are lost, see there."


def test_only_the_line_that_is_meant_is_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before\n")
    with without_lines(RESTARTABLE):
        os.write(2, f"first\n{NOISE}\nsecond\n".encode())
        os.write(2, b"no line's end yet")
    os.write(2, b" after\n")
    assert capfd.readouterr().err == "before\nfirst\nsecond\nno line's end yet after\n"


def test_an_error_in_the_block_gives_the_terminal_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyError), without_lines(RESTARTABLE):
        raise KeyError("x")
    os.write(2, f"{NOISE}\n".encode())
    assert NOISE in capfd.readouterr().err


def test_serve_s_last_words_are_known() -> None:
    said = "Task ServeController.listen_for_change failed. There are infinite retries remaining, so"
    assert re.search(SERVE_ENDS, said)
    assert not re.search(SERVE_ENDS, "Task train_worker failed.")


def test_json_stands_alone_on_standard_output_whoever_else_prints(capfd: pytest.CaptureFixture[str]) -> None:
    with json_alone():
        print("a banner")
        os.write(1, b"native code\n")
        subprocess.run([sys.executable, "-c", "print('a child')"], check=True)
        print_json({"found": ["é"]})
        print("another banner")
    printed = capfd.readouterr()
    assert json.loads(printed.out) == {"found": ["é"]}
    for line in ("a banner", "native code", "a child", "another banner"):
        assert f"{line}\n" in printed.err
    print("and then as before")
    assert capfd.readouterr().out == "and then as before\n"


def test_an_error_beside_json_leaves_standard_output_empty_and_as_it_was(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        print("a banner")
        raise KeyError("x")

    with pytest.raises(KeyError), json_alone():
        fail()
    os.write(1, b"and then as before\n")
    assert capfd.readouterr() == ("and then as before\n", "a banner\n")


def test_every_command_prints_its_json_where_nothing_else_is() -> None:
    sources = Path(memo_ray.__file__).parent.rglob("*.py")
    # `memo bench` prints a line for each benchmark and has no --json.
    assert [path.name for path in sources if "print(json.dumps" in path.read_text()] == ["benching.py"]


def test_a_command_draws_no_bars_unless_they_are_asked_for() -> None:
    code = (
        "from memo_ray.quiet import quiet_libraries; quiet_libraries()\n"
        "from transformers.utils.logging import is_progress_bar_enabled; print(is_progress_bar_enabled())"
    )
    for wanted, shown in ((None, "False"), ("0", "True")):
        environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_DISABLE_PROGRESS_BARS"}
        environment |= {"HF_HUB_DISABLE_PROGRESS_BARS": wanted} if wanted else {}
        found = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert found.stdout.strip() == shown
