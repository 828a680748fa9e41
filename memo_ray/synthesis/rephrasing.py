"""Pairs of Steps 1 to 4 asked again in other words with the same answer: held out, or trained as paraphrases.

    Pair -> Prompt {question, opening} -> Pair {question, same answer, split held_out, parents}

Checkpoints, merges and settings are chosen on held-out questions, so a rephrased one must keep every name and number
of the original and differ from it in more than a mark. Paraphrases (Appendix E.2) are an option and off.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.grounding import content_words, numbers
from memo_ray.synthesis.lexicon import BASE_OF, FUNCTION_WORDS, PAST_OF
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.settings import Origin, StepSettings, made
from memo_ray.synthesis.verbs import base_forms, past_forms
from memo_ray.synthesis.wording import malformed, proper, question_key

OPENINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"Who (is|was|are|were) ", (r"What is the name of the person who \1", r"Which person \1")),
    (r"Who ", ("What is the name of the person who", "Which person")),
    (r"Which (?P<noun>[a-z]+) (?:did|does|do|is|was|are|were) ", (r"What is the name of the \1 that",)),
    (r"Which (?P<noun>[a-z]+) ", (r"What is the name of the \1 that",)),
    (r"When (did|was) ", (r"In which year \1", "What was the year in which")),
    (r"(In|On|At|To) which (?P<noun>[a-z]+) (did|does|is|was) ", (r"What is the name of the \2 \1 which",)),
    (r"Where (did|does|do|is|was|are) ", (r"In what place \1",)),
    (r"What (did|does) ", (r"Which thing \1",)),
    (r"How many (?P<noun>[a-z]+(?: [a-z]+)?) (did|does|do|is|are) ", (r"What was the number of \1 that",)),
    (r"Whose (?P<noun>[a-z-]+) (is|was) ", (r"Who had as \1",)),
)
"""With the sentence set: how a question opens, and how the same question may open instead."""


def prompts(pair: Pair, settings: StepSettings, step: str = "rephrase", copies: int = 0) -> list[Prompt]:
    """The prompts that ask for `pair`'s question in other words; `copies` of them, or `samples` for 0.

    The sentence set gives the first words: one of those that fit, by the pair's id, so that all are used alike;
    none where it knows no other opening.
    """
    origin = Origin(pair.chunk_ids, pair.document_ids)
    if settings.config.prompts == "chunk":
        return settings.samples(
            step, "rephrasing", schemas.QUESTION, origin,
            values={"question": pair.question, "answer": pair.answer, "opening": ""},
            evidence=pair.evidence, answer=pair.answer, items=(pair,), short=True, copies=copies,
        )  # fmt: skip
    openings = other_openings(pair.question, year=pair.answer.isdigit())
    if not openings:
        return []
    opening, words = openings[int(pair.reflection_id, 16) % len(openings)]
    return settings.samples(
        step, "rephrasing", schemas.question(opening, words), origin,
        values={"question": pair.question, "answer": pair.answer, "opening": opening},
        evidence=pair.evidence, answer=pair.answer, items=(pair,), short=True, copies=copies,
    )  # fmt: skip


def other_openings(question: str, *, year: bool) -> list[tuple[str, tuple[str, ...]]]:
    """Other first words for `question`, each with the words that may follow: the question's own, in every form.

    `year`: the answer is a year; other dates are not asked for as one.
    """
    for pattern, openings in OPENINGS:
        match = re.match(pattern, question)
        if match:
            rest = [word.strip("?,") for word in question[match.end() :].split()]
            forms = [
                form for word in rest if word.islower() and word not in FUNCTION_WORDS for form in verb_forms(word)
            ]
            words = tuple(dict.fromkeys([*rest, *forms, "was", "is", "the"]))
            fitting = [opening for opening in openings if year or "year" not in opening]
            return [(tidy(match.expand(opening)), words) for opening in fitting]
    return []


def tidy(opening: str) -> str:
    """A capital inside an opening made small."""
    return opening[0] + re.sub(r"\b(In|On|At|To)\b", lambda match: match.group().lower(), opening[1:])


def verb_forms(word: str) -> set[str]:
    """The base of an irregular past, and the past of a base: what turning a question round may need."""
    if word in BASE_OF:
        return {BASE_OF[word]}
    if word in PAST_OF:
        return {PAST_OF[word]}
    return base_forms(word) if word.endswith("ed") else past_forms(word)


def pairs(prompt: Prompt, value: Any) -> list[Pair]:
    """The pair in a reply: held out, or trained when it is a paraphrase."""
    split = "held_out" if prompt.step == "rephrase" else "train"
    return [replace(made(prompt, value["question"], prompt.answer, prompt.items), split=split)]


def not_rephrased(child: Pair, parent: Pair) -> str:
    """Why `child` is no good rephrasing of `parent`; else empty."""
    lost_names = (proper(parent.question) | numbers(parent.question)) - proper(child.question) - numbers(child.question)
    if lost_names:
        return f"leaves out {sorted(lost_names)[0]}"
    if question_key(child.question) == question_key(parent.question):
        return "says the same with the same words"
    wanted, said = set(content_words(parent.question)), set(content_words(child.question))
    if len(wanted & said) < 0.6 * len(wanted):
        return "asks something else"
    return malformed(child.question, child.answer, parent.evidence)
