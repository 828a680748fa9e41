"""The short prompts: the same protocol for an executive of a few hundred million parameters.

Such a model cannot keep the paper's book of facts, labels and candidates. Here it is shown worked examples as turns
of a conversation and replies with one thing a turn: a question spelt from words it was shown, or one of the memory's
answers. `expand` makes of that the reply which the stage takes. The user's question is always the first that is
put to the memory.
"""

from __future__ import annotations

import json
import re
from typing import Any

from memo_ray.models.chat import Message
from memo_ray.protocol.abstention import UNKNOWN
from memo_ray.protocol.final import usable
from memo_ray.protocol.quoting import key, quote
from memo_ray.protocol.schemas import Schema, record
from memo_ray.protocol.state import Evidence, State
from memo_ray.rows import content_id

INSTRUCTIONS = {
    "grounding": "Write one short question about a single clue of the question.",
    "identification": "Choose the answer that names whom or what the question is about.",
    "answering": "Write one short question about the named one that helps to answer the question.",
    "synthesis": "Choose the answer that answers the question.",
}

_TRADE = "What was the trade of the woman who founded Port Amber?"
_EEL = "In which year was the captain of the Silver Eel born?"
_TRADE_SAID = ((_TRADE, "baker"), ("Who founded Port Amber?", "Ada Moss"))
_EEL_SAID = ((_EEL, "Port Amber"), ("Who was the captain of the Silver Eel?", "Jon Varley"))

EXAMPLES: dict[str, tuple[tuple[str, tuple[tuple[str, str], ...], str, str], ...]] = {
    "grounding": (
        (_TRADE, (), "", "Who founded Port Amber?"),
        (_EEL, (), "", "Who was the captain of the Silver Eel?"),
    ),
    "identification": ((_TRADE, _TRADE_SAID, "", "Ada Moss"), (_EEL, _EEL_SAID, "", "Jon Varley")),
    "answering": (
        (_TRADE, _TRADE_SAID, "Ada Moss", "What was the trade of Ada Moss?"),
        (_EEL, _EEL_SAID, "Jon Varley", "When was Jon Varley born?"),
    ),
    "synthesis": (
        (_TRADE, (*_TRADE_SAID, ("What was the trade of Ada Moss?", "glass blower")), "Ada Moss", "glass blower"),
        (_EEL, (*_EEL_SAID, ("When was Jon Varley born?", "1702")), "Jon Varley", "1702"),
    ),
}
"""By stage: question, what the memory said, the entity, and the reply."""

KEYS = {"grounding": "question", "identification": "answer", "answering": "question", "synthesis": "answer"}

OPENINGS = ("Who", "What", "When", "Where", "Which", "How many")
HELPERS = ("was", "is", "were", "did", "the", "a", "of", "in", "name", "year", "born", "made", "called", "do")
"""Words that a question may always use, beside those of the question and the entity."""


MOST_WORDS = 100
"""Words of a question and an entity that a reply may use: each is an alternative of the engine's grammar."""


def messages(state: State) -> tuple[Message, ...]:
    """The executive's prompt for the turn that `state` is in."""
    stage = state.stage
    turns: list[Message] = [{"role": "system", "content": INSTRUCTIONS[stage]}]
    for question, said, entity, reply in EXAMPLES[stage]:
        turns.append({"role": "user", "content": shown(question, said, entity)})
        turns.append({"role": "assistant", "content": json.dumps({KEYS[stage]: reply})})
    said = tuple((item.question, item.answer) for item in heard(state))
    turns.append({"role": "user", "content": shown(state.question, said, state.entity)})
    return tuple(turns)


def shown(question: str, said: tuple[tuple[str, str], ...], entity: str) -> str:
    """A question with what is known, on lines of their own. Text of users and models is quoted."""
    lines = [f"Question: {one_line(question)}"]
    lines += [f"{one_line(asked)} - {one_line(answer)}" for asked, answer in said]
    if entity:
        lines.append(f"About: {one_line(entity)}")
    return "\n".join(lines)


def one_line(text: str) -> str:
    """Quoted text without line breaks."""
    return " ".join(quote(text).split())


def heard(state: State) -> tuple[Evidence, ...]:
    """The memory's answers that are shown, without those that say "I don't know"."""
    return usable(state) if state.stage == "synthesis" else tuple(item for item in state.evidence if not item.unsure)


def schema(state: State) -> Schema:
    """The schema of the reply: one question, or one of the memory's answers."""
    if KEYS[state.stage] == "question":
        return record(question={"type": "string", "pattern": question_pattern(state)})
    answers = dict.fromkeys(item.answer for item in heard(state))
    return record(answer={"type": "string", "enum": list(answers) or [UNKNOWN]})


def question_pattern(state: State) -> str:
    """A question out of words that were shown, so that none is invented. No repeat counts: xgrammar has none."""
    words = [word.strip(",;:.?!\"'()") for word in f"{state.question} {state.entity}".split()]
    known = dict.fromkeys([*words[:MOST_WORDS], *HELPERS])
    # A grammar inside a JSON string knows neither quotes nor backslashes.
    plain = [word for word in known if word and not re.search(r'["\\]', word)]
    longest_first = sorted(map(escaped, plain), key=lambda word: (-len(word), word))
    return rf"^({'|'.join(OPENINGS)})( ({'|'.join(longest_first)}))+\?$"


def escaped(text: str) -> str:
    """`text` for a regular expression that both Python and the engines' grammars read alike."""
    return re.sub(r"([.^$*+?{}\[\]|()])", r"\\\1", text)


def expand(state: State, value: dict[str, Any]) -> dict[str, Any]:
    """The stage's full reply out of a short one."""
    said = str(value[KEYS[state.stage]])
    numbers = [item.number for item in heard(state) if item.answer == said]
    if state.stage == "grounding":
        return {"questions": [state.question] if key(said) == key(state.question) else [state.question, said]}
    if state.stage == "identification":
        candidate = {"name": said, "rank": 1, "for": numbers, "against": []}
        return {
            "findings": [], "facts": [], "candidates": [candidate] if numbers else [], "confirmed": "",
            "decision": "exhaust", "questions": [],
        }  # fmt: skip
    if state.stage == "answering":
        return {"role": "subject", "labels": [], "facts": [], "entity": "", "decision": "continue", "questions": [said]}
    asked = next((item.question for item in heard(state) if item.number in numbers), "")
    because = f"To “{asked}” the memory answered “{said}”." if asked else "The memory knew nothing of this."
    return {"justification": because, "evidence": numbers, "answer": said}


def digest() -> str:
    """Sixteen hexadecimal digits that change when the wording of a prompt does."""
    return content_id(repr((INSTRUCTIONS, EXAMPLES, KEYS, OPENINGS, HELPERS)))
