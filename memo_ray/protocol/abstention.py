"""How the memory is asked, and when its answer counts as "I don't know".

The memory is trained on bare questions (one user message). The instruction to abstain is therefore a system
message: the user turn stays, token for token, the one it was trained on.
"""

from __future__ import annotations

import re
import unicodedata

from memo_ray.models.chat import Message
from memo_ray.protocol.prompts import fill
from memo_ray.protocol.quoting import clean, quote

UNKNOWN = "I don't know"
"""How an unsure answer is shown to the executive, whatever its wording."""

FILLER = (
    r"(?:(?:sorry|unfortunately|apologies|well|hmm|um|i(?: a)?m (?:sorry|afraid)|but|that|honestly|to be honest) )*"
)
# Each is matched at the beginning of an answer, after filler, with apostrophes and punctuation removed.
OPENINGS = (
    r"(?:i )?(?:really |simply |just )?(?:do not|dont) (?:really |actually )?(?:know|remember|recall)\b",
    r"i (?:did not|didnt) (?:know|find|learn)\b",
    r"(?:i )?have no (?:idea|clue|information|knowledge|answer)\b",
    r"(?:i )?(?:do not|dont) have (?:any |enough |sufficient |the |an )?(?:information|knowledge|idea|answer|data)\b",
    r"no (?:idea|clue|information)\b",
    r"(?:(?:i am|im) )?not (?:entirely |quite |completely |really |at all |so |too )?(?:sure|certain)\b",
    r"(?:i am|im) (?:not (?:\w+ )?(?:confident|aware|familiar)|unsure|uncertain|unaware)\b",
    r"(?:i )?(?:cannot|can not|cant|(?:i am |im )?unable to) (?:be )?"
    r"(?:say|tell|answer|answered|determine|determined|confirm|provide|sure)\b",
    r"i (?:cannot|can not|cant|could not|couldnt|am unable to) (?:find|recall|remember|identify|determine)\b",
    r"(?:it|that|this|the answer) (?:cannot|can not|cant|could not) be (?:determined|answered|known|established)\b",
    r"(?:it|that|this|the answer) is (?:unknown|unclear)\b",
    r"(?:it|that|this|the answer) (?:is not|isnt) (?:known|clear|specified|stated|mentioned|given|provided)\b",
    r"there is (?:no|not enough|insufficient) (?:\w+ )?(?:information|data|evidence|record|mention)\b",
    r"(?:the|my) (?:\w+ )?(?:text|passage|documents?|context|information|memory|knowledge) "
    r"(?:does not|do not|doesnt|dont) (?:say|tell|mention|specify|state|contain|include|provide)\b",
    r"(?:insufficient|not enough) (?:information|data|knowledge|evidence)\b",
)
WHOLE = frozenset(
    {
        "", "unknown", "unsure", "uncertain", "idk", "dunno", "n a", "na", "null", "no answer", "no data", "not known",
        "not specified", "not mentioned", "not stated", "not available", "not applicable", "undetermined", "unclear",
    }
)  # fmt: skip
ABSTAINS = re.compile(f"{FILLER}(?:{'|'.join(OPENINGS)})")
APOSTROPHES = re.compile("['’‘ʼ`´′＇]")
OTHER = re.compile(r"[^\w\s]|_")


def is_unsure(answer: str) -> bool:
    """Whether an answer of the memory says that it does not know, or says nothing.

    An answer is unsure when it is empty or opens with such words, even if a guess follows: the memory was told
    to answer only when highly confident. The words inside a sentence about someone else do not count.
    """
    text = unicodedata.normalize("NFKC", APOSTROPHES.sub("", clean(answer))).casefold()
    words = " ".join(OTHER.sub(" ", text).split())
    return words in WHOLE or ABSTAINS.match(words) is not None


def memory_messages(question: str, instructed: bool) -> tuple[Message, ...]:
    """The sub-question alone; with `instructed`, after a system message that asks the memory to abstain."""
    asked: Message = {"role": "user", "content": quote(question)}
    if not instructed:
        return (asked,)
    return ({"role": "system", "content": fill("abstention")}, asked)
