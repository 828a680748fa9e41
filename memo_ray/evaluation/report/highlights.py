"""What stands at the top of the report: the headline sentence, the key figures, the charts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from memo_ray.evaluation.report.charts import Points, line_chart
from memo_ray.evaluation.summary import cut
from memo_ray.merging.ways import ROUTED, UNION

KIND_PHRASES = {
    "trained": "of the questions it was trained on",
    "held_out": "of trained questions put in other words",
    "one_hop": "of the one-hop questions",
    "two_hop": "of the two-hop questions",
    "three_hop": "of the three-hop questions",
    "four_hop": "of questions of four and more hops",
    "questions": "of the questions",
}

BESIDE_MERGES = {
    UNION: "union, retrained",
    ROUTED["likeliest"]: "routed, to the likeliest",
    ROUTED["all"]: "routed, to all",
}
"""Ways to know all corpora that are drawn beside the merges."""

LOSS_POINTS = 120
"""At most so many points of a loss curve."""


@dataclass(frozen=True)
class Card:
    """One key figure at the top of the page."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Chart:
    """A chart and its numbers; `rows`: x and each series' value there."""

    caption: str
    svg: Markup
    x_label: str
    series: list[str]
    rows: list[tuple[float, list[float | None]]]


def headline(summary: Mapping[str, Any]) -> str:
    """What the run came to, in one or two sentences, whatever the figures are."""
    name = focus(summary)
    recall, base = summary["recall"].get(name, {}), summary["recall"].get("base", {})
    shown = [kind for kind in KIND_PHRASES if kind in recall]
    if not shown:
        return "No system was asked anything yet."
    parts = [
        f"{_percent(recall[kind])} {KIND_PHRASES[kind]}"
        + (f" ({'' if place else 'the base model: '}{_percent(base[kind])})" if kind in base else "")
        for place, kind in enumerate(shown)
    ]
    who = "the memory" if name == "memory" else name
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    text = f"Asked alone, {who} recalls {listed}."
    protocol = summary["protocol"]
    if protocol["n"]:
        right = round(protocol["recall"] * protocol["n"])
        text += f" Through the protocol, {right} of {protocol['n']} questions came out right."
    return text


def focus(summary: Mapping[str, Any]) -> str:
    """The system that the report is about: the memory, or the last one that was asked."""
    return "memory" if "memory" in summary["recall"] else next(reversed(summary["recall"]), "")


def cards(summary: Mapping[str, Any]) -> list[Card]:
    """The key figures that the run has."""
    name = focus(summary)
    recall, base = summary["recall"].get(name, {}), summary["recall"].get("base", {})
    found = [
        Card(kind.replace("_", " "), f"{recall[kind]:.2f}", f"base {base[kind]:.2f}" if kind in base else "")
        for kind in ("trained", "held_out", "one_hop", "two_hop")
        if kind in recall
    ]
    protocol, training, reflections = summary["protocol"], summary["training"], summary["reflections"]
    if protocol["n"]:
        found.append(Card("protocol", f"{protocol['recall']:.2f}", f"{protocol['n']} questions"))
    if reflections:
        held_out = f"{reflections.get('rephrase', 0):,} of them held out"
        found.append(Card("reflections", f"{sum(reflections.values()):,}", held_out))
    if "final_loss" in training:
        study = training.get("study", {})
        epochs = len(training.get("loss_by_epoch", ())) - len(study.get("epochs", ()))
        found.append(Card("final loss", f"{training['final_loss']:.3f}", f"after {epochs} epochs" if epochs else ""))
        if lost := cut(training):
            found.append(Card("too long", f"{training['truncated'] + training['left_out']:,}", lost.removeprefix("; ")))
        if study.get("epochs"):
            found.append(Card("wrong after study", f"{study['wrong_after']:,}", f"before it {study['wrong_before']:,}"))
    return found


def charts(summary: Mapping[str, Any]) -> list[Chart]:
    """Recall by epoch and loss, one pair for each memory that has them, and what merging cost."""
    found = []
    chosen = summary["training"].get("chosen_epoch")
    for place, (memory, kinds) in enumerate(summary["epochs"].items()):
        series = {kind.replace("_", " "): [(float(x), y) for x, y in points.items()] for kind, points in kinds.items()}
        if max(map(len, series.values())) > 1:
            mark = chosen if len(summary["epochs"]) == 1 else None
            caption = f"Recall by epoch of training: {memory}{study_note(summary)}"
            found.append(chart_of(f"epochs-{place}", caption, series, "epoch", "recall", shares=True, chosen=mark))
    losses = {name or "memory": loss_points(facts) for name, facts in summary["training"].get("memories", {}).items()}
    losses = {name: points for name, points in losses.items() if len(points) > 1}
    if losses:
        found.append(chart_of("loss", "Training loss over answer tokens, by optimiser step", losses, "step", "loss"))
    return found + cost_of_merging(summary)


def study_note(summary: Mapping[str, Any]) -> str:
    """Which epochs of the only memory were study, behind a caption; empty without any."""
    studied = summary["training"].get("study", {}).get("epochs", [])
    return f"; epoch {', '.join(map(str, studied))}: study of what was wrong" if studied else ""


def cost_of_merging(summary: Mapping[str, Any]) -> list[Chart]:
    """Every merge's recall against what it cost, beside retraining and routing (paper, Figure 2).

    The corpora are taken to arrive one after the other: merging trains each once, retraining starts again on the union
    with each. Without `merging.compare` retraining's cost alone is known, and marked.
    """
    memories = summary["training"].get("memories", {})
    trained = [facts.get("training_seconds") for name, facts in memories.items() if name != UNION]
    table, ways = summary["merging"].get("table", []), summary["merging"].get("ways", [])
    if not table or None in trained:
        return []
    # Those of `ways` count whole trainings, their start included.
    seconds = {row["way"]: row["seconds"] for row in ways}
    series: dict[str, list[tuple[float, float]]] = {}
    for row in table:
        cost = seconds.get(row["recipe_id"], sum(trained) + row["merge_seconds"])
        series.setdefault(row["method"].replace("_", " "), []).append((round(cost, 1), row["recall"]))
    for row in ways:
        if row["way"] in BESIDE_MERGES:
            series[BESIDE_MERGES[row["way"]]] = [(round(row["seconds"], 1), row["recall"])]
    caption = f"Recall of held-out questions against the cost of {len(trained)} corpora that arrive one after the other"
    retraining = None if UNION in seconds else sum(accumulate(trained))
    if retraining is not None:
        caption += f"; retraining on their union would have taken {retraining:,.0f} s"
    return [
        chart_of(
            "merges", caption, series, "seconds of training and merging", "recall",
            shares=True, chosen=retraining, mark="retraining", lines=False,
        )
    ]  # fmt: skip


def loss_points(facts: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(step, loss) from a training's facts; of many steps, means of consecutive ones."""
    losses = facts.get("loss_by_step", [])
    width = max(1, math.ceil(len(losses) / LOSS_POINTS))
    spans = [losses[start : start + width] for start in range(0, len(losses), width)]
    return [(float(place * width + len(span)), sum(span) / len(span)) for place, span in enumerate(spans)]


def chart_of(
    name: str, caption: str, series: Mapping[str, Points], x_label: str, y_label: str, shares: bool = False,
    chosen: float | None = None, mark: str = "chosen", lines: bool = True,
) -> Chart:  # fmt: skip
    """A line chart with the same figures as a table beneath it."""
    svg = line_chart(name, caption, series, x_label, y_label, shares=shares, chosen=chosen, mark=mark, lines=lines)
    values = {label: dict(points) for label, points in series.items()}
    xs = sorted({x for points in values.values() for x in points})
    rows = [(x, [points.get(x) for points in values.values()]) for x in xs]
    # Drawn by matplotlib, which escapes the labels it is given.
    return Chart(caption, Markup(svg), x_label, list(series), rows)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}%"
