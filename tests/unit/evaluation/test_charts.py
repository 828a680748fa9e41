"""Charts are the same every time, name their own ids, and take the page's colours."""

from __future__ import annotations

import re

from memo_ray.evaluation.report.charts import line_chart

SERIES = {"trained <b>$x$</b>": [(1.0, 0.1), (2.0, 0.9)], "held out": [(1.0, 0.0), (2.0, 0.5)]}


def chart(name: str = "recall") -> str:
    return line_chart(name, 'Recall "by" epoch', SERIES, "epoch", "recall", shares=True, chosen=2)


def test_same_numbers_same_picture() -> None:
    assert chart() == chart()


def test_picture_is_an_element_of_a_page() -> None:
    svg = chart()
    assert svg.startswith("<svg viewBox=")
    assert 'role="img" aria-label="Recall &quot;by&quot; epoch"' in svg
    assert svg.endswith("</svg>")
    assert "http" not in svg
    assert "<?xml" not in svg
    assert "var(--series-1)" in svg
    assert "#0102" not in svg
    assert "trained &lt;b&gt;$x$&lt;/b&gt;" in svg


def test_ids_of_two_charts_differ_and_references_resolve() -> None:
    ids = {name: set(re.findall(r'\bid="([^"]+)"', chart(name))) for name in ("one", "two")}
    assert not ids["one"] & ids["two"]
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', chart("one"))) <= ids["one"]
