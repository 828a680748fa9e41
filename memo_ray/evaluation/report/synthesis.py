"""What the report shows of corpora and reflections: steps, kinds, chunks, groups, what tables of the paper ask for.

A summary in, plain rows out: reflections by step with losses, chunk lengths (Table 7), groups by kind (Table 8), what a
recipe without a step would leave or left (Table 9), and the gzip ratio (Appendix K).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from memo_ray.evaluation.report.tables import Grid, grid

Counts = list[tuple[str, int]]


@dataclass(frozen=True)
class StepRow:
    """A synthesis step: its prompts, those without a usable reply, and the pairs that it made, kept and lost.

    None where the facts do not say. `retried`, `failed`, `lost` and `kinds` are names by number, commonest first.
    """

    step: str
    prompts: int | None
    made: int | None
    kept: int | None
    tokens: int | None
    retried: Counts
    failed: Counts
    lost: Counts
    kinds: Counts


def steps(summary: Mapping[str, Any]) -> list[StepRow]:
    """What each synthesis step made, kept and lost, as its facts say; and reflections of steps without facts."""
    facts = summary["steps"] or {step: {"kept": count} for step, count in summary["reflections"].items()}
    return [
        StepRow(
            step=step,
            prompts=found["prompts"] + found.get("checks", 0) if "prompts" in found else None,
            made=found.get("made"),
            kept=found.get("kept"),
            tokens=found["input_tokens"] + found["output_tokens"] if "input_tokens" in found else None,
            retried=by_number(found.get("retried", {})),
            failed=by_number(found.get("failed", {})),
            lost=by_number(found.get("lost", {})),
            kinds=by_number(found.get("kinds", {})),
        )
        for step, found in facts.items()
    ]


def chunk_lengths(summary: Mapping[str, Any]) -> Grid:
    """Table 7: a corpus a row, its chunks by estimated tokens."""
    rows = []
    for name, facts in summary["corpora"].items():
        lengths = dict(facts.get("chunk_tokens", {}))
        ranges = {f"tokens {edge}": count for edge, count in lengths.pop("histogram", {}).items()}
        rows.append({"corpus": name, "chunks": facts.get("chunks"), **lengths, **ranges})
    return grid(rows)


def groups(summary: Mapping[str, Any]) -> Grid:
    """Table 8: a kind of groups a row, with the chunks of a group."""
    return grid(
        [
            {"corpus": name, "groups by": kind, **sizes}
            for name, facts in summary["corpora"].items()
            for kind, sizes in facts.get("groups_by_kind", {}).items()
        ]
    )


def made(summary: Mapping[str, Any]) -> Grid:
    """A corpus a row: reflections, how many have their place in a text, how far gzip shrinks them (Appendix K)."""
    return grid(
        [
            {
                "corpus": name,
                "trained": facts.get("train"),
                "held_out": facts.get("held_out"),
                "with_a_span": facts.get("with_a_span"),
                "gzip_ratio": summary["compression"].get(name),
                **({"data_ratio": facts["data_ratio"]} if "data_ratio" in facts else {}),
            }
            for name, facts in summary["synthesis"].items()
        ]
    )


def left_without(summary: Mapping[str, Any]) -> Grid:
    """Table 9's data ratio as far as one run foresees it: the share of pairs that a step had no part in."""
    return grid(
        [{"corpus": name, **facts["left_without"]} for name, facts in summary["synthesis"].items()
         if facts.get("left_without")]
    )  # fmt: skip


def by_number(reasons: Mapping[str, int]) -> Counts:
    """Names by their numbers, commonest first."""
    return sorted(((name, count) for name, count in reasons.items() if count), key=lambda item: (-item[1], item[0]))
