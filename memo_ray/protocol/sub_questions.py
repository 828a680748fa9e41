"""What happens to the sub-questions of one interaction: which are put to the memory, in which words, and in what order.

Each is put alone, without the others' context. A dead end (Table 15) is not put again: it is answered here. Beyond
the paper, a sub-question may go to several memories or to those that a router chooses, be put in several wordings,
and be looked up in the documents when no memory knows it. `joining.py` makes evidence of what comes back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from memo_ray.protocol.abstention import UNKNOWN, is_unsure, memory_messages
from memo_ray.protocol.evidence import DEAD_END
from memo_ray.protocol.executive import STAGES
from memo_ray.protocol.quoting import blank, clean, key, quote
from memo_ray.protocol.routing import ANY
from memo_ray.protocol.stage import add_facts, emit
from memo_ray.protocol.state import (
    Answered,
    Ask,
    Effects,
    Emit,
    Failed,
    Retrieve,
    Retrieved,
    State,
    SubQuestion,
    Waiting,
)

LONGEST = 500
"""Characters of a sub-question; the schema asks for far fewer."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Sub-questions with their ids, dead ends answered, and those dropped with the reason."""

    waiting: tuple[Waiting, ...]
    dropped: tuple[tuple[str, str], ...]


def dead_ends(state: State) -> frozenset[str]:
    """The keys of the sub-questions that the memory has answered "I don't know" `dead_end_after` times.

    The baselines have none: dead ends belong to the structured protocol (Table 15).
    """
    if state.config.kind != "three_stage":
        return frozenset()
    counts = Counter(key(item.question) for item in state.evidence if item.unsure)
    return frozenset(question for question, count in counts.items() if count >= state.config.dead_end_after)


def select(state: State, questions: Iterable[SubQuestion]) -> Selection:
    """Which of a reply's sub-questions count: not empty, not too long, each once, at most `max_sub_questions`."""
    dead = dead_ends(state)
    chosen: dict[str, tuple[Waiting, ...]] = {}
    dropped: list[tuple[str, str]] = []
    for row in questions:
        question = replace(row, question=clean(row.question))
        same = key(question.question)
        if reason := why_dropped(question.question, same in chosen, len(chosen), state.config.max_sub_questions):
            dropped.append((clean(question.question, LONGEST), reason))
            continue
        chosen[same] = to_memories(state, question, len(chosen) + 1, same in dead)
    return Selection(tuple(item for items in chosen.values() for item in items), tuple(dropped))


def why_dropped(question: str, repeated: bool, selected: int, limit: int) -> str:
    """Why a sub-question is not put, or an empty string."""
    if blank(question):
        return "empty"
    if len(question) > LONGEST:
        return "too long"
    if repeated:
        return "asked twice in one turn"
    return "more than max_sub_questions" if selected == limit else ""


def to_memories(state: State, question: SubQuestion, place: int, dead: bool) -> tuple[Waiting, ...]:
    """A sub-question for each memory that is asked; a dead end is answered once, here."""
    base = f"{state.stage}-{state.turn:03d}.m{place:03d}"
    if dead:
        return (Waiting(base, "memory", question, UNKNOWN, DEAD_END, place),)
    if state.config.routing is not None:
        return (Waiting(base, "memory", question, place=place, memory=ANY, put=False),)
    names = state.config.memories or ("",)
    return tuple(
        Waiting(f"{base}.{name}" if name else base, "memory", question, place=place, memory=name, put=False)
        for name in names
    )


def select_emits(state: State, selection: Selection) -> tuple[Emit, ...]:
    """The stage events of a selection: what is dropped and what is asked."""
    first = {item.place: item for item in reversed(selection.waiting)}
    rows = [(first[place].id, first[place].question) for place in sorted(first)]
    asked = [{"id": ask_id, "question": row.question, "about": row.about} for ask_id, row in rows]
    dropped = (emit(state, "dropped", question=text, reason=reason) for text, reason in selection.dropped)
    return (*dropped, emit(state, "asked", questions=asked))


# Putting them


def send(state: State) -> tuple[State, Effects]:
    """Put what waits to be put: all of it at once, or with `parallel_sub_questions` off the next one alone."""
    unsent = [item for item in state.waiting if not item.put]
    chosen = unsent if state.config.parallel_sub_questions else unsent[:1]
    if not chosen or (not state.config.parallel_sub_questions and any(item.open for item in state.waiting)):
        return state, ()
    waiting = tuple(replace(item, put=True) if item in chosen else item for item in state.waiting)
    return add_facts(replace(state, waiting=waiting), asked=len(chosen)), memory_asks(state, chosen)


def memory_asks(state: State, items: Iterable[Waiting]) -> tuple[Ask, ...]:
    """The Ask of each item."""
    return tuple(
        Ask(
            id=item.id,
            to="memory",
            messages=memory_messages(item.wording or item.question.question, state.config.abstention_instruction),
            temperature=STAGES[state.stage].settings(state.config).memory_temperature,
            top_p=1.0,
            max_tokens=state.config.memory_max_tokens,
            memory=item.memory,
        )
        for item in items
    )


def hear(state: State, waiting: Waiting, event: Answered) -> State:
    """Keep what came back. A failure counts as "I don't know", with its reason."""
    if isinstance(event, Failed):
        heard = replace(waiting, answer="", note=f"failed: {clean(event.reason)}")
    elif isinstance(event, Retrieved):
        heard = replace(waiting, answer="", passages=event.passages)
    else:
        heard = replace(waiting, answer=event.text, speaker=event.memory)
    return replace(state, waiting=tuple(heard if item is waiting else item for item in state.waiting))


# Several wordings (beyond the paper)


def with_wordings(state: State, rows: list[list[str]]) -> tuple[State, tuple[Emit, ...]]:
    """Add the executive's other wordings of the sub-questions that wait to be put, row by row.

    At most `wordings` - 1 each. Blank ones, overlong ones and those that differ in case and punctuation only are
    left out.
    """
    limit = state.config.wordings - 1
    waiting: list[Waiting] = []
    shown: list[dict[str, object]] = []
    for place, words in zip(unsent_places(state), rows, strict=False):
        question = next(item.question.question for item in state.waiting if item.place == place)
        usable = {key(text): text for text in map(clean, words) if not blank(text) and len(text) <= LONGEST}
        usable.pop(key(question), None)
        chosen = list(usable.values())[:limit]
        shown += [{"question": question, "wordings": chosen}]
        for item in state.waiting:
            if item.place == place:
                waiting += [
                    replace(item, id=f"{item.id}.w{number}", wording=text) for number, text in enumerate(chosen, 2)
                ]
    state = replace(state, waiting=(*state.waiting, *waiting))
    return state, (emit(state, "wordings", questions=shown),)


def unsent_places(state: State) -> list[int]:
    """The places of the sub-questions that wait to be put, in order."""
    return sorted({item.place for item in state.waiting if not item.put})


def unsent_lines(state: State) -> tuple[str, ...]:
    """Those sub-questions, numbered from 1, as the executive reads them."""
    texts = {item.place: item.question.question for item in state.waiting if not item.put}
    return tuple(f"{number}. {quote(texts[place])}" for number, place in enumerate(sorted(texts), 1))


# Retrieval (beyond the paper)


def look_up(state: State) -> tuple[State, Effects]:
    """With `hybrid`: retrieve for the sub-questions that every memory asked has left open. Once a turn."""
    hybrid = state.config.hybrid
    if hybrid is None or any(item.to == "retriever" for item in state.waiting):
        return state, ()
    places: dict[int, list[Waiting]] = {}
    for item in state.waiting:
        places.setdefault(item.place, []).append(item)
    lookups = tuple(
        Waiting(f"{state.stage}-{state.turn:03d}.r{place:03d}", "retriever", items[0].question, place=place)
        for place, items in sorted(places.items())
        if all(is_unsure(clean(item.answer or "")) and item.note != DEAD_END for item in items)
    )
    effects = tuple(Retrieve(item.id, item.question.question, hybrid.passages) for item in lookups)
    return replace(state, waiting=(*state.waiting, *lookups)), effects
