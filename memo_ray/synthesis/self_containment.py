"""Step 3's loop over one chunk: judge every pair, rewrite what cannot stand alone, judge again, discard what stays.

Pairs in, those that are self-contained out, rewritten where needed; everything else is noted as lost. A pair made
from others keeps pointing at them under the ids that they have after their rewriting.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from memo_ray.synthesis import checks, verification
from memo_ray.synthesis.pairs import Pair, Source, lost

if TYPE_CHECKING:
    from memo_ray.synthesis.recipe import Work

STEP = "verification"


async def self_contained(work: Work, source: Source, pairs: list[Pair]) -> list[Pair]:
    """Those of the chunk's `pairs` that end up self-contained, in order (paper, Section 4.1, Step 3).

    A pair is judged, rewritten against the chunk and judged again, at most `max_rewrites` times; what is still not
    self-contained is discarded, and so is a pair on which the generator twice gives no verdict.
    """
    order = {pair.reflection_id: place for place, pair in enumerate(pairs)}
    renamed: dict[str, str] = {}
    good: list[Pair] = []
    for attempt in range(work.settings.config.max_rewrites + 1):
        kinds = await judged(work, source, pairs)
        unjudged = [pair for pair in pairs if pair.reflection_id not in kinds]
        work.asker.lose(lost(pair, "unjudged", "no verdict in the replies to two prompts") for pair in unjudged)
        good += [pair for pair in pairs if kinds.get(pair.reflection_id) == []]
        bad = [pair for pair in pairs if kinds.get(pair.reflection_id)]
        if attempt == 0:
            work.asker.count(STEP).kinds.update(kind for found in kinds.values() for kind in found)
        if not bad:
            break
        if attempt == work.settings.config.max_rewrites:
            work.asker.lose(lost(pair, "not_self_contained", ", ".join(kinds[pair.reflection_id])) for pair in bad)
            break
        pairs = await rewritten(work, source, bad, kinds, attempt, good, renamed)
    originals = {new: old for old, new in renamed.items()}
    good.sort(key=lambda pair: order[first_of(pair.reflection_id, originals)])
    work.asker.count(STEP).kinds["rewritten"] += sum(pair.reflection_id in originals for pair in good)
    return following(good, renamed)


async def judged(work: Work, source: Source, pairs: list[Pair]) -> dict[str, list[str]]:
    """Kinds of violation by reflection id. Pairs without a verdict are put once more; some may still have none."""
    if "verification" not in work.settings.prompts:
        return verification.ruled(pairs)
    kinds: dict[str, list[str]] = {}
    ruled = verification.ruled(pairs) if work.settings.config.quality.self_contained_rules else {}
    for again in (0, 1):
        open_pairs = [pair for pair in pairs if pair.reflection_id not in kinds]
        asked = verification.judging_prompts(open_pairs, source.chunk, work.settings, again)
        for prompt, value in await work.asker.ask(asked, check=True):
            kinds.update(verification.verdicts(prompt, value))
    return {key: list(dict.fromkeys([*found, *ruled.get(key, ())])) for key, found in kinds.items()}


async def rewritten(
    work: Work,
    source: Source,
    bad: list[Pair],
    kinds: dict[str, list[str]],
    attempt: int,
    good: list[Pair],
    renamed: dict[str, str],
) -> list[Pair]:
    """New versions of the `bad` pairs, to be judged next; notes in `renamed` what each was called before."""
    prompts = [
        verification.rewriting_prompt(pair, kinds[pair.reflection_id], source.chunk, work.settings, attempt)
        for pair in bad
    ]
    answered = await work.asker.ask(prompts)
    made = [(prompt.items[0], verification.rewritten(prompt, value)) for prompt, value in answered]
    pairs, refused = checks.sift((new for _, new in made), work.settings, work.identifiers, (), work.cast)
    pairs, twins = checks.distinct(pairs, good)
    work.asker.lose([*refused, *twins])
    spoken = {prompt.items[0].reflection_id for prompt, _ in answered}
    work.asker.lose(
        lost(pair, "not_self_contained", "could not be rewritten") for pair in bad if pair.reflection_id not in spoken
    )
    renamed.update(
        (old.reflection_id, new.reflection_id) for old, new in made if old.reflection_id != new.reflection_id
    )
    return pairs


def first_of(reflection_id: str, originals: dict[str, str]) -> str:
    """The id that a pair had before its first rewriting."""
    seen = {reflection_id}
    while reflection_id in originals and originals[reflection_id] not in seen:
        reflection_id = originals[reflection_id]
        seen.add(reflection_id)
    return reflection_id


def following(pairs: Iterable[Pair], renamed: dict[str, str]) -> list[Pair]:
    """`pairs` with their parents under the ids that rewriting has given them."""
    return [replace(pair, parents=tuple(last_of(parent, renamed) for parent in pair.parents)) for pair in pairs]


def last_of(reflection_id: str, renamed: dict[str, str]) -> str:
    """The id that a pair has after its last rewriting."""
    seen = {reflection_id}
    while reflection_id in renamed and renamed[reflection_id] not in seen:
        reflection_id = renamed[reflection_id]
        seen.add(reflection_id)
    return reflection_id
