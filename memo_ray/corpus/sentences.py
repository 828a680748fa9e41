"""Splits prose into sentences by rules: a text in, character offsets out. Plain Python, no model.

Written for English; other languages work as far as they end sentences with `. ! ? … 。 ！ ？ । ؟`. Short quotations
and brackets stay in one piece, since half a quotation is no sentence to ask a question about.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from itertools import pairwise

# Always followed by more of the same sentence: titles before a name, and openings of an example.
NEVER_LAST = frozenset(
    "mr mrs ms mx dr prof st messrs mme mlle capt col gen lt maj sgt cmdr adm rev hon gov sen rep pres supt "
    "vs viz e.g i.e cf approx ca mt".split()
)
# Abbreviations only before a number: "No. 5" goes on, "He said no. Then" does not.
BEFORE_NUMBER = frozenset(
    "no nos vol vols fig figs p pp ch sec art eq par op jan feb mar apr jun jul aug sep sept oct nov dec".split()
)
# May end a sentence; they do when the next word is one that opens sentences.
PERHAPS_LAST = frozenset("jr sr inc ltd co corp bros etc al esq ave blvd rd dept est ft a.m p.m b.c a.d ph.d".split())
OPENERS = frozenset(
    "a an the this that these those he she it they we you i his her its their our your my there here then when "
    "while after before in on at for from with by as if but and or so yet however although though since because "
    "during until once one some many most all both each every no not what who where why how today later".split()
)
ENDER = re.compile(r"(?:[.!?…؟।]+[\"'”’»)\]]*(?=\s|$)|[。！？][”」』）]*)")
PARAGRAPH = re.compile(r"\n[ \t]*\n\s*")
# A heading, list item or table row of Markdown is a line of its own, with or without a full stop.
MARKED_LINE = re.compile(r"^[ \t]*(?:#{1,6}[ \t]|[-*+][ \t]|\d{1,3}[.)][ \t]|\|).*$", re.MULTILINE)
# A straight mark opens before and closes after a word; else one long quotation would pair up all later ones wrongly.
PROTECTED = re.compile(
    r'(?<![\w.,!?;:…])"(?=\S)[^"]{1,300}(?<=\S)"(?!\w)|“[^“”]{1,300}”|«[^«»]{1,300}»|「[^「」]{1,300}」|\([^()]{1,300}\)'
)
SPEECH = re.compile(
    r"\s+(?:[\w'’-]+\s+){1,4}?(?:said|says|asked|asks|cried|replied|answered|called|shouted|whispered|exclaimed)\b"
)
LAST_WORD = re.compile(r"[^\s\"'“”‘’«»()\[\]—–]+$")
NEXT_WORD = re.compile(r"\s*[\"'“‘«(\[]*([^\W_]+)(\.?)")


def split_sentences(text: str) -> list[tuple[int, int]]:
    """Start and end (exclusive) of each sentence, in order, without overlap.

    Every character that is not white space lies in exactly one of them, and none starts or ends with white
    space. Blank lines always separate sentences; a single line break does not. Headings and list items come out
    as spans of their own, so a caller that wants prose can ask for a closing full stop.
    """
    spans: list[tuple[int, int]] = []
    for start, end in _blocks(text):
        block = text[start:end]
        previous = 0
        for cut in _cuts(block):
            spans.append(_trim(text, start + previous, start + cut))
            previous = cut
        spans.append(_trim(text, start + previous, end))
    return [(start, end) for start, end in spans if start < end]


def _blocks(text: str) -> list[tuple[int, int]]:
    """Paragraphs, further cut at marked lines. A marked line's continuation lines form the next block."""
    edges = {0, len(text)}
    for gap in PARAGRAPH.finditer(text):
        edges.update(gap.span())
    for line in MARKED_LINE.finditer(text):
        edges.update(line.span())
    ordered = sorted(edges)
    return list(pairwise(ordered))


def _cuts(block: str) -> list[int]:
    """The offsets in `block` after which a new sentence starts."""
    protected = [match.span() for match in PROTECTED.finditer(block)]
    starts = [start for start, _ in protected]
    cuts = []
    for ender in ENDER.finditer(block):
        inside = bisect_right(starts, ender.start()) - 1
        if inside >= 0 and ender.end() < protected[inside][1]:
            continue
        if _ends_sentence(block, ender):
            cuts.append(ender.end())
    return cuts


def _ends_sentence(block: str, ender: re.Match[str]) -> bool:
    rest = block[ender.end() : ender.end() + 80]
    if not rest.strip():
        return False  # The block's end closes it anyway.
    mark = ender.group()
    if mark[0] in "。！？":
        return True
    following = NEXT_WORD.match(rest)
    if following and following[1][0].islower():
        return False
    if mark[-1] in "\"'”’»" and mark[0] in "!?…" and SPEECH.match(rest):
        return False  # "Who is there?" the miller asked.
    if mark != ".":
        return True
    return not _abbreviated(block[max(0, ender.start() - 40) : ender.start()], ender.start() <= 40, following)


def _abbreviated(before: str, whole: bool, following: re.Match[str] | None) -> bool:
    """Whether the full stop after `before` belongs to an abbreviation, an initial or a list number.

    `whole`: `before` reaches back to the block's start. `following`: the next word, and a full stop after it.
    """
    found = LAST_WORD.search(before)
    if not found:
        return False
    word, opens_block = found.group(), whole and not before[: found.start()].strip()
    lower = word.lower()
    next_word = following[1] if following else ""
    # "J. A. Smith": the A is an initial, not an article.
    next_opens = bool(following) and next_word.lower() in OPENERS and not (len(next_word) == 1 and following[2])
    if lower in NEVER_LAST:
        return not (lower == "st" and next_opens)
    if lower in BEFORE_NUMBER:
        return next_word[:1].isdigit()
    if lower in PERHAPS_LAST or re.fullmatch(r"(?:[^\W\d_]\.)+[^\W\d_]", word):
        return not next_opens
    if len(word) == 1 and word.isalpha() and word.isupper():
        return not next_opens
    return opens_block and word.isdigit()


def _trim(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
