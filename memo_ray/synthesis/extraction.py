"""Steps 1a and 1b: direct facts, and what can be inferred, from a chunk (paper, Section 4.1, Step 1).

    Chunk {chunk_id, document_id, text}
      -> Prompt {text}                        whole chunk, or one a sentence
      -> Pair {question, answer, evidence}    several a reply, or one

With `answers: spans` a prompt holds a statement without its answer, and the reply is the question alone:

    sentence -> Cloze {answer, text, opening, words} -> Prompt {statement, opening} -> Pair
"""

from __future__ import annotations

from typing import Any

from memo_ray.rows import Chunk
from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.cloze import Cloze, clozes, descriptions
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.settings import Origin, StepSettings, made

SOME_PAIRS = schemas.at_least_one(schemas.PAIRS)
"""A chunk states something and something follows from it; small generators else reply to Step 1b with nothing."""
PROFESSION = "What was the profession of"
KIND = "What kind of thing is"


def prompts(step: str, chunk: Chunk, settings: StepSettings) -> list[Prompt]:
    """The prompts of `step` (`direct` or `indirect`) for one chunk."""
    if settings.spans:
        return [
            prompt for sentence in settings.texts(chunk) for prompt in FOR_ANSWERS[step](sentence, chunk, settings)
        ]  # fmt: skip
    whole, origin = settings.config.prompts == "chunk", Origin.of_chunk(chunk)
    return [
        prompt
        for text in settings.texts(chunk)
        for prompt in settings.samples(
            step, step, schemas.at_most(SOME_PAIRS, settings.most(text)) if whole else schemas.PAIR, origin,
            values={"text": text}, evidence=text,
        )
    ]  # fmt: skip


def pairs(prompt: Prompt, value: Any) -> list[Pair]:
    """The pairs in the reply to one of `prompts`."""
    if prompt.answer:
        return [made(prompt, value["question"], prompt.answer)]
    return [made(prompt, item["question"], item["answer"]) for item in value.get("pairs", [value])]


def _direct_for_answers(sentence: str, chunk: Chunk, settings: StepSettings) -> list[Prompt]:
    return [prompt for cloze in clozes(sentence) for prompt in _for_answer(cloze, sentence, chunk, settings)]


def _for_answer(cloze: Cloze, sentence: str, chunk: Chunk, settings: StepSettings) -> list[Prompt]:
    return settings.samples(
        "direct", "direct_for_answer", schemas.question(cloze.opening, cloze.words), Origin.of_chunk(chunk),
        values={"statement": cloze.text, "opening": cloze.opening},
        evidence=sentence, short=True, answer=cloze.answer, statement=cloze.text,
    )  # fmt: skip


def _indirect_for_answers(sentence: str, chunk: Chunk, settings: StepSettings) -> list[Prompt]:
    """What a name's class noun gives away without being the point of the sentence: a profession, a kind."""
    found = []
    for about in descriptions(sentence):
        opening = f"{PROFESSION if about.person else KIND} {about.name}, {'who' if about.person else 'which'}"
        article = "an" if about.description[0] in "aeiou" else "a"
        values = {
            "statement": about.rest,
            "name": about.name,
            "description": f"{'who' if about.person else 'which'} is {article} {about.description}",
        }
        found += settings.samples(
            "indirect", "indirect_for_answer", schemas.question(opening, about.words), Origin.of_chunk(chunk),
            values=values, evidence=sentence, short=True, answer=about.description, statement=about.rest,
        )  # fmt: skip
    return found


FOR_ANSWERS = {"direct": _direct_for_answers, "indirect": _indirect_for_answers}
