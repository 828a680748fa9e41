"""The whole protocol played: stages, budgets, order, time and misuse."""

from __future__ import annotations

import dataclasses

import pytest

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ProtocolError
from memo_ray.protocol.protocol import advance, replay, start
from memo_ray.protocol.state import Asked, Cancel, Deadline, Done, Failed, Reply

WHO, BORN, KEPT = "Who founded Port Amber?", "In which year was Ilse Verran born?", "Which animal did Ilse Verran keep?"
MEMORY = {WHO: "Ilse Verran", BORN: "1790", KEPT: "a heron"}


def test_the_three_stages_end_in_an_answer_with_citations(script):
    played = script.play(
        [
            script.ground(WHO),
            script.identify(
                candidates=[("Ilse Verran", 1)], confirmed="Ilse Verran", findings=[(1, "adds", "Ilse Verran")]
            ),
            script.seek(BORN),
            script.seek(decision="answer", labels=[(2, "high")]),
            script.final("1790", 1, 2, 9),
        ],
        MEMORY,
    )
    done = played.done
    assert (done.answer, done.justification, done.stop_reason, done.degraded) == (
        "1790",
        "It follows.",
        "answered",
        False,
    )
    assert [(item.number, item.id, item.stage, item.answer) for item in done.citations] == [
        (1, "grounding-001.m001", "grounding", "Ilse Verran"),
        (2, "answering-001.m001", "answering", "1790"),
    ]
    assert (done.entity, done.confirmed) == ("Ilse Verran", True)
    assert [(facts.stage, facts.turns, facts.asked, facts.ended) for facts in done.stages] == [
        ("grounding", 1, 1, "budget"),
        ("identification", 1, 0, "confirmed"),
        ("answering", 2, 1, "sufficient"),
        ("synthesis", 1, 0, "answered"),
    ]
    assert [ask.id for ask in played.asks] == [
        "grounding-001.ask",
        "grounding-001.m001",
        "identification-001.ask",
        "answering-001.ask",
        "answering-001.m001",
        "answering-002.ask",
        "synthesis-001.ask",
    ]


def test_the_papers_settings_reach_both_models(script):
    played = script.play(
        [
            script.ground(WHO),
            script.identify(KEPT, candidates=[("Ilse Verran", 1)]),
            script.identify(confirmed="Ilse Verran"),
            script.seek(BORN),
            script.seek(decision="answer"),
            script.final(),
        ],
        MEMORY,
    )
    assert {(ask.id.split("-")[0], ask.temperature) for ask in played.to("executive")} == {
        ("grounding", 0.4), ("identification", 0.4), ("answering", 1.0), ("synthesis", 0.3),
    }  # fmt: skip
    assert {(ask.id.split("-")[0], ask.temperature) for ask in played.to("memory")} == {
        ("grounding", 0.1), ("identification", 0.1), ("answering", 0.3),
    }  # fmt: skip
    assert {(ask.top_p, ask.max_tokens) for ask in played.to("executive")} == {(0.95, 4096)}
    assert {(ask.top_p, ask.max_tokens, ask.schema) for ask in played.to("memory")} == {(1.0, 512, None)}
    config = ProtocolConfig()
    assert [stage.budget for stage in (config.grounding, config.identification, config.answering)] == [1, 7, 8]


def test_budgets_bound_every_stage(script):
    def never_done(ask):
        stage = ask.id.split("-")[0]
        return {
            "grounding": script.ground("a?"),
            "identification": script.identify("b?", candidates=[("Ilse Verran", 1)]),
            "answering": script.seek("c?"),
            "synthesis": script.final(),
        }[stage]

    played = script.play(never_done, lambda text: "yes, certainly")
    counts = [len(played.to("executive", stage)) for stage in ("grounding", "identification", "answering", "synthesis")]
    assert counts == [1, 7, 8, 1]
    assert len(played.to("memory")) == 16
    assert [facts.ended for facts in played.done.stages] == ["budget", "budget", "budget", "answered"]
    assert script.state_of(played.to("executive", "answering")[7]).endswith("Turn 8 of 8, the last one.")


def test_grounding_may_have_more_than_one_turn(script):
    played = script.play(
        [script.ground(WHO), script.ground(BORN), script.identify(decision="exhaust"), script.final("1790", 2)],
        MEMORY,
        script.config(grounding=2),
    )
    assert f"[1] Q: {WHO} A: Ilse Verran" in script.evidence_in(played.to("executive", "grounding")[1])
    assert played.done.citations[0].answer == "1790"


def test_a_deadline_cancels_all_and_answers_with_what_is_known(script):
    def late(state, pending):
        return Deadline() if state.stage == "answering" and len(pending) == 1 else None

    played = script.play(
        [
            script.ground(WHO),
            script.identify(confirmed="Ilse Verran", candidates=[("Ilse Verran", 1)]),
            script.seek(BORN, "In what season was she born?", "Where was she born?"),
        ],
        {**MEMORY, "Where was she born?": "1790"},
        before=lambda state, pending: (
            late(state, pending) if len(state.evidence) == 1 and pending[0].to == "memory" else None
        ),
        pick=lambda waiting: waiting - 1,
    )
    assert played.cancels == ["answering-001.m001"]
    assert (played.done.answer, played.done.stop_reason, played.done.degraded) == ("1790", "deadline", True)
    assert [item.question for item in played.done.citations] == ["Where was she born?"]


def test_a_deadline_while_the_executive_thinks(script):
    played = script.play([], before=lambda state, pending: Deadline())
    assert played.cancels == ["grounding-001.ask"]
    assert played.done.answer == "I don't know"
    state, effects = advance(played.state, Reply("grounding-001.ask", "{}"))
    assert (state, effects) == (played.state, ())
    assert advance(played.state, Failed("grounding-001.ask", "cancelled")) == (played.state, ())
    assert advance(played.state, Deadline()) == (played.state, ())


def test_events_that_cannot_happen_are_refused(script):
    state, _ = start(WHO, ProtocolConfig())
    with pytest.raises(ProtocolError, match=r"grounding-009\.ask: was never asked"):
        advance(state, Reply("grounding-009.ask", ""))
    with pytest.raises(ProtocolError, match="already being answered"):
        advance(state, Asked("Another?"))
    played = script.play(script.grounded(script.final()), MEMORY)
    with pytest.raises(ProtocolError, match="has been answered already"):
        advance(played.state, Reply("grounding-001.m001", "again"))
    with pytest.raises(ProtocolError, match="begin with"):
        advance(dataclasses.replace(state, stage="new"), Deadline())


@pytest.mark.parametrize("question", ["", " \n ", "\x00\u200b"])
def test_an_empty_question_is_refused(question):
    with pytest.raises(ProtocolError, match="the question is empty"):
        start(question, ProtocolConfig())


def test_the_state_cannot_be_changed(script):
    state, effects = start(WHO, ProtocolConfig())
    with pytest.raises(dataclasses.FrozenInstanceError):
        state.turn = 3  # type: ignore[misc]
    twice = [advance(state, Reply("grounding-001.ask", '{"questions":["a?"]}')) for _ in range(2)]
    assert twice[0] == twice[1]
    assert effects[-1].id == "grounding-001.ask"  # type: ignore[union-attr]


def test_tokens_are_booked_by_stage_and_model(script):
    played = script.play(script.grounded(script.final()), MEMORY)
    grounding, _, synthesis = played.done.stages
    assert (grounding.executive_input_tokens, grounding.memory_input_tokens) == (10, 20)
    assert grounding.memory_output_tokens == 3
    assert (synthesis.executive_input_tokens, synthesis.memory_input_tokens) == (10, 0)


def test_a_transcript_replays_to_the_same_end(script):
    played = script.play(script.grounded("no JSON", script.final("1790", 2)), MEMORY)
    again = replay(played.transcript)
    assert isinstance(again, Done)
    assert again == played.done


def test_cancel_names_only_what_is_open(script):
    state, _ = start(WHO, ProtocolConfig())
    state, _ = advance(state, Reply("grounding-001.ask", '{"questions":["a?","b?"]}'))
    state, _ = advance(state, Reply("grounding-001.m002", "yes"))
    state, effects = advance(state, Deadline())
    assert [effect for effect in effects if isinstance(effect, Cancel)] == [Cancel("grounding-001.m001")]
    assert [item.question for item in state.evidence] == ["b?"]
