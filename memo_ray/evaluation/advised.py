"""The adviser's facts as tables, beside what the sweep then showed; and merging's ways side by side.

In go a run's finished artefacts; out come plain rows for the summary, the report and `memo advise`.
"""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from memo_ray.artifacts.store import Artifact
from memo_ray.merging.advice import Prediction, beside
from memo_ray.merging.ways import table as ways_table
from memo_ray.rows import Answer, SweepRow, WayRow

TITLES = {
    "predictions": "recall of held-out questions, by corpus",
    "geometry": "task vectors by layer",
    "costs": "as corpora arrive one at a time: seconds, and GB of weights to serve by routing",
    "beside": "predicted and actual recall of held-out questions",
}
"""The tables of `memo advise` in their order."""


def advised(artefacts: Sequence[Artifact]) -> dict[str, Any]:
    """The adviser's recommendation and tables (rows of `TITLES`), or nothing when it was not asked."""
    made = next((one for one in artefacts if one.record.stage == "advice"), None)
    if made is None:
        return {}
    advice, geometry = made.record.facts["advice"], made.record.facts["geometry"]
    predictions = [Prediction(**row) for row in advice["predictions"]]
    merging = next((one for one in artefacts if one.record.stage == "merging"), None)
    return {
        **{key: advice[key] for key in ("recommended", "reason", "how", "recipe", "loss")},
        "predictions": [_prediction_row(row) for row in predictions],
        "geometry": [_layer_row(layer) for layer in [*geometry["layers"], geometry["overall"]]],
        "costs": [_cost_row(row) for row in advice["costs"]],
        "beside": beside(predictions, advice["recipe"], actual_recall(merging)) if merging else [],
    }


def actual_recall(merging: Artifact) -> dict[str, dict[str, float]]:
    """Recall by system and corpus, as the sweep and what it was compared with showed; `best` is the best merge."""
    rows = merging.rows("sweep", SweepRow)
    found = {row.recipe_id: json.loads(row.recall_by_corpus) for row in rows}
    found["best"] = found[merging.record.facts["best"]]
    if "ways" in merging.record.rows:
        found |= {row.way: json.loads(row.recall_by_corpus) for row in merging.rows("ways", WayRow)}
    return found


def ways_of(artefacts: Sequence[Artifact], merging: Artifact) -> list[dict[str, Any]]:
    """Merges, union, routing and memories in one table, best first; empty when merging was compared with nothing."""
    if "ways" not in merging.record.rows:
        return []
    trained = [one for one in artefacts if one.record.stage == "training" and one.record.name != "training"]
    training = {one.record.name.partition("-")[2]: one.record.cost.get("seconds", 0.0) for one in trained}
    seconds: dict[str, list[float]] = {}
    for row in merging.rows("answers", Answer):
        seconds.setdefault(row.system, []).append(row.seconds)
    return ways_table(
        merging.rows("sweep", SweepRow),
        merging.rows("ways", WayRow),
        training,
        {recipe: sum(each) / len(each) for recipe, each in seconds.items()},
        max((model_bytes(one) for one in trained), default=0),
    )


def model_bytes(training: Artifact) -> int:
    """Bytes of one epoch's weights, without its adapter."""
    epochs = Counter[str]()
    for entry in training.record.files:
        folder, _, name = entry.path.partition("/")
        if "/" not in name and name.endswith(".safetensors"):
            epochs[folder] += entry.bytes
    return max(epochs.values(), default=0)


def as_text(found: Mapping[str, Any]) -> str:
    """`advised` for a terminal."""
    console = Console(file=io.StringIO(), width=120, highlight=False, color_system=None)
    for key, title in TITLES.items():
        if found[key]:
            console.print(_table(title, found[key]))
    console.print(Text(found["how"]), soft_wrap=True)
    console.print(Text(f"advice: {found['recommended']}. {_capital(found['reason'])}"), soft_wrap=True)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def _table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for place, column in enumerate(rows[0]):
        table.add_column(Text(column), justify="right" if place else "left")
    for row in rows:
        table.add_row(*(Text(_figure(value)) for value in row.values()))
    return table


def _figure(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _prediction_row(row: Prediction) -> dict[str, Any]:
    return {
        "corpus": row.corpus,
        "asked": row.asked,
        "own memory": round(row.own, 4),
        **{f"{recipe}, probed": round(recall, 4) for recipe, recall in row.probed.items()},
        "own share (g)": round(row.own_share, 4),
        "merged, predicted": round(row.merged, 4),
        "routed rightly": round(row.routing_accuracy, 4),
        "routed, predicted": round(row.routed, 4),
    }


def _layer_row(layer: Mapping[str, Any]) -> dict[str, Any]:
    base = layer["base_norm"]
    return {
        "layer": layer["name"],
        **{f"|{name}|": round(norm, 4) for name, norm in layer["norms"].items()},
        **{
            f"|{name}|, % of base": round(100 * norm / base, 3) if base else 0.0
            for name, norm in layer["norms"].items()
        },
        **{f"cosine {pair}": round(cosine, 4) for pair, cosine in layer["cosine"].items()},
        **{f"conflict {pair}": round(share, 4) for pair, share in layer["conflict"].items()},
    }


def _cost_row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "K": row["corpora"],
        "synthesis": round(row["synthesis"], 1),
        "merge: training": round(row["merge_training"], 1),
        "merge: merging": round(row["merging"], 1),
        "union: training": round(row["union_training"], 1),
        "route: training": round(row["route_training"], 1),
        "route: GB": round(row["route_bytes"] / 1e9, 2),
    }
