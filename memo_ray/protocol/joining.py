"""The memory's answers of one turn become evidence: joined in the order of the sub-questions, streaks counted.

Where a sub-question was put in several wordings the most frequent answer counts; where several memories were asked,
each that knows something gives its own evidence; where none knew and passages were found, those stand in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from memo_ray.protocol.abstention import UNKNOWN, is_unsure
from memo_ray.protocol.candidates import aimed_at, judge
from memo_ray.protocol.evidence import DEAD_END, RETRIEVED, answer_data, evidence_line
from memo_ray.protocol.quoting import clean, key, quote
from memo_ray.protocol.stage import add_facts, emit
from memo_ray.protocol.state import Emit, Evidence, Passage, State, SubQuestion, Waiting
from memo_ray.protocol.sub_questions import dead_ends


def gather(state: State) -> tuple[State, tuple[Emit, ...]]:
    """Turn the answers that have arrived into evidence, in the order of the sub-questions, and clear `waiting`.

    In Stage 2 the candidates' streaks are counted and both limits applied.
    """
    pairs = [
        (items[0].question, item)
        for items in answered_places(state)
        for item in evidence_of(state, items, found_for(state, items[0].place))
    ]
    if not pairs:
        return replace(state, waiting=()), ()
    first = len(state.evidence) + 1
    fresh = tuple(replace(item, number=number) for number, (_, item) in enumerate(pairs, first))
    state = replace(state, waiting=(), evidence=(*state.evidence, *fresh))
    state = add_facts(state, unsure=sum(item.unsure and item.note != DEAD_END for item in fresh))
    dead = dead_ends(state)
    heading = f"{state.stage.capitalize()}, turn {state.turn}:"
    lines = [heading, *(evidence_line(item, key(item.question) in dead) for item in fresh)]
    emits = [emit(state, "answer", **answer_data(item)) for item in fresh]
    if state.stage == "identification":
        questions = [question for question, _ in pairs]
        state, judged, noted = count_streaks(state, zip(questions, fresh, strict=True))
        lines, emits = [*lines, *judged], [*emits, *noted]
    return replace(state, log=(*state.log, *lines)), tuple(emits)


def answered_places(state: State) -> list[list[Waiting]]:
    """The memories' answers that have arrived, sub-question by sub-question."""
    places: dict[int, list[Waiting]] = {}
    for item in state.waiting:
        if item.to == "memory" and item.answer is not None:
            places.setdefault(item.place, []).append(item)
    return [places[place] for place in sorted(places)]


def found_for(state: State, place: int) -> tuple[Passage, ...]:
    """The passages retrieved for a sub-question, cut to their longest length."""
    limit = state.config.hybrid.passage_chars if state.config.hybrid else 0
    found = (item.passages for item in state.waiting if item.to == "retriever" and item.place == place)
    return tuple(
        replace(passage, text=passage.text[:limit], end=min(passage.end, passage.start + limit))
        for passages in found
        for passage in passages
        if passage.text.strip()
    )


def evidence_of(state: State, items: list[Waiting], passages: tuple[Passage, ...]) -> list[Evidence]:
    """A sub-question's evidence, not yet numbered: one for each memory that knows something, else the passages,
    else one "I don't know"."""
    by_memory: dict[str, list[Waiting]] = {}
    for item in items:
        by_memory.setdefault(item.memory, []).append(item)
    said = [majority(state, group) for group in by_memory.values()]
    if certain := [item for item in said if not item.unsure]:
        return certain
    unsure = next((item for item in said if item.note), said[0])
    if passages:
        answer = " … ".join(clean(passage.text) for passage in passages)
        return [replace(unsure, answer=answer, unsure=False, note=RETRIEVED, passages=passages)]
    return [unsure]


def majority(state: State, items: list[Waiting]) -> Evidence:
    """One memory's most frequent answer over the wordings it was asked in; on a tie that to the earliest wording.

    "I don't know" is an answer like any other here. What is kept is the answer in its first form.
    """
    votes: dict[str, list[Waiting]] = {}
    for item in items:
        answer = clean(item.answer or "")
        votes.setdefault("" if is_unsure(answer) else key(answer), []).append(item)
    won = max(votes.values(), key=len)
    answer = clean(won[0].answer or "")
    unsure = is_unsure(answer)
    question = items[0].question.question
    return Evidence(
        number=0,
        id=items[0].id,
        stage=state.stage,
        turn=state.turn,
        question=question,
        answer=UNKNOWN if unsure else answer,
        unsure=unsure,
        note=next((item.note for item in won if item.note), ""),
        memory=won[0].speaker or items[0].memory,
        agreement=f"{len(won)} of {len(items)}" if len(items) > 1 else "",
    )


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
