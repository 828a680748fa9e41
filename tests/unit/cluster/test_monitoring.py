"""Alerts, dashboard and runbooks: each metric and label is one that we or Ray define, each alert has its section."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.constants import AUTOSCALER_METRIC_PORT
from ray.autoscaler.tags import NODE_KIND_HEAD, TAG_RAY_CLUSTER_NAME, TAG_RAY_NODE_KIND

from memo_ray.ray_stages import COUNTED, LABELS
from memo_ray.synthesis.ray_metrics import MEASURED
from tests.unit.cluster.conftest import config, tool

ROOT = Path(__file__).resolve().parents[3]
RULES = ROOT / "cluster" / "monitoring" / "alerts.yaml"
DASHBOARD = ROOT / "cluster" / "monitoring" / "dashboard.json"
RULES_TEST = RULES.with_name("alerts_test.yaml")
WATCHING = RULES.with_name("prometheus-ec2.yaml")
RAY = Path(ray.__file__).parent
OURS = {f"ray_memo_synthesis_{name}_total": {"step"} for name in MEASURED}
OURS |= {f"ray_memo_stage_{name}_total": {*LABELS, *more} for name, (_, more) in COUNTED.items()}
OURS |= {"ray_memo_stage_state": {*LABELS}}
"""Our metrics and the labels that we give them."""

EVERYWHERE = {"SessionName", "instance", "le"}
"""Labels that Ray, Prometheus and histograms give to every metric."""


def alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len({rule["alert"] for rule in rules}) == len(rules)
    return {rule["alert"]: rule for rule in rules}


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row"]


def expressions() -> dict[str, str]:
    """Where it stands → a PromQL expression."""
    shown = {f"{p['title']} {t['refId']}": t["expr"] for p in panels() for t in p["targets"]}
    return {name: rule["expr"] for name, rule in alerts().items()} | shown


def metrics(expression: str) -> set[str]:
    """The metrics of an expression; labels that `by (...)` and matchers name are none."""
    without_labels = re.sub(r"\{[^}]*\}|\b(?:by|without|on|ignoring)\s*\([^)]*\)", "", expression)
    return set(re.findall(r"\b[a-z]+_[a-z0-9_]+(?!\w*\s*\()", without_labels)) - {"humanizePercentage"}


@cache
def defined() -> frozenset[str]:
    """Every metric under the name by which Prometheus gets it: ours, those of Ray's libraries, and of its nodes."""
    panels = "".join(p.read_text() for p in (RAY / "dashboard/modules/metrics/dashboards").glob("*_panels.py"))
    autoscaler = (RAY / "autoscaler/_private/prom_metrics.py").read_text()
    kinds = re.findall(r'(Gauge|Counter)\(\s*"(\w+)"', autoscaler)
    own = {f"autoscaler_{name}" + ("_total" if kind == "Counter" else "") for kind, name in kinds}
    found = set(OURS) | own | set(re.findall(r"\bray_[a-z0-9_]+", panels))
    for path in (RAY / "serve" / "_private").glob("*.py"):
        for kind, name in re.findall(r'metrics\.(Counter|Gauge|Histogram)\(\s*"(\w+)"', path.read_text()):
            # OpenMetrics: a counter's name ends with _total, once.
            found.add(f"ray_{name}" + ("_total" if kind == "Counter" and not name.endswith("_total") else ""))
    return frozenset(found)


@pytest.mark.parametrize("where", expressions())
def test_every_metric_is_defined(where: str) -> None:
    named = metrics(expressions()[where])
    assert named and named <= defined(), named - defined()


def test_a_metric_that_nobody_defines_would_be_noticed() -> None:
    found = metrics('sum by (step) (rate(ray_memo_synthesis_prompt_total{step="x"}[5m])) / ray_node_disk_free')
    assert found - defined() == {"ray_memo_synthesis_prompt_total"}
    assert "ray_node_disk_free" in found


def labels(where: str) -> set[str]:
    """The labels that an expression matches or groups by, and those that its alert's or its panel's text names."""
    expression = expressions()[where]
    found = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", expression))
    for listed in re.findall(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)", expression):
        found |= set(re.findall(r"\w+", listed))
    if rule := alerts().get(where):
        return found | set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
    legends = [
        t.get("legendFormat", "") for p in panels() for t in p["targets"] if f"{p['title']} {t['refId']}" == where
    ]
    return found | set(re.findall(r"\{\{(\w+)\}\}", legends[0]))


@cache
def words_of_ray() -> frozenset[str]:
    """Every short string of the modules of Ray that define metrics with labels."""
    files = [*(RAY / "serve" / "_private").glob("*.py"), *(RAY / "data" / "_internal").glob("*.py")]
    files += [*(RAY / "train/v2/_internal/metrics").glob("*.py"), RAY / "autoscaler/_private/prom_metrics.py"]
    files += [RAY / "dashboard/modules/reporter/reporter_agent.py"]
    return frozenset(word for path in files for word in re.findall(r"\"(\w+)\"", path.read_text()))


@pytest.mark.parametrize("where", expressions())
def test_every_label_is_one_of_its_metrics(where: str) -> None:
    named = metrics(expressions()[where])
    own = set().union(*(OURS.get(metric, words_of_ray()) for metric in named))
    assert labels(where) <= own | EVERYWHERE


def test_a_label_that_a_metric_does_not_have_would_be_noticed() -> None:
    assert labels("MemoStageFailed") == {"run", "stage", "corpus", "reason"}
    assert not labels("MemoStageFailed") <= OURS["ray_memo_stage_seconds_total"]
    assert "aplication" not in words_of_ray() and "application" in words_of_ray()


@pytest.mark.parametrize("where", expressions())
def test_every_expression_is_promql(where: str) -> None:
    parser = pytest.importorskip("promql_parser", reason="promql-parser is not installed")
    assert parser.parse(expressions()[where]).prettify()


def test_prometheus_own_tool_takes_the_rules() -> None:
    done = subprocess.run([tool("promtool"), "check", "rules", str(RULES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0 and f"{len(alerts())} rules found" in done.stdout, done.stderr
    done = subprocess.run(["promtool", "test", "rules", str(RULES_TEST)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_own_tool_takes_the_settings() -> None:
    done = subprocess.run(
        [tool("promtool"), "check", "config", str(WATCHING)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nodes_on_ec2_are_found_by_ray_s_tags_at_the_ports_they_export_at() -> None:
    nodes, autoscaler = yaml.safe_load(WATCHING.read_text())["scrape_configs"]
    start = config()["head_start_ray_commands"][-1] + config()["worker_start_ray_commands"][-1]
    for job, port in (
        (nodes, int(*set(re.findall(r"--metrics-export-port=(\d+)", start)))),
        (autoscaler, AUTOSCALER_METRIC_PORT),
    ):
        (found,) = job["ec2_sd_configs"]
        assert (found["port"], found["region"]) == (port, config()["provider"]["region"])
        assert {"name": f"tag:{TAG_RAY_CLUSTER_NAME}", "values": [config()["cluster_name"]]} in found["filters"]
    (kept,) = autoscaler["relabel_configs"]
    assert kept["source_labels"] == [f"__meta_ec2_tag_{TAG_RAY_NODE_KIND.replace('-', '_')}"]
    assert kept["regex"] == NODE_KIND_HEAD


def test_every_alert_on_our_own_metrics_is_tried_on_series() -> None:
    tests = yaml.safe_load(RULES_TEST.read_text())["tests"]
    fired = {one["alertname"] for test in tests for one in test["alert_rule_test"] if one["exp_alerts"]}
    ours = {name for name, rule in alerts().items() if "ray_memo_stage" in rule["expr"]} | {"MemoNodesDoNotCome"}
    assert ours <= fired


def test_every_alert_has_its_section_and_every_section_its_alert() -> None:
    text = (ROOT / "docs" / "runbooks.md").read_text()
    sections = re.findall(r"^## (\w+)$", text, re.MULTILINE)
    assert sections == list(alerts())
    for name, rule in alerts().items():
        assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}, name
        assert rule["annotations"]["runbook"] == f"docs/runbooks.md#{name.lower()}"
        assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    links = re.findall(r"\]\(#(\w+)\)", text)
    assert links and set(links) <= {name.lower() for name in alerts()}


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    every = dashboard["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    places = [panel["gridPos"] for panel in every]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}


def test_every_metric_of_ours_is_shown() -> None:
    shown = set().union(*(metrics(target["expr"]) for panel in panels() for target in panel["targets"]))
    assert set(OURS) <= shown
