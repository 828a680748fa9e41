from __future__ import annotations

import dataclasses

import pytest

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.protocol.final import fallback
from memo_ray.protocol.state import Candidate, Evidence, StageFacts, State


def state_with(*answers, **changes):
    """A state whose evidence is (stage, answer) in order; an answer of None is "I don't know"."""
    evidence = tuple(
        Evidence(number, f"{number}", stage, 1, "q?", answer or "I don't know", answer is None)
        for number, (stage, answer) in enumerate(answers, 1)
    )
    state = State(ProtocolConfig(), False, "q?", evidence=evidence, stages=(StageFacts("synthesis"),))
    return dataclasses.replace(state, **changes)


SEARCH = [
    ("grounding", "Odo"),
    ("answering", "1790"),
    ("answering", "1800"),
    ("answering", "In 1800."),
    ("answering", "1790."),
]

WHO, BORN, KEPT = "Who founded Port Amber?", "In which year was Ilse Verran born?", "Which animal did Ilse Verran keep?"
MEMORY = {WHO: "Ilse Verran", BORN: "1790", KEPT: "a heron"}
ILSE = {"entity": "Ilse", "candidates": (Candidate("Ilse", 2), Candidate("Per", 1))}


@pytest.mark.parametrize(
    ("state", "answer", "cited"),
    [
        (state_with(*SEARCH, **ILSE), "1790", [2, 5]),
        (state_with(*SEARCH, **ILSE, labels=((2, "contradiction"),)), "1800", [3]),
        (state_with(*SEARCH, **ILSE, labels=tuple((n, "non-responsive") for n in (2, 3, 4, 5))), "Ilse", []),
        (state_with(("answering", None), **ILSE), "Ilse", []),
        (state_with(("grounding", "Odo"), candidates=(Candidate("A", 2), Candidate("B", 1, (1,)))), "B", [1]),
        (state_with(("grounding", "Odo"), ("identification", "Per"), ("identification", "per")), "Per", [2, 3]),
        (state_with(("grounding", None)), "I don't know", []),
        (state_with(), "I don't know", []),
    ],
)
def test_the_best_answer_without_a_synthesis(state, answer, cited):
    done = fallback(state, "failed")
    assert (done.answer, [item.number for item in done.citations]) == (answer, cited)
    assert done.degraded
    assert done.justification.endswith("no final synthesis was made.")


def test_without_a_candidate_stage_three_is_skipped_and_grounding_answers_stand_alone(script):
    played = script.play(
        [
            script.ground(WHO, "Who kept a goat?"),
            script.identify(KEPT, facts=["Ilse Verran kept a heron."]),
            script.identify(decision="exhaust", facts=["Ilse Verran kept a heron."]),
            script.final("Ilse Verran", 1, 3),
        ],
        MEMORY,
    )
    assert played.to("executive", "answering") == []
    last = played.to("executive", "synthesis")[0]
    assert script.evidence_in(last) == f"[1] Q: {WHO} A: Ilse Verran"
    assert script.state_of(last) == "Entity: none was found"
    assert [item.number for item in played.done.citations] == [1]


def test_a_synthesis_that_cannot_be_parsed_is_the_answer_as_it_is(script):
    played = script.play(script.grounded("It was\n1790.", "Still 1790."), MEMORY)
    assert (played.done.answer, played.done.stop_reason, played.done.degraded) == ("Still 1790.", "unparsed", False)
    assert [item.answer for item in played.done.citations] == ["1790"]
    assert [ask.id for ask in played.to("executive", "synthesis")] == ["synthesis-001.ask", "synthesis-001.repair"]


def test_the_first_text_counts_when_its_repair_fails(script):
    assert script.play(script.grounded("It was 1790.", None), MEMORY).done.answer == "It was 1790."
    assert script.play(script.grounded("It was 1790.", " "), MEMORY).done.answer == "It was 1790."


def test_a_failed_synthesis_is_asked_for_once_more(script):
    played = script.play(script.grounded(None, script.final("1790", 2)), MEMORY)
    assert (played.done.answer, played.done.degraded) == ("1790", False)
    assert [ask.id for ask in played.to("executive", "synthesis")] == ["synthesis-001.ask", "synthesis-002.ask"]


def test_a_synthesis_that_fails_twice_falls_back_on_the_evidence(script):
    played = script.play(script.grounded(None, None), MEMORY)
    assert (played.done.answer, played.done.stop_reason, played.done.degraded) == ("Ilse Verran", "failed", True)
    assert [item.number for item in played.done.citations] == [1]
    assert played.done.stages[-1].lost == 2


def test_an_empty_answer_is_no_answer(script):
    blank = script.final("  ")
    played = script.play(script.grounded(blank, script.final("1790")), MEMORY)
    assert played.done.answer == "1790"


@pytest.mark.parametrize("answer", ["...", "…", " . "])
def test_an_answer_copied_from_the_form_is_no_answer(script, answer):
    played = script.play(script.grounded(script.final(answer), script.final("1790")), MEMORY)
    assert played.done.answer == "1790"


@pytest.mark.parametrize(
    ("answer", "named", "cited"),
    [
        ("She was born in 1790.", (1,), [1]),
        ("She was born in 1790.", (3, 9), [2]),
        ("ilse verran", (), [1]),
        ("Verran", (), [1]),
        ("Ver", (), []),
        ("in 17", (), []),
    ],
)
def test_a_synthesis_that_names_no_evidence_cites_what_agrees_with_it(script, answer, named, cited):
    played = script.play(script.grounded(script.final(answer, *named)), MEMORY)
    assert [item.number for item in played.done.citations] == cited
