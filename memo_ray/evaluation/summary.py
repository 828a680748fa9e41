"""A run's figures in one dictionary, from the records of its artefacts and its answers; written as summary.json.

Everything here is a pure function of its inputs. `docs/evaluation.md` lists the keys.
"""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from memo_ray.artifacts.store import Artifact
from memo_ray.evaluation.advised import advised, ways_of
from memo_ray.evaluation.asked import KINDS
from memo_ray.evaluation.compression import compression_ratio
from memo_ray.evaluation.protocol_rows import SYSTEM as PROTOCOL
from memo_ray.evaluation.recall import recall_table
from memo_ray.rows import Answer, SweepRow

SWEEP_JSON = ("parameters", "recall_by_corpus")
CORPUS_FACTS = ("documents", "chunks", "chunk_words", "chunk_tokens", "groups_by_kind", "chunks_in_no_group")
SYNTHESIS_FACTS = ("train", "held_out", "offered", "candidates", "with_a_span", "left_without", "calibration")
METRICS = ("recall", "token_f1", "exact_match")
EPOCH_NAME = re.compile(r"^(?:(?P<memory>.+)/)?epoch-(?P<epoch>\d+)$")
"""How a memory's epochs are called as systems: `epoch-3`, or `CORPUS/epoch-3` where there are several memories."""


def build_summary(
    run: str,
    artefacts: Sequence[Artifact],
    answers: Sequence[Answer],
    systems: Mapping[str, str],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The summary of a run.

    `artefacts`: every finished one, in the order of the stages. `answers`: asked alone and through the protocol.
    `systems`: the summary's names (`base`, `memory`, each merge's id) to the names that `answers` use, such as
    `epoch-3`. `seconds`: `setup` and `run` as measured by the caller; a stage's are those of its artefacts, from
    when they were made.
    """
    table = recall_table(answers)
    alone = {name: table.get(system, {}) for name, system in systems.items()}
    newest = max((artefact.record for artefact in artefacts), key=lambda record: record.finished, default=None)
    return {
        "run": run,
        "finished": newest.finished if newest else "",
        "git_commit": newest.git_commit if newest else "",
        "versions": dict(newest.versions) if newest else {},
        "systems": dict(systems),
        **{metric: {name: _plain(kinds, metric) for name, kinds in alone.items()} for metric in METRICS},
        "counts": _counts(table),
        "epochs": epochs_of(table),
        "protocol": _protocol(table, answers),
        "seconds": dict(seconds) | _by_stage(artefacts, "seconds"),
        "engine_starts": _with_total(_by_stage(artefacts, "engine_starts")),
        "reflections": column_counts(artefacts, "reflections", "step"),
        "rejects": column_counts(artefacts, "rejects", "reason"),
        "steps": _steps(artefacts),
        "compression": _compression(artefacts),
        "overlap": _overlap(artefacts),
        "corpora": _facts(artefacts, "corpus", CORPUS_FACTS),
        "synthesis": _facts(artefacts, "synthesis", SYNTHESIS_FACTS),
        "training": _training(artefacts, systems),
        "merging": _merging(artefacts),
        "advice": advised(artefacts),
        "cost": _cost(artefacts),
    }


def summary_table(summary: Mapping[str, Any]) -> str:
    """The summary's recall as a table for a terminal, with a line each for training, reflections and time."""
    kinds = [kind for kind in KINDS if summary["counts"].get(kind)]
    table = Table(title="recall, each question asked alone", title_justify="left", title_style="bold")
    table.add_column("system")
    for kind in kinds:
        table.add_column(f"{kind.replace('_', ' ')}\n({summary['counts'][kind]:,})", justify="right")
    for name, recall in summary["recall"].items():
        label = name if summary["systems"].get(name, name) == name else f"{name} ({summary['systems'][name]})"
        table.add_row(Text(label), *(f"{recall[kind]:.2f}" if kind in recall else "-" for kind in kinds))
    console = Console(file=io.StringIO(), width=100, highlight=False, color_system=None)
    console.print(table)
    for line in _lines(summary):
        console.print(Text(line), soft_wrap=True)
    return console.file.getvalue().rstrip()  # type: ignore[attr-defined]


def epochs_of(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, dict[str, float]]]:
    """Recall of every memory by kind and epoch: `{memory: {kind: {"1": 0.2, "2": 0.7}}}`; `memory` for the only one."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    named = [(match, kinds) for system, kinds in table.items() if (match := EPOCH_NAME.match(system))]
    for match, kinds in sorted(named, key=lambda item: int(item[0]["epoch"])):
        memory = found.setdefault(match["memory"] or "memory", {})
        for kind, figures in kinds.items():
            memory.setdefault(kind, {})[str(int(match["epoch"]))] = round(figures["recall"], 4)
    return found


def column_counts(artefacts: Iterable[Artifact], table: str, column: str) -> dict[str, int]:
    """How many rows of `table`, over all artefacts that hold it, have each value of `column`; commonest first."""
    counts: Counter[str] = Counter()
    for artefact in artefacts:
        if table in artefact.record.rows:
            with pq.ParquetFile(artefact.path(f"{table}.parquet")) as file:
                values = file.read(columns=[column])[column]
            counts.update({str(item["values"]): item["counts"] for item in values.value_counts().to_pylist()})
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def studied(training: Mapping[str, Any]) -> str:
    """What the study of a training came to, behind a line about it; empty without one."""
    study = training.get("study")
    if not study:
        return ""
    chosen = ", chosen" if training.get("chosen_epoch") in study["epochs"] else ""
    epochs = f"epoch {', '.join(map(str, study['epochs']))}{chosen}" if study["epochs"] else "nothing to study"
    return f"; {study['wrong_before']:,} reflections wrong before study, {study['wrong_after']:,} after ({epochs})"


def cut(training: Mapping[str, Any]) -> str:
    """What the longest length cost a training, behind a line about it; empty when it cost nothing."""
    counts = training.get("truncated", 0), training.get("left_out", 0)
    return f"; {counts[0]:,} answers cut, {counts[1]:,} reflections left out" if any(counts) else ""


def of_stage(artefacts: Iterable[Artifact], stage: str) -> list[Artifact]:
    """The artefacts that `stage` made."""
    return [artefact for artefact in artefacts if artefact.record.stage == stage]


def corpus_name(artefact: Artifact) -> str:
    """The corpus an artefact belongs to: what follows the stage in its name."""
    return artefact.record.name.removeprefix(artefact.record.stage).removeprefix("-")


def _plain(kinds: Mapping[str, Mapping[str, float]], metric: str) -> dict[str, float]:
    return {kind: round(figures[metric], 4) for kind, figures in kinds.items()}


def _counts(table: Mapping[str, Mapping[str, Mapping[str, float]]]) -> dict[str, int]:
    """Questions by kind: the most that any one system answered."""
    alone = [kinds for system, kinds in table.items() if system != PROTOCOL]
    counts = {kind: max((int(kinds[kind]["n"]) for kinds in alone if kind in kinds), default=0) for kind in KINDS}
    return {kind: count for kind, count in counts.items() if count}


def _protocol(table: Mapping[str, Mapping[str, Mapping[str, float]]], answers: Sequence[Answer]) -> dict[str, Any]:
    rows = [row for row in answers if row.system == PROTOCOL]
    if not rows:
        return {"n": 0}
    return {
        "n": len(rows),
        **{metric: round(sum(getattr(row, name) for row in rows) / len(rows), 4) for metric, name in _FIELDS.items()},
        "by_kind": {kind: _plain({kind: figures}, "recall")[kind] for kind, figures in table[PROTOCOL].items()},
        "seconds_per_question": round(sum(row.seconds for row in rows) / len(rows), 2),
        "input_tokens": sum(row.input_tokens for row in rows),
        "output_tokens": sum(row.output_tokens for row in rows),
    }


_FIELDS = {"recall": "recalled", "token_f1": "token_f1", "exact_match": "exact_match"}


def _by_stage(artefacts: Iterable[Artifact], key: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for artefact in artefacts:
        stage = artefact.record.stage
        if key in artefact.record.cost:
            found[stage] = round(found.get(stage, 0) + artefact.record.cost[key], 3)
    return {stage: int(amount) if amount == int(amount) else amount for stage, amount in found.items()}


def _with_total(by_stage: dict[str, float]) -> dict[str, float]:
    return {**by_stage, "total": sum(by_stage.values())}


def _steps(artefacts: Iterable[Artifact]) -> dict[str, dict[str, Any]]:
    """What synthesis says of each step (made, kept, lost and why), added up over the corpora."""
    steps: dict[str, dict[str, Any]] = {}
    for artefact in of_stage(artefacts, "synthesis"):
        for step, facts in artefact.record.facts.get("by_step", {}).items():
            steps[step] = _added(steps.get(step, {}), facts)
    return steps


def _compression(artefacts: Iterable[Artifact]) -> dict[str, float]:
    """How far gzip shrinks each corpus's reflections (paper, Appendix K)."""
    made_by = of_stage(artefacts, "synthesis")
    ratios = {
        corpus_name(made): compression_ratio(made.path("reflections.parquet"))
        for made in made_by
        if made.record.rows.get("reflections")
    }
    return {name: round(ratio, 2) for name, ratio in ratios.items() if ratio is not None}


def _overlap(artefacts: Iterable[Artifact]) -> dict[str, dict[str, float]]:
    """How near each corpus's held-out questions are to trained ones, once it was evaluated."""
    return {
        corpus: facts
        for made in of_stage(artefacts, "evaluation")
        for corpus, facts in made.record.facts.get("overlap", {}).items()
    }


def _facts(artefacts: Iterable[Artifact], stage: str, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Those facts of a stage, by corpus, as far as it has them."""
    return {
        corpus_name(made): {name: made.record.facts[name] for name in names if name in made.record.facts}
        for made in of_stage(artefacts, stage)
    }


def _added(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    total = dict(left)
    for key, value in right.items():
        if isinstance(value, Mapping):
            total[key] = _added(total.get(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value
    return total


def _training(artefacts: Iterable[Artifact], systems: Mapping[str, str]) -> dict[str, Any]:
    """The facts of each memory's training below `memories`; those of an only one also at the top, without its steps."""
    memories = {corpus_name(made) or "union": dict(made.record.facts) for made in of_stage(artefacts, "training")}
    only = next(iter(memories.values())) if len(memories) == 1 else {}
    chosen = EPOCH_NAME.match(systems.get("memory", ""))
    only = {key: value for key, value in only.items() if key != "loss_by_step"}
    choice = {"chosen_epoch": int(chosen["epoch"])} if chosen else {}
    for made in of_stage(artefacts, "evaluation") if chosen else ():
        choice |= {"chosen_by": made.record.facts["memory"]["chosen_by"]} if "memory" in made.record.facts else {}
    return {**only, **choice, "memories": memories}


def _merging(artefacts: Sequence[Artifact]) -> dict[str, Any]:
    """The merging's facts, and the sweep's rows with their JSON columns read, best first."""
    for made in of_stage(artefacts, "merging"):
        rows = sorted(made.rows("sweep", SweepRow), key=lambda row: -row.recall)
        table = [asdict(row) | {name: json.loads(getattr(row, name)) for name in SWEEP_JSON} for row in rows]
        return {**made.record.facts, "table": table, "ways": ways_of(artefacts, made)}
    return {}


def _cost(artefacts: Sequence[Artifact]) -> dict[str, Any]:
    """Measured costs, added up, and by stage. Seconds and engine starts have their own keys in the summary."""
    keys = sorted({key for made in artefacts for key in made.record.cost} - {"seconds", "engine_starts"})
    by_key = {key: _by_stage(artefacts, key) for key in keys}
    stages = dict.fromkeys(made.record.stage for made in artefacts)
    by_stage = {stage: {key: by_key[key][stage] for key in keys if stage in by_key[key]} for stage in stages}
    return {
        **{key: sum(amounts.values()) for key, amounts in by_key.items()},
        "by_stage": {stage: amounts for stage, amounts in by_stage.items() if amounts},
    }


def _lines(summary: Mapping[str, Any]) -> Iterable[str]:
    protocol, training, seconds = summary["protocol"], summary["training"], summary["seconds"]
    if protocol["n"]:
        yield (
            f"through the protocol: recall {protocol['recall']:.2f} on {protocol['n']} questions, "
            f"{protocol['seconds_per_question']:.0f} s each"
        )
    if "best" in summary["merging"]:
        yield f"best merge on held-out questions: {summary['merging']['best']}"
    if ways := summary["merging"].get("ways"):
        yield "held-out recall: " + ", ".join(f"{row['way']} {row['recall']:.2f}" for row in ways)
    if summary["advice"]:
        yield f"advised before the sweep: {summary['advice']['recommended']}; {summary['advice']['reason']}"
    if summary["reflections"]:
        made = ", ".join(f"{count:,} {step}" for step, count in summary["reflections"].items())
        yield f"reflections: {made}; rejected: {sum(summary['rejects'].values()):,}"
    if "final_loss" in training:
        yield f"training: final loss {training['final_loss']:.3f}" + studied(training) + cut(training)
    if seconds:
        yield "seconds: " + ", ".join(f"{stage} {value:.0f}" for stage, value in seconds.items() if value is not None)
