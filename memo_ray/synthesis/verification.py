"""Step 3: is a pair understood without its chunk? If not, it is rewritten against the chunk (paper, Section 4.1).

    Pair -> Prompt {text, pairs, violations} -> {pair: kinds of violation}
    Pair with violations -> Prompt {text, question, answer, violations} -> Pair

A prompt set without `verification.md` (the sentence set: a tiny model cannot judge) is judged by the rules of
`wording.py`, which look for the same kinds of violation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memo_ray.rows import Chunk
from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.settings import Origin, StepSettings, numbered, shown
from memo_ray.synthesis.wording import VIOLATIONS, violations

PAIRS_A_PROMPT = 20
JUDGEMENTS = schemas.at_most(schemas.verdicts(VIOLATIONS), PAIRS_A_PROMPT)


def judging_prompts(pairs: list[Pair], chunk: Chunk, settings: StepSettings, again: int = 0) -> list[Prompt]:
    """Prompts that ask for the violations of every pair, at temperature 0, a batch a prompt.

    `again` tells apart the prompts of the retry pass over pairs that got no verdict.
    """
    kinds = "\n".join(f"- {name}: {meaning}" for name, meaning in VIOLATIONS.items())
    batches = [tuple(pairs[i : i + PAIRS_A_PROMPT]) for i in range(0, len(pairs), PAIRS_A_PROMPT)]
    return [
        settings.prompt(
            "verification", "verification", JUDGEMENTS, Origin.of_chunk(chunk),
            values={"text": shown(chunk), "pairs": numbered(batch), "violations": kinds},
            evidence=shown(chunk), exact=True, items=batch, sample=again,
        )
        for batch in batches
    ]  # fmt: skip


def verdicts(prompt: Prompt, value: Any) -> dict[str, list[str]]:
    """Kinds of violation by reflection id for every pair that the reply gives a verdict on; an empty list: none."""
    found: dict[str, list[str]] = {}
    for verdict in value["verdicts"]:
        if 1 <= verdict["pair"] <= len(prompt.items):
            found[prompt.items[verdict["pair"] - 1].reflection_id] = list(dict.fromkeys(verdict["violations"]))
    return found


def ruled(pairs: list[Pair]) -> dict[str, list[str]]:
    """The same by rules."""
    return {pair.reflection_id: violations(pair.question, pair.answer) for pair in pairs}


def rewriting_prompt(pair: Pair, kinds: list[str], chunk: Chunk, settings: StepSettings, attempt: int) -> Prompt:
    """The prompt that asks for a self-contained version of `pair`; `attempt` tells repeated tries apart."""
    text = shown(chunk) if settings.config.prompts == "chunk" else context_of(pair.evidence, chunk, settings)
    named = "\n".join(f"- {kind}: {VIOLATIONS[kind]}" for kind in kinds)
    return settings.prompt(
        "verification", "rewriting", schemas.PAIR, Origin.of_chunk(chunk),
        values={"text": text, "question": pair.question, "answer": pair.answer, "violations": named},
        evidence=pair.evidence, short=True, exact=attempt == 0, sample=attempt,
        items=(pair,),
    )  # fmt: skip


def context_of(sentence: str, chunk: Chunk, settings: StepSettings) -> str:
    """The sentence with the one before it, where most pronouns find their noun."""
    texts = settings.texts(chunk)
    at = texts.index(sentence) if sentence in texts else 0
    return " ".join(texts[max(0, at - 1) : at + 1])


def rewritten(prompt: Prompt, value: Any) -> Pair:
    """The pair with the reply's question and answer; it keeps its step, and remembers the prompt that rewrote it."""
    question, answer = (" ".join(value[key].split()) for key in ("question", "answer"))
    return replace(prompt.items[0], question=question, answer=answer, prompt_id=prompt.prompt_id, seed=prompt.seed)
