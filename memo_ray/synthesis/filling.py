"""Targeted fill: shows a chunk with the pairs that Step 1 made of it and asks for what they leave out.

    Chunk {text}, Pair of the chunk -> Prompt {text, pairs} -> Pair {question, answer}, step `fill`

One of three additions that the paper tried and left out (Appendix E.2); off unless `fill_rounds` is set.
"""

from __future__ import annotations

from typing import Any

from memo_ray.rows import Chunk
from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.settings import Origin, StepSettings, made, numbered, shown

STEP = "fill"


def prompts(pairs: list[Pair], chunk: Chunk, settings: StepSettings, number: int) -> list[Prompt]:
    """The prompt for one chunk and the pairs made of it so far; none for a chunk without any. `number`: which round."""
    if not pairs:
        return []
    values = {"text": shown(chunk), "pairs": numbered(tuple(pairs))}
    schema = schemas.at_most(schemas.PAIRS, settings.most(chunk.text))
    origin = Origin.of_chunk(chunk)
    return [settings.prompt(STEP, "filling", schema, origin, values=values, evidence=shown(chunk), sample=number)]


def pairs(prompt: Prompt, value: Any) -> list[Pair]:
    """The added pairs in a reply."""
    return [made(prompt, item["question"], item["answer"]) for item in value["pairs"]]
