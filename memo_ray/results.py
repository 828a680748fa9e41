"""What a run came to, from its finished artefacts: summary.json, the report, `memo status`, the closing text."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

from memo_ray.accounts import Account, spent_text
from memo_ray.artifacts.place import Location, Place
from memo_ray.artifacts.registry import Registry
from memo_ray.artifacts.store import Artifact
from memo_ray.console import Console
from memo_ray.errors import ConfigError
from memo_ray.pipeline import STAGES, Results
from memo_ray.rows import Answer, Transcript
from memo_ray.stage_state import next_command, stopped, unfinished
from memo_ray.workspace import Workspace, open_run, shown


def finish(
    workspace: Workspace, results: Results, seconds: float | None, *, again: bool = False, against: str | None = None
) -> dict[str, Any]:
    """Write summary.json and, once there is an evaluation, report.html. `seconds`: of the command that made them.

    `again`: write both of whatever is finished, with the data ratio `against` another run, if one is named.
    """
    from memo_ray.evaluation.report.report import write_report
    from memo_ray.evaluation.summary import build_summary

    evaluation = results.evaluation
    answers = evaluation.rows("answers", Answer) if evaluation else []
    systems = evaluation.record.facts["systems"] if evaluation else {}
    times = {"setup": setup_seconds(), "run": round(seconds, 1) if seconds is not None else earlier_seconds(workspace)}
    known = {name: value for name, value in times.items() if value is not None}
    summary = build_summary(workspace.config.name, results.all(), answers, systems, known)
    if against is not None:
        add_data_ratios(summary, results, against)
    spent = Account(workspace.config, workspace.place).spent()
    summary["cost"] |= {"currency": workspace.config.currency, "all_attempts": dict(spent)}
    if again or evaluation or workspace.place.get("report.html") is None:
        workspace.keep("summary.json", json.dumps(summary, indent=1, ensure_ascii=False) + "\n")
    if evaluation or again:
        transcripts = evaluation.rows("transcripts", Transcript) if evaluation else []
        config = workspace.config.model_dump(mode="json")
        with workspace.place.sharing("") as folder:
            write_report(folder, summary, results.all(), answers, transcripts, config)
            if evaluation:
                copy_comparison(evaluation, folder / "report")
        if evaluation:
            remove_other_comparison(workspace.place, evaluation)
    return summary


def add_data_ratios(summary: dict[str, Any], results: Results, against: str) -> None:
    """Note for every corpus its training pairs by those of the run `against`, such as the full recipe (Table 9).

    Raises ConfigError when that run has no synthesis of the same chunks.
    """
    from memo_ray.synthesis.statistics import data_ratio

    full = stored_results(open_run(against, Console(quiet=True)))
    for name, made in results.synthesis.items():
        other, theirs = full.synthesis.get(name), full.corpora.get(name)
        chunks = [corpus and digest_of(corpus, "chunks.parquet") for corpus in (results.corpora.get(name), theirs)]
        if other is None or chunks[0] != chunks[1] or not other.record.facts.get("train"):
            raise ConfigError(
                f"--against {against}: has no finished synthesis of the same chunks for the corpus {name}; give a run "
                "of the same documents and chunking"
            )
        ratio = data_ratio(made.record.facts.get("by_step", {}), other.record.facts["by_step"])
        summary["synthesis"][name]["data_ratio"] = ratio


def digest_of(artifact: Artifact, path: str) -> str:
    """The checksum of one of an artefact's files; empty when it has none of that name."""
    return next((entry.sha256 for entry in artifact.record.files if entry.path == path), "")


def copy_comparison(evaluation: Artifact, folder: Path) -> None:
    """Put the pages of the run's comparison, if it has one, beside its report."""
    for entry in evaluation.record.files:
        if entry.path.startswith("comparison/"):
            shutil.copyfile(evaluation.path(entry.path), folder / Path(entry.path).name)


def remove_other_comparison(place: Place, evaluation: Artifact) -> None:
    """Remove the pages of a comparison that earlier settings asked for and those of `evaluation` do not."""
    if not any(entry.path.startswith("comparison/") for entry in evaluation.record.files):
        for kind in ("html", "csv", "json", "tex"):
            place.remove(f"report/comparison.{kind}")


def earlier_seconds(workspace: Workspace) -> float | None:
    """How long the command took that wrote the summary which is there."""
    try:
        return float(json.loads(workspace.place.get("summary.json") or b"{}")["seconds"]["run"])
    except (ValueError, KeyError, TypeError):
        return None


def setup_seconds() -> float | None:
    """How long `make venv` took on this machine, if it made this environment."""
    try:
        return float((Path(sys.prefix) / ".setup-seconds").read_text())
    except (FileNotFoundError, ValueError):
        return None


def closing_text(workspace: Workspace, results: Results, summary: dict[str, Any]) -> str:
    """The end of `memo run`: the table, one question answered through the protocol, and what to try next."""
    from memo_ray.evaluation.summary import summary_table

    parts = [summary_table(summary)]
    assert results.evaluation is not None  # the caller has checked
    answered = example(results.evaluation)
    if answered:
        parts.append(answered)
    where = workspace.where
    parts.append(
        f"report:  {where}/report.html\nsummary: {where}/summary.json\n"
        f'next:    memo ask {where} "..."   or   memo serve {where}'
    )
    return "\n\n".join(parts)


def example(evaluation: Artifact) -> str:
    """One question with its stages and citations; a right one when there is one."""
    from memo_ray.protocol.describe import describe

    transcripts = {row.question_id: row for row in evaluation.rows("transcripts", Transcript)}
    rows = [
        row for row in evaluation.rows("answers", Answer) if row.question_id in transcripts and row.system == "memo"
    ]
    if not rows:
        return ""
    row = max(rows, key=lambda row: row.recalled)
    lines = describe(transcripts[row.question_id].events.splitlines())
    verdict = "right" if row.recalled else f"not right; expected: {row.references[0]}"
    return "\n".join(["A question through the protocol:", *lines, f"({verdict})"])


def stored_results(workspace: Workspace) -> Results:
    """The finished artefacts of a run with its settings."""
    results = Results()
    for corpus in workspace.config.corpora:
        for stage, found in (
            ("corpus", results.corpora),
            ("synthesis", results.synthesis),
            ("training", results.training),
        ):
            artifact = workspace.finished(f"{stage}-{corpus.name}")
            if artifact is not None:
                found[corpus.name] = artifact
    if workspace.config.merging is not None:
        if workspace.config.merging.union:
            results.union = workspace.finished("training")
        results.advice = workspace.finished("advice")
        results.merging = workspace.finished("merging")
    results.evaluation = workspace.finished("evaluation")
    return results


def memory_of(workspace: Workspace) -> tuple[Location, str]:
    """Where the memory to serve is, and how it was chosen.

    While a new version is being made it is the one that is registered. Raises ConfigError when nothing has been
    trained yet.
    """
    results = stored_results(workspace)
    if results.evaluation is not None:
        chosen = results.evaluation.record.facts["memory"]
        for artifact in results.all():
            if artifact.record.name == chosen["artifact"] and artifact.record.digest == chosen["digest"]:
                return artifact.location(chosen["folder"]), str(chosen["chosen_by"])
    if results.merging is not None:
        best = results.merging.record.facts["best"]
        return results.merging.location(f"merged/{best}"), "best merge on held-out questions"
    registry = Registry(workspace.place)
    registered = registry.newest(workspace.config.name)
    if registered is not None and registered.artifact in {made.record.digest for made in results.all()}:
        return registry.location(registered), f"registered as {registered.reference}"
    last = last_epoch(workspace)
    if last:
        (training,) = results.training.values()
        return training.location(last), "the last epoch; `memo run` has not chosen one yet"
    if registered is not None:
        return registry.location(registered), f"registered as {registered.reference}"
    raise ConfigError(f"{workspace.where}: holds no memory yet; run `memo run {workspace.where}/run.yaml` first")


def last_epoch(workspace: Workspace) -> str:
    """The last epoch of a run of one corpus; empty for several, and before its training is finished."""
    first, *others = workspace.config.corpora
    training = workspace.finished(f"training-{first.name}") if not others else None
    names = {entry.path.split("/")[0] for entry in training.record.files} if training else set()
    return max(names, key=lambda name: int(name[6:]), default="")


def status_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """One row for each stage and corpus: finished or not, rows, rejects, seconds, tokens."""
    names = [(s, f"{s}-{c.name}") for s in STAGES[:3] for c in workspace.config.corpora]
    if (merging := workspace.config.merging) is not None:
        names += [("training", "training")] if merging.union else []
        names += [("advice", "advice")] if merging.advise else []
        names += [("merging", "merging")]
    names += [("evaluation", "evaluation")]
    return [status_row(workspace, stage, name) for stage, name in names]


def status_row(workspace: Workspace, stage: str, name: str) -> dict[str, Any]:
    """The state of one artefact: finished, or what `stage_state.unfinished` finds."""
    artifact = workspace.finished(name)
    if artifact is None:
        return {"stage": stage, "name": name, **unfinished(workspace, name)}
    record, cost = artifact.record, artifact.record.cost
    tokens = sum(int(cost.get(key, 0)) for key in ("input_tokens", "output_tokens"))
    return {
        "stage": stage, "name": name, "state": "finished", "finished": record.finished, "rows": record.rows,
        "seconds": cost.get("seconds", 0), "tokens": tokens, "engine_starts": cost.get("engine_starts", 0),
    }  # fmt: skip


def status_of(workspace: Workspace) -> dict[str, Any]:
    """The run with its stages as `status_rows` has them, what it has spent, why its last command ended where no row
    says that, and the command that goes on."""
    rows = status_rows(workspace)
    return {
        "run": workspace.config.name,
        "where": workspace.where,
        "stages": rows,
        "spent": dict(Account(workspace.config, workspace.place).spent()),
        "stopped": stopped(workspace, rows),
        "next": next_command(workspace, rows),
    }


def status_text(workspace: Workspace, status: dict[str, Any]) -> str:
    """`status_of` for a terminal."""
    states = {row["state"] for row in status["stages"]}
    lines = [f"run {status['run']} in {status['where']}", *(status_line(row) for row in status["stages"])]
    if status["spent"]:
        lines.append(f"  spent, with all attempts: {spent_text(status['spent'], workspace.config.currency)}")
    if ended := status["stopped"]:
        lines.append(f"  stopped    before its next stage    {ended['failed']}: {ended['error']}")
    if "running" in states:
        hint = f"   (again, while it runs; `memo stop {status['where']}` ends what runs on this machine)"
    else:
        hint = "   (goes on where it stopped)" if states - {"finished"} or ended else ""
    lines.append(f"next: {status['next']}{hint}")
    if states & {"failed", "begun"} and workspace.logs.is_dir():
        lines.append(f"Ray's logs of the last failure: {shown(str(workspace.logs))}")
    return "\n".join(lines)


def status_line(row: dict[str, Any]) -> str:
    """One artefact's line."""
    if row["state"] == "running":
        return f"  running    {row['name']:<24} ({row['host']}, process {row['process']})"
    if row["state"] == "failed":
        return f"  failed     {row['name']:<24} {row['failed']}: {row['error']}"
    counts = ", ".join(f"{count:,} {table}" for table, count in row.get("rows", {}).items() if count)
    return f"  {row['state']:<10} {row['name']:<24} {row.get('seconds', 0):6.0f} s  {counts}".rstrip()
