"""The metrics of stages as Prometheus gets them from a cluster, also after the driver that counted has ended."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.local_cluster import local_cluster

ROOT = Path(__file__).resolve().parents[2]


def memo(folder: Path, address: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RAY_ADDRESS": address}
    command = [sys.executable, "-m", "memo_ray.cli", "run", "run.yaml", "--until", "corpus"]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def exported(port: int) -> dict[tuple[str, str], float]:
    """Metric and reason (of the other metrics: table) → the sum of its series of the run."""
    found: dict[tuple[str, str], float] = {}
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        for line in page.read().decode().splitlines():
            if match := re.match(r"(ray_memo_stage_\w+)\{(.*)\} (\S+)$", line):
                name, labels, value = match[1], dict(re.findall(r'(\w+)="([^"]*)"', match[2])), float(match[3])
                assert (labels["run"], labels["stage"], labels["corpus"]) == ("mine", "corpus", "corpus")
                assert labels["SessionName"]
                key = name, labels.get("reason", labels.get("table", ""))
                found[key] = found.get(key, 0.0) + value
    return found


def test_failures_and_rows_outlive_their_drivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "1000")
    (tmp_path / "docs").mkdir()
    document = tmp_path / "docs" / "one.txt"
    (tmp_path / "run.yaml").write_text("name: mine\ncorpora: [{paths: [docs]}]\n")
    with local_cluster() as address:
        import ray

        port = ray.nodes()[0]["MetricsExportPort"]
        document.write_bytes(b"caf\xe9 au lait")
        assert memo(tmp_path, address).returncode == 2
        document.write_text("The tower was built in 1810.")
        done = memo(tmp_path, address)
        assert done.returncode == 0, done.stderr
        end = time.monotonic() + 20
        while ("ray_memo_stage_rows_total", "documents") not in exported(port) and time.monotonic() < end:
            time.sleep(0.5)
        found = exported(port)
    assert found["ray_memo_stage_failures_total", "CorpusError"] == 1
    assert found["ray_memo_stage_failures_total", ""] == 0
    assert found["ray_memo_stage_rows_total", "documents"] == 1
    assert ("ray_memo_stage_seconds_total", "") in found
