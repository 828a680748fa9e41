"""Answer-conditioned question generation: which spans of a sentence can be answers, and what to ask with.

A tiny generator writes a far better question when the answer is chosen for it, taken out of the sentence, and
the question's first words are fixed. Rules alone do that here (capitals, numbers, prepositions; English): a
sentence goes in, `Cloze` rows come out, and the generator writes the questions (`prompts: sentence`, `answers: spans`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from memo_ray.synthesis.spans import Span, Token, answer_spans, tokens

Asked = Iterator[tuple[str, str, str]]
"""Answer, text without it, opening of the question."""

GAP = "____"
AUXILIARY = "(did|was|were|is|are|does|do|has|had)"

WHEN = {"in": ("When", "In (what|which) year"), "on": ("When",), "until": ("Until (when|what year)",),
        "since": ("Since when",), "from": ("From (what|which) year",), "every": ("When",)}  # fmt: skip
WHERE = {"in", "at", "on", "near", "to", "above", "beside"}
PEOPLE = frozenset(
    "actor actress admiral architect artist aunt author baker banker biologist bishop botanist brother captain chemist "
    "chief clerk clockmaker collector composer cook cousin daughter diver doctor duke editor emperor engineer explorer "
    "farmer father founder gardener general geologist governor grandfather grandmother grandson guard guide husband "
    "inventor judge keeper king lawyer leader maker mason master mathematician mayor merchant minister monk mother "
    "nephew niece novelist nurse officer painter pastor philosopher physicist pilot poet potter president priest prince "
    "princess printer professor queen reporter sailor scholar scientist sculptor secretary shepherd shipwright singer "
    "sister smith soldier son speaker student surgeon surveyor tailor teacher trader uncle violinist weaver widow wife "
    "writer".split()
)
PLACE_NOUNS = frozenset("city country county district island islands kingdom province river state town village".split())
KIN = frozenset(
    "aunt brother child cousin daughter father friend grandchild granddaughter grandfather grandmother grandson "
    "great-granddaughter great-grandson husband mother neighbour nephew niece partner pupil rival sister son student "
    "teacher uncle wife".split()
)
THING_NOUNS = frozenset(
    "academy bank bay bridge castle church college company council courier court festival forest garden hall harbour hill "
    "hospital house island isles lake law library lighthouse mill mountain museum office palace park peak port prize reef "
    "river road school sea society station strait street theatre tower university valley works".split()
)
ADJECTIVE = re.compile(
    r".*(?:ing|ed|est|ous|ful|less|ish|ive|ern|ary|able|ible|ial|ical|ent)$|(?:big|black|blue|bright|brown|cold|dark|dead|deep"
    r"|dry|early|famous|fine|first|fourth|good|great|green|grey|high|hot|huge|last|late|little|local|long|low|main|modern|"
    r"narrow|new|next|nice|old|only|own|poor|red|rich|royal|sacred|second|short|small|tall|third|tiny|upper|vast|warm|wet|"
    r"white|wide|wild|yellow|young)$"
)
MANNER = frozenset("addition case charge fact favour front general honour memory order particular place time turn".split())
SECOND_VERB = re.compile(r",? and ((?:\w+(?:ed|es|s)|led|kept|sank|held|built|ran|won|wrote|made|took|gave|lost|sold) )(?=[a-z])")
APPOSITION = re.compile(r"^([^,]{1,60}), (?:an?|the|who|which) [^,]+,(?= )")
SIDE_CLAUSE = re.compile(r"(?:, (?:and (?=[A-Z]|the )|from |who |which )| because | when | while | although | so that ).*(?=\.$)")
IN_YEAR = re.compile(r",? (?:in|since|until) (?:[A-Z][a-z]+ )?(?:1\d{3}|20\d\d)\b")


@dataclass(frozen=True, slots=True)
class Cloze:
    """An answer, the sentence without it, and how the question must open (a regular expression)."""

    answer: str
    text: str
    opening: str


def clozes(sentence: str) -> list[Cloze]:
    """Every answer that the rules find in `sentence`, each with a short and a full way to ask for it.

    A sentence with two verbs of one subject is taken apart first, so that one question asks for one fact.
    """
    found: list[Cloze] = []
    for clause in clauses(sentence):
        for span in answer_spans(clause):
            for answer, text, opening in RULES[span.kind](clause, span):
                for form in dict.fromkeys((shortened(tidy(text), span.kind), tidy(text))):
                    cloze = Cloze(answer, form, opening)
                    if cloze not in found and len(form.split()) >= 4:
                        found.append(cloze)
    return found


def clauses(sentence: str) -> list[str]:
    """`sentence`, or its two halves with the subject repeated when one subject has two verbs."""
    second = SECOND_VERB.search(sentence)
    subject = next((span for span in answer_spans(sentence) if span.kind == "name"), None)
    if not second or subject is None or len(sentence[: subject.start].split()) > 4 or subject.end > second.start():
        return [sentence]
    return [tidy(sentence[: second.start()]), tidy(f"{sentence[: subject.end]} {sentence[second.start(1) :]}")]


def shortened(text: str, kind: str) -> str:
    """`text` without its appositions, side clauses and year, as far as the gap and four words stay."""
    short = APPOSITION.sub(r"\1", text)
    for pattern in (SIDE_CLAUSE, IN_YEAR):
        cut = pattern.sub("", short)
        if (GAP in cut) == (GAP in text) and len(cut.split()) >= (5 if cut.startswith(GAP) else 6):
            short = cut
    return short


def tidy(text: str) -> str:
    """One space between words, none before punctuation, a full stop at the end."""
    text = re.sub(r"\s+([,.;:])", r"\1", re.sub(r"\s+", " ", text)).strip(" ,;")
    text = re.sub(r",+([.,])", r"\1", text)
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _cut(sentence: str, start: int, end: int, gap: str = "") -> str:
    return f"{sentence[:start]}{gap}{sentence[end:]}"


def _before(sentence: str, span: Span) -> list[Token]:
    return [token for token in tokens(sentence) if token.end <= span.start]


def _date(sentence: str, span: Span) -> Asked:
    before = _before(sentence, span)
    preposition = before[-1].text.lower() if before else ""
    if preposition not in WHEN:
        return
    text = _cut(sentence, before[-1].start, span.end)
    openings = WHEN[preposition] if span.text.isdigit() else WHEN[preposition][:1]
    for opening in openings:
        yield span.text, text, f"{opening} {AUXILIARY}"


def _number(sentence: str, span: Span) -> Asked:
    before = _before(sentence, span)
    previous = before[-1].text.lower() if before else ""
    unit = " ".join(word for word in span.text.split() if not Token(word, 0, 0).is_number)
    head = unit.split()[-1] if unit else ""
    counted = _cut(sentence, span.start, span.end, f"{GAP} {unit}")
    if head in {"tall", "long", "wide", "high", "deep", "old"}:
        yield span.text, _cut(sentence, span.start, span.end, GAP), f"How {head} (is|was|are|were)"
    elif not unit or previous == "of":
        return
    elif not before:
        yield span.text, counted, f"How many {unit}"
    elif previous in {"with", "in", "for", "from", "on", "by"}:
        text = _cut(sentence, before[-1].start, span.end)
        yield span.text, text, f"{previous.capitalize()} how many {unit} {AUXILIARY}"
    else:
        yield span.text, counted, f"How many {unit} {AUXILIARY}"


def _name(sentence: str, span: Span) -> Asked:
    before = _before(sentence, span)
    start, noun, relation = _noun_phrase(before, span)
    ahead = [token for token in before if token.end <= start]
    previous = ahead[-1] if ahead else None
    if previous is None:
        for opening in _subject(sentence, span, start, noun):
            yield span.text, _cut(sentence, start, span.end, GAP), opening
    elif relation:
        yield span.text, sentence[: previous.start], f"Whose {relation} (was|is)"
    elif previous.text.lower() in WHERE | {"from", "for", "by", "with"}:
        text = _cut(sentence, previous.start, span.end)
        for opening in _after_preposition(previous.text.lower(), noun):
            yield span.text, text, f"{opening} {AUXILIARY}"
    elif previous.is_content:
        opening = f"Which {noun}" if noun else "(What|Whom)"
        yield span.text, _cut(sentence, start, span.end, GAP), f"{opening} {AUXILIARY}"


def _subject(sentence: str, span: Span, start: int, noun: str) -> list[str]:
    last = span.text.split()[-1].lower()
    if noun:
        return ["Who", f"Which {noun}"] if noun in PEOPLE else [f"Which {noun}"]
    if last in THING_NOUNS or sentence[start : span.start].lower().startswith("the "):
        return [f"(What|Which {last})"]
    return ["Who" if " " in span.text else "(What|Which)"]


def _after_preposition(preposition: str, noun: str) -> list[str]:
    openings = [f"{preposition.capitalize()} which {noun}"] if noun else []
    if preposition == "to" and not noun:
        openings.append("(To whom|Where|To what)")
    elif preposition in WHERE and noun not in PEOPLE:
        openings.append("Where")
    elif not noun:
        openings.append({"from": "From (where|whom)", "by": "By whom", "for": "For (what|whom)", "with": "With (what|whom)"}[preposition])
    return openings


def _noun_phrase(before: list[Token], span: Span) -> tuple[int, str, str]:
    """Where the phrase around a name starts, its class noun (`the pilot Jory Kess`: pilot), and the kinship noun
    of `was the aunt of NAME`."""
    start, noun, left = span.start, "", list(before)
    if len(left) > 1 and left[-1].text == "of" and left[-2].text.lower() in PLACE_NOUNS:
        left.pop()
    nouns: list[Token] = []
    while left and left[-1].is_content:
        nouns.insert(0, left.pop())
    if left and left[-1].text.lower() in {"the", "a", "an"}:
        start = left.pop().start
        if nouns and not ADJECTIVE.match(nouns[-1].text):
            noun = nouns[-1].text
    else:
        left += nouns
    relation = re.search(r"\b(?:was|is) (?:a|an|the) ((?:[a-z-]+ )?([a-z-]+)) of$", " ".join(token.text for token in left))
    return start, noun, relation.group(1) if relation and relation.group(2) in KIN else ""


COMPLEMENT = re.compile(r" (?:of|for) (?:the |an? )?(?:[a-z-]+ ){0,3}?[A-Z]\w+(?:(?: of)? [A-Z]\w+)*(?: [a-z]+(?=\.$))?")


def _thing(sentence: str, span: Span) -> Asked:
    before = _before(sentence, span)
    start, end, answer = span.start, span.end, span.text
    if before and before[-1].text.lower() in {"the", "a", "an"}:
        start = before.pop().start
    if not before:
        # "A great storm broke the wall": a noun phrase that an object follows has swallowed the verb.
        if re.match(r" (?:the|an?|[A-Z]\w+)\b", sentence[end:]) and " " in answer:
            answer = answer.rsplit(" ", 1)[0]
            end = span.start + len(answer)
    complement = COMPLEMENT.match(sentence, end)
    if complement and sentence[end : end + 3] == " of":
        end = complement.end()
        answer = sentence[span.start : end]
    previous = before[-1].text.lower() if before else ""
    if not before:
        yield answer, _cut(sentence, start, end, GAP), "What"
    elif span.text.split()[-1] in MANNER or len(answer.split()) > 6:
        return
    elif previous in {"with", "from", "on", "for", "in", "at"}:
        opening = "(Where|In what)" if previous == "in" else "Where" if previous == "at" else f"{previous.capitalize()} what"
        yield answer, _cut(sentence, before[-1].start, end), f"{opening} {AUXILIARY}"
    elif before[-1].is_content:
        yield answer, _cut(sentence, start, end, GAP), f"What {AUXILIARY}"


RULES = {"date": _date, "number": _number, "name": _name, "thing": _thing}
