"""What is put to the memory, and how its answers are kept."""

from __future__ import annotations

import pytest

WHO, BORN, KEPT = "Who founded Port Amber?", "In which year was Ilse Verran born?", "Which animal did Ilse Verran keep?"
MEMORY = {WHO: "Ilse Verran", BORN: "1790", KEPT: "a heron"}


def test_sub_questions_of_a_turn_are_put_at_once_and_each_alone(script):
    questions = [WHO, BORN, KEPT]
    played = script.play([script.ground(*questions), script.identify(decision="exhaust"), script.final()], MEMORY)
    kinds = [type(event).__name__ for event in played.events]
    assert kinds[:5] == ["Asked", "Reply", "Reply", "Reply", "Reply"]
    first_answer = played.asks.index(played.to("memory")[0])
    assert [ask.to for ask in played.asks[first_answer : first_answer + 3]] == ["memory"] * 3
    for ask, question in zip(played.to("memory"), questions, strict=True):
        assert [message["role"] for message in ask.messages] == ["system", "user"]
        assert ask.messages[1]["content"] == question
        assert not any(other in ask.messages[0]["content"] for other in (*questions, script.question))


def test_the_memory_is_asked_the_bare_question_without_the_instruction(script):
    played = script.play(
        [script.ground(WHO), script.identify(decision="exhaust"), script.final()],
        config=script.config(abstention_instruction=False),
    )
    assert [dict(message) for message in played.to("memory")[0].messages] == [{"role": "user", "content": WHO}]


@pytest.mark.parametrize("pick", [lambda waiting: 0, lambda waiting: waiting - 1, lambda waiting: waiting // 2])
def test_answers_are_joined_in_the_order_of_ids(script, pick):
    played = script.play(
        [script.ground(WHO, BORN, KEPT), script.identify(decision="exhaust"), script.final()], MEMORY, pick=pick
    )
    assert [item.answer for item in played.done.evidence] == ["Ilse Verran", "1790", "a heron"]
    assert script.evidence_in(played.to("executive")[1]).splitlines() == [
        "Grounding, turn 1:",
        f"[1] Q: {WHO} A: Ilse Verran",
        f"[2] Q: {BORN} A: 1790",
        f"[3] Q: {KEPT} A: a heron",
    ]


def test_a_dead_end_is_not_asked_again(script):
    same = ["Who sank the Grey Heron?", "who sank the grey heron", "Who sank Grey Heron ?"]
    played = script.play(
        [
            script.ground(same[0]),
            script.identify(same[1]),
            script.identify(same[2], candidates=[("Ilse Verran", 1)]),
            script.identify(("Ilse Verran", same[0]), ("", WHO), candidates=[("Ilse Verran", 1)]),
            script.identify(decision="exhaust", candidates=[("Ilse Verran", 1)]),
            script.seek(decision="answer"),
            script.final(),
        ],
        MEMORY,
    )
    assert played.questions() == [*same, WHO]
    dead = played.done.evidence[3]
    assert (dead.question, dead.answer, dead.unsure, dead.note) == (same[0], script.unknown[:-1], True, "dead end")
    log = script.evidence_in(played.to("executive", "identification")[-1])
    assert f"[3] Q: {same[2]} A: I don't know (dead end: do not ask this again, nor in other words)" in log
    assert log.splitlines()[1] == f"[1] Q: {same[0]} A: I don't know"
    assert "unsure 0" in script.state_of(played.to("executive", "identification")[-1])


def test_a_turn_of_dead_ends_alone_asks_nothing_and_goes_on(script):
    played = script.play(
        [
            script.ground("x?"),
            script.identify("x?"),
            script.identify("x?"),
            script.final(),
        ],
        config=script.config(identification=2, dead_end_after=2),
    )
    assert played.questions() == ["x?", "x?"]
    assert played.done.evidence[-1].note == "dead end"


def test_a_memory_failure_counts_as_not_knowing_with_its_reason(script):
    played = script.play(
        [
            script.ground(WHO),
            script.identify(("Ilse Verran", "x?"), candidates=[("Ilse Verran", 1)]),
            script.identify(candidates=[("Ilse Verran", 1)], decision="exhaust"),
            script.seek(decision="answer"),
            script.final(),
        ],
        {WHO: "Ilse Verran", "x?": None},
    )
    failed = played.done.evidence[1]
    assert (failed.answer, failed.unsure, failed.note) == ("I don't know", True, "failed: the endpoint is down")
    assert "rank 1: Ilse Verran (unsure 1)" in script.state_of(played.to("executive", "identification")[1])


def test_sub_questions_beyond_the_limit_empty_long_or_twice_are_dropped_and_logged(script):
    played = script.play(
        [
            script.ground(WHO, "  ", "...", "who founded port amber", "long " * 200, BORN, KEPT),
            script.identify(decision="exhaust"),
            script.final(),
        ],
        MEMORY,
        script.config(max_sub_questions=2),
    )
    assert played.questions() == [WHO, BORN]
    assert [row["reason"] for row in played.shown("dropped")] == [
        "empty",
        "empty",
        "asked twice in one turn",
        "too long",
        "more than max_sub_questions",
    ]


def test_a_yes_no_sub_question_is_put_all_the_same(script):
    played = script.play(
        [script.ground("Was Ilse Verran born in 1790?"), script.identify(decision="exhaust"), script.final()],
        lambda text: "Yes",
    )
    assert played.done.evidence[0].answer == "Yes"
    assert not played.done.evidence[0].unsure
