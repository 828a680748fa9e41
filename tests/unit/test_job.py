"""What a job says on a node that cannot do its work: one line, before anything is made."""

from __future__ import annotations

import subprocess
import sys

import pytest

from memo_ray.job import made_for, main

LACKING = """
import sys
sys.modules["yaml"] = None  # as on a node whose image has it not
from memo_ray.job import main
sys.exit(main("corpus", ["runs/nowhere"]))
"""


def test_a_package_that_the_node_lacks_is_named_with_the_remedy() -> None:
    done = subprocess.run([sys.executable, "-c", LACKING], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    line = f"corpus: the Python of this node ({sys.executable}) lacks yaml; make its image from the lock "
    assert done.stderr.startswith(line) and done.stderr.endswith("--install cpu or gpu\n")


@pytest.mark.parametrize("versions", ["2.40.0/3.11", "2.60.0/3.12"])
def test_other_versions_on_the_cluster_are_one_line(versions: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main("corpus", ["runs/nowhere", "--made-for", versions]) == 2
    said = capsys.readouterr().err
    there, here = (" on Python ".join(f"Ray {one}".split("/")) for one in (made_for(), versions))
    assert said == f"corpus: the cluster has {there}, `memo submit` ran with {here}; install the same lock on both\n"


def test_the_same_versions_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main("corpus", ["runs/nowhere", "--made-for", made_for()]) == 2
    assert "runs/nowhere: no run there" in capsys.readouterr().err
