"""Which lines do not reach the terminal."""

from __future__ import annotations

import os
import re

import pytest

from memo_ray.quiet import RESTARTABLE, SERVE_ENDS, without_lines

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
