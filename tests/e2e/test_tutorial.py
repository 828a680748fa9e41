"""The tutorial's notebook, executed cell by cell in a fresh kernel on the embedded model, and kept without outputs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
JUPYTER = ROOT / ".venv-release" / "bin" / "python"
"""A kernel's packages are no part of the environment that memo-ray runs in; the notebook calls `memo` by its name."""
EXECUTE = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], as_version=4)
nbformat.validate(notebook)
try:
    nbclient.NotebookClient(notebook, timeout=1500, resources={"metadata": {"path": sys.argv[2]}}).execute()
finally:
    nbformat.write(notebook, sys.argv[2] + "/executed.ipynb")
"""


def code_cells(notebook: Path) -> list[dict[str, Any]]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_is_kept_without_outputs() -> None:
    cells = code_cells(NOTEBOOK)
    assert len(cells) > 5
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"] is not None] == []


@pytest.mark.slow
@pytest.mark.e2e
@pytest.mark.timeout(2400)
def test_the_notebook_goes_from_documents_to_an_answer(tmp_path: Path, embedded_model: Path) -> None:
    if not JUPYTER.exists():
        pytest.skip("needs .venv-release, which `make test-all` makes")
    memo = tmp_path / "bin" / "memo"
    memo.parent.mkdir()
    memo.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m memo_ray.cli "$@"\n')
    memo.chmod(0o755)
    settings = os.environ | {"PATH": f"{memo.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "120"}
    command = [str(JUPYTER), "-c", EXECUTE, str(NOTEBOOK), str(tmp_path)]
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    said = "".join(
        "".join(output.get("text", ""))
        for cell in code_cells(tmp_path / "executed.ipynb")
        for output in cell["outputs"]
    )
    print(said)
    assert "memory:    " in said
    assert "GPU-hours" in said
