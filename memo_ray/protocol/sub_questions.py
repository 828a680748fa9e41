"""What happens to the sub-questions of one interaction: which are put to the memory, and how its answers are kept.

Each is put alone, without the others' context. A dead end (Table 15) is not put again: it is answered here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from memo_ray.protocol.abstention import UNKNOWN, is_unsure, memory_messages
from memo_ray.protocol.candidates import aimed_at, judge
from memo_ray.protocol.executive import STAGES
from memo_ray.protocol.quoting import blank, clean, key, quote
from memo_ray.protocol.stage import add_facts, emit
from memo_ray.protocol.state import Ask, Emit, Evidence, State, SubQuestion, Waiting

LONGEST = 500
"""Characters of a sub-question; the schema asks for far fewer."""

DEAD_END = "dead end"


@dataclass(frozen=True, slots=True)
class Selection:
    """Sub-questions with their ids, dead ends answered, and those dropped with the reason."""

    waiting: tuple[Waiting, ...]
    dropped: tuple[tuple[str, str], ...]


def dead_ends(state: State) -> frozenset[str]:
    """The keys of the sub-questions that the memory has answered "I don't know" `dead_end_after` times."""
    counts = Counter(key(item.question) for item in state.evidence if item.unsure)
    return frozenset(question for question, count in counts.items() if count >= state.config.dead_end_after)


def select(state: State, questions: Iterable[SubQuestion]) -> Selection:
    """Which of a reply's sub-questions count: not empty, not too long, each once, at most `max_sub_questions`."""
    dead = dead_ends(state)
    waiting: dict[str, Waiting] = {}
    dropped: list[tuple[str, str]] = []
    for row in questions:
        question = replace(row, question=clean(row.question))
        same = key(question.question)
        if reason := why_dropped(question.question, same in waiting, len(waiting), state.config.max_sub_questions):
            dropped.append((clean(question.question, LONGEST), reason))
            continue
        answer, note = (UNKNOWN, DEAD_END) if same in dead else (None, "")
        ask_id = f"{state.stage}-{state.turn:03d}.m{len(waiting) + 1:03d}"
        waiting[same] = Waiting(ask_id, "memory", question, answer, note)
    return Selection(tuple(waiting.values()), tuple(dropped))


def why_dropped(question: str, repeated: bool, selected: int, limit: int) -> str:
    """Why a sub-question is not put, or an empty string."""
    if blank(question):
        return "empty"
    if len(question) > LONGEST:
        return "too long"
    if repeated:
        return "asked twice in one turn"
    return "more than max_sub_questions" if selected == limit else ""


def memory_asks(state: State, selection: Selection) -> tuple[Ask, ...]:
    """One Ask for each selected sub-question that is no dead end."""
    return tuple(
        Ask(
            id=item.id,
            to="memory",
            messages=memory_messages(item.question.question, state.config.abstention_instruction),
            temperature=STAGES[state.stage].settings(state.config).memory_temperature,
            top_p=1.0,
            max_tokens=state.config.memory_max_tokens,
        )
        for item in selection.waiting
        if item.answer is None
    )


def select_emits(state: State, selection: Selection) -> tuple[Emit, ...]:
    """The stage events of a selection: what is dropped and what is asked."""
    rows = [(item.id, item.question) for item in selection.waiting]
    asked = [{"id": ask_id, "question": row.question, "about": row.about} for ask_id, row in rows]
    dropped = (emit(state, "dropped", question=text, reason=reason) for text, reason in selection.dropped)
    return (*dropped, emit(state, "asked", questions=asked))


def gather(state: State) -> tuple[State, tuple[Emit, ...]]:
    """Turn the answers that have arrived into evidence, in the order of ids, and clear `waiting`.

    In Stage 2 the candidates' streaks are counted and both limits applied.
    """
    answered = [item for item in state.waiting if item.answer is not None]
    if not answered:
        return replace(state, waiting=()), ()
    first = len(state.evidence) + 1
    fresh = tuple(evidence_of(state, item, number) for number, item in enumerate(answered, first))
    state = replace(state, waiting=(), evidence=(*state.evidence, *fresh))
    state = add_facts(state, unsure=sum(item.unsure and item.note != DEAD_END for item in fresh))
    dead = dead_ends(state)
    heading = f"{state.stage.capitalize()}, turn {state.turn}:"
    lines = [heading, *(evidence_line(item, key(item.question) in dead) for item in fresh)]
    emits = [emit(state, "answer", **answer_data(item)) for item in fresh]
    if state.stage == "identification":
        questions = [item.question for item in answered]
        state, judged, noted = count_streaks(state, zip(questions, fresh, strict=True))
        lines, emits = [*lines, *judged], [*emits, *noted]
    return replace(state, log=(*state.log, *lines)), tuple(emits)


def count_streaks(state: State, answers: Iterable[tuple[SubQuestion, Evidence]]) -> tuple[State, list[str], list[Emit]]:
    """The candidates after a turn's uncertain answers, with the log's lines and the stage events for it."""
    unsure = [
        name
        for question, item in answers
        if item.unsure and item.note != DEAD_END
        for name in aimed_at(question, state.candidates)
    ]
    verdict = judge(state.candidates, state.tallies, unsure, state.config)
    moved, struck = verdict.demoted, verdict.struck
    lines = [f"Moved down two ranks: {quote(name)}" for name in moved]
    lines += [f"Struck off: {quote(name)}" for name in struck]
    emits = [emit(state, "demoted", name=name) for name in moved]
    emits += [emit(state, "struck", name=name) for name in struck]
    return replace(state, candidates=verdict.candidates, tallies=verdict.tallies), lines, emits


def evidence_of(state: State, item: Waiting, number: int) -> Evidence:
    """A sub-question and its answer as evidence."""
    answer = clean(item.answer or "")
    unsure = is_unsure(answer)
    return Evidence(
        number,
        item.id,
        state.stage,
        state.turn,
        item.question.question,
        UNKNOWN if unsure else answer,
        unsure,
        item.note,
    )


def evidence_line(item: Evidence, dead: bool) -> str:
    """`[3] Q: ... A: ...`, as the executive reads it."""
    mark = " (dead end: do not ask this again, nor in other words)" if item.unsure and dead else ""
    return f"[{item.number}] Q: {quote(item.question)} A: {quote(item.answer)}{mark}"


def answer_data(item: Evidence) -> dict[str, str | int | bool]:
    """Evidence as a stage event shows it."""
    return {
        "number": item.number,
        "id": item.id,
        "question": item.question,
        "answer": item.answer,
        "unsure": item.unsure,
        "note": item.note,
    }
