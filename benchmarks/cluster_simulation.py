"""A synthesis on paper, up to 64 nodes and 10 million chunks: what breaks first, and where. Prints one JSON line.

    python benchmarks/cluster_simulation.py [--chunks 100000 10000000] [--nodes 1 8 64] [--head-gib 32] [...]

Nothing is started. Every constant of `MEASURED` was measured, and names the page and the words that hold it
(tests/unit/test_cluster_simulation.py compares them); `ASSUMED` is published by others or a guess that an option
replaces. Out come, for each size: the hours of every part, of which the parts that only the driver does are the same
on 64 nodes as on one; and what passes a limit. `breaks` says at how many chunks each limit is reached, first one first.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

KIB, GIB = 2**10, 2**30


@dataclass(frozen=True)
class Constant:
    """A number, its unit, and the words of a page of docs/ that it is in."""

    value: float
    unit: str
    page: str
    words: str


MEASURED = {
    "driver_kib_a_chunk": Constant(8.9, "KiB", "synthesis.md", "8.9 KiB a row"),
    "driver_mib_at_start": Constant(268, "MiB", "synthesis.md", "saw 268 and 294 MiB for"),
    "output_tokens_a_chunk": Constant(86_385 / 71, "tokens", "synthesis.md", "86,385 output tokens"),
    "output_tokens_a_prompt": Constant(86_385 / 1_924, "tokens", "synthesis.md", "86,385 output tokens"),
    "kept_a_chunk": Constant(265 / 71, "pairs", "synthesis.md", "half of them drawn evenly over the steps"),
    "candidate_share_at_8000": Constant(0.0016, "of all pairs of pairs", "synthesis.md", "| 8,000 | 51,200 | 0.16% |"),
    "candidate_pairs_at_8000": Constant(51_200, "pairs", "synthesis.md", "| 8,000 | 51,200 | 0.16% |"),
    "candidate_power": Constant(1.11, "", "synthesis.md", "grows with the power 1.11 of the documents"),
    "candidates_per_s": Constant(55_000, "pairs of pairs a second", "synthesis.md", "55,000 a second in the slowest"),
    "duplicates_per_s": Constant(6_951, "pairs a second", "synthesis.md", "6,951 pairs a second"),
}


@dataclass(frozen=True)
class Assumed:
    """What was not measured here: an option replaces each."""

    head_gib: float = 32
    """Memory of the head, where the driver runs: cluster/aws.yaml's m7i.2xlarge."""
    engines_a_node: int = 8
    engine_tokens: float = 2_000
    """Output tokens a second of one engine; `memo plan --decode-rate` takes the same."""
    rows_per_s: float = 9.0
    """What Ray Data takes through its one driver while the engine answers at once; benchmarks/synthesis_scale.py
    prints it for a machine."""
    request_s: float = 0.02
    """One request to S3: what benchmarks/s3_transfer.py injects."""
    puts_per_s: float = 3_500
    """What AWS states for one prefix of S3."""
    row_kib: float = 64
    """A chunk's row in the object store: some 6,400 words and their ids."""
    store_gib: float = 60
    """Object store of one node: Ray's 30% of a node of 200 GiB."""
    chunks_in_flight: int = 16
    days: float = 14
    """How long a stage may take before it counts as broken."""


ROWS_A_FILE = 64
READ_AT_ONCE = 16
CANDIDATES_A_ROW = 16
BATCH = 20
"""As in memo_ray/synthesis/ray_pass.py and units.py, and the default of `connections.batch_size`."""


def step_5_prompts(chunks: float, kind: str) -> float:
    """Prompts of Step 5: all pairs as in the paper (Section 4.1), or the candidates, drawn out by power."""
    pairs = chunks * MEASURED["kept_a_chunk"].value
    if kind == "all_pairs":
        return pairs * pairs / (2 * BATCH)
    return candidate_pairs(chunks) / BATCH


def candidate_pairs(chunks: float) -> float:
    """Pairs of pairs that `shared_entities` looks at in one group of all chunks."""
    known = MEASURED["candidate_pairs_at_8000"].value
    at_8000 = known * known / 2 * MEASURED["candidate_share_at_8000"].value
    return at_8000 * (chunks / 8000) ** MEASURED["candidate_power"].value


def hours(chunks: float, nodes: int, kind: str, given: Assumed) -> dict[str, float]:
    """Hours of each part; those of `driver_...` run on one process, however many nodes there are."""
    engines, prompts = nodes * given.engines_a_node, step_5_prompts(chunks, kind)
    looked_at = candidate_pairs(chunks) if kind == "shared_entities" else 0.0
    tokens = chunks * MEASURED["output_tokens_a_chunk"].value + prompts * MEASURED["output_tokens_a_prompt"].value
    files = chunks + prompts / CANDIDATES_A_ROW
    seconds = {
        "engines": tokens / (engines * given.engine_tokens),
        "driver_scheduling": files / given.rows_per_s,
        "driver_input_files": files / ROWS_A_FILE * given.request_s,
        "driver_reading_results": files / READ_AT_ONCE * given.request_s,
        "driver_candidates": looked_at / MEASURED["candidates_per_s"].value,
        "driver_duplicates": chunks * MEASURED["kept_a_chunk"].value / MEASURED["duplicates_per_s"].value,
    }
    return {name: round(value / 3600, 2) for name, value in seconds.items()}


def loads(chunks: float, nodes: int, kind: str, given: Assumed) -> dict[str, float]:
    """What each limit is loaded with, as a share of it; 1: it is reached."""
    rows = step_5_prompts(chunks, kind) / CANDIDATES_A_ROW
    parts = hours(chunks, nodes, kind, given)
    driver = MEASURED["driver_mib_at_start"].value * KIB**2 + chunks * MEASURED["driver_kib_a_chunk"].value * KIB
    slowest = max(parts["engines"], parts["driver_scheduling"])
    in_flight = nodes * given.engines_a_node * given.chunks_in_flight * given.row_kib * KIB
    return {
        "driver memory": driver / (given.head_gib * GIB),
        "one row a task": parts["driver_scheduling"] / (given.days * 24),
        "Step 5's candidates on the driver": parts["driver_candidates"] / (given.days * 24),
        "one file a row, read back": parts["driver_reading_results"] / (given.days * 24),
        "S3 writes of one prefix": (chunks + rows) / max(slowest * 3600, 1) / given.puts_per_s,
        "object store": in_flight / (nodes * given.store_gib * GIB),
        "engines": parts["engines"] / (given.days * 24),
    }


def breaking_points(nodes: int, kind: str, given: Assumed) -> list[dict[str, Any]]:
    """Each limit and the chunks at which it is reached on so many nodes, first one first; up to a thousand million."""
    found = []
    for limit in loads(1, nodes, kind, given):
        low, high = 0.0, 9.0
        if loads(10**high, nodes, kind, given)[limit] < 1:
            continue
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (low, middle) if loads(10**middle, nodes, kind, given)[limit] >= 1 else (middle, high)
        found.append({"limit": limit, "chunks": rounded(10**high)})
    return sorted(found, key=lambda row: row["chunks"])


def rounded(number: float) -> int:
    """To two digits: more is not known."""
    digits = max(0, math.floor(math.log10(max(number, 1))) - 1)
    return int(round(number / 10**digits) * 10**digits)


def simulate(chunks: list[int], nodes: list[int], kind: str, given: Assumed) -> dict[str, Any]:
    """All sizes, and where each limit is."""
    sizes = [
        {
            "chunks": count,
            "nodes": many,
            "step_5_prompts": rounded(step_5_prompts(count, kind)),
            "hours": hours(count, many, kind, given),
            "over": [name for name, load in loads(count, many, kind, given).items() if load >= 1],
        }
        for count in chunks
        for many in nodes
    ]
    # Engines above so many wait for the driver: of chunks, which are many prompts, and of Step 5's rows.
    a_row = {
        "steps_1_to_4": MEASURED["output_tokens_a_chunk"].value,
        "step_5": MEASURED["output_tokens_a_prompt"].value * CANDIDATES_A_ROW,
    }
    fed = {part: round(given.rows_per_s * tokens / given.engine_tokens, 2) for part, tokens in a_row.items()}
    return {
        "candidates": kind,
        "sizes": sizes,
        "breaks": {str(many): breaking_points(many, kind, given) for many in nodes},
        "engines_that_one_driver_feeds": fed,
        "assumed": asdict(given),
    }


def main() -> None:
    """Work it out and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--candidates", choices=("shared_entities", "all_pairs"), default="shared_entities")
    for name, value in asdict(Assumed()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    options = vars(parser.parse_args())
    chunks, nodes, kind = (options.pop(name) for name in ("chunks", "nodes", "candidates"))
    print(json.dumps(simulate(chunks, nodes, kind, Assumed(**options))))


if __name__ == "__main__":
    main()
