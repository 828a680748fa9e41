"""What the paper tells about a set of reflections beside its counts: compressibility, and what each step carries.

Pairs in, plain JSON out: the gzip ratio of all texts (Appendix K), and the share of pairs that would be left without a
step (the data ratio of Table 9). Chunk lengths and group sizes (Tables 7 and 8) are facts of the corpus.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

from memo_ray.synthesis.pairs import Pair


def gzip_ratio(pairs: Iterable[Pair]) -> float:
    """Bytes of all questions and answers over their bytes after gzip at level 9 (Appendix K); 0.0 for no text.

    The paper: 5.80 for BrowseComp-Plus, 7.03 for MuSiQue, 5.45 for NarrativeQA. Streams, so memory stays constant.
    """
    return round(compression(f"{pair.question}\n{pair.answer}\n" for pair in pairs) or 0.0, 3)


def compression(texts: Iterable[str]) -> float | None:
    """Bytes of all texts over their bytes after gzip at level 9; None without text."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    before = after = 0
    for text in texts:
        data = text.encode()
        before += len(data)
        after += len(packer.compress(data))
    after += len(packer.flush())
    return before / after if before else None


def left_without(pairs: Sequence[Pair]) -> dict[str, float]:
    """For each step the share of `pairs` that neither it nor a pair of it had a part in.

    A first estimate of Table 9's data ratio from one full run; the ratio itself compares two runs (`data_ratio`).
    """
    parents = {parent for pair in pairs for parent in pair.parents}
    by_id = {key: pair for pair in pairs if (key := pair.reflection_id) in parents}
    known: dict[str, frozenset[str]] = {}
    total = Counter(step for pair in pairs for step in behind(pair, by_id, known))
    return {step: round(1 - count / len(pairs), 4) for step, count in sorted(total.items())}


def behind(pair: Pair, by_id: Mapping[str, Pair], known: dict[str, frozenset[str]]) -> frozenset[str]:
    """The steps that `pair` and its parents, as far as they are in `by_id`, were made by; remembered in `known`."""
    if not pair.parents:
        return same(pair.step)
    key = pair.reflection_id
    if key not in known:
        known[key] = same(pair.step)  # ends a circle, which a duplicate's id could close
        parents = (by_id[parent] for parent in pair.parents if parent in by_id)
        steps = {step for parent in parents for step in behind(parent, by_id, known)}
        known[key] = same(*sorted({pair.step, *steps}))
    return known[key]


@cache
def same(*steps: str) -> frozenset[str]:
    """One set for all pairs with the same steps, of which there are a few."""
    return frozenset(steps)


def data_ratio(by_step: Mapping[str, Mapping[str, Any]], full: Mapping[str, Mapping[str, Any]]) -> float:
    """Training pairs of a run with a step left out over those of the full recipe (Table 9).

    Both are the `by_step` facts of a finished synthesis of the same corpus. Raises ValueError for an empty full run.
    """
    kept, whole = (
        sum(count["kept"] for step, count in run.items() if step != "rephrase") for run in (by_step, full)
    )  # fmt: skip
    if not whole:
        raise ValueError("data_ratio: the full recipe kept no pair")
    return round(kept / whole, 4)
