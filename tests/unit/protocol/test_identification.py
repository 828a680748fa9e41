"""Stage 2 played: streaks, demotion, elimination, the ways it ends, replaced state."""

from __future__ import annotations

WHO, BORN, KEPT = "Who founded Port Amber?", "In which year was Ilse Verran born?", "Which animal did Ilse Verran keep?"
MEMORY = {WHO: "Ilse Verran", BORN: "1790", KEPT: "a heron"}


def test_the_streak_is_shown_every_turn_and_demotes_then_eliminates(script):
    listed = [("Ilse Verran", 1), ("Odo Stell", 2), ("Jory Kess", 4)]
    asks = [("Ilse Verran", f"Which deed number {n} is hers?") for n in range(3)]
    played = script.play(
        [
            script.ground(WHO),
            script.identify(asks[0], candidates=listed),
            script.identify(asks[1], candidates=listed),
            script.identify(asks[2], candidates=listed),
            script.identify(candidates=[("Ilse Verran", 1), ("Odo Stell", 2)], decision="exhaust"),
            script.seek(decision="answer"),
            script.final(),
        ],
        MEMORY,
    )
    turns = [script.state_of(ask) for ask in played.to("executive", "identification")]
    assert "rank 1: Ilse Verran (unsure 1)" in turns[1]
    assert "rank 3: Ilse Verran (unsure 2)" in turns[2]
    assert "Ilse Verran" not in turns[3]
    assert "Struck off: Ilse Verran" in script.evidence_in(played.to("executive", "identification")[3])
    assert "Moved down two ranks: Ilse Verran" in script.evidence_in(played.to("executive", "identification")[2])
    assert played.shown("demoted") == [{"name": "Ilse Verran"}]
    assert played.shown("struck") == [{"name": "Ilse Verran"}]
    assert played.shown("refused") == [{"name": "Ilse Verran", "reason": "struck off"}]
    assert played.done.entity == "Odo Stell"


def test_a_demoted_candidate_cannot_be_put_back_up_unconfirmed(script):
    listed = [("Ilse Verran", 1), ("Odo Stell", 2)]
    played = script.play(
        [
            script.ground(WHO),
            script.identify(("Ilse Verran", "a?"), ("Ilse Verran", "b?"), candidates=listed),
            script.identify(candidates=listed, decision="exhaust"),
            script.seek(decision="answer"),
            script.final(),
        ],
        MEMORY,
    )
    assert played.done.entity == "Odo Stell"


def test_something_confirmed_keeps_a_candidate_in_place(script):
    listed = [("Ilse Verran", 1), ("Odo Stell", 2)]
    played = script.play(
        [
            script.ground(WHO),
            script.identify(
                ("Ilse Verran", "a?"),
                ("Ilse Verran", "b?"),
                candidates=listed,
                findings=[(1, "confirms", "Ilse Verran")],
            ),
            script.identify(decision="exhaust", candidates=listed),
            script.seek(decision="answer"),
            script.final(),
        ],
        MEMORY,
    )
    assert played.shown("demoted") == []
    assert played.done.entity == "Ilse Verran"


def test_a_struck_candidate_cannot_be_confirmed(script):
    asks = [("Ilse Verran", f"{n}?") for n in range(3)]
    played = script.play(
        [
            script.ground(WHO),
            script.identify(*asks, candidates=[("Ilse Verran", 1)]),
            script.identify(confirmed="Ilse Verran", decision="exhaust"),
            script.final(),
        ],
        MEMORY,
    )
    assert played.done.entity == ""
    assert played.to("executive", "answering") == []


def test_the_best_candidate_is_handed_over_as_a_guess_when_the_budget_ends(script):
    listed = [("Jory Kess", 2), ("Ilse Verran", 1), ("Odo Stell", 1)]
    played = script.play(
        [script.ground(WHO), script.identify(WHO, candidates=listed), script.seek(decision="answer"), script.final()],
        MEMORY,
        script.config(identification=1),
    )
    assert script.state_of(played.to("executive", "answering")[0]).splitlines()[:3] == [
        "Entity: Ilse Verran",
        "Status of the entity: best guess, not confirmed",
        "Other candidates: Jory Kess; Odo Stell",
    ]
    assert [facts.ended for facts in played.done.stages][1] == "budget"


def test_exhaust_ends_stage_two_without_asking(script):
    played = script.play(
        [
            script.ground(WHO),
            script.identify(KEPT, candidates=[("Ilse Verran", 1)], decision="exhaust"),
            script.seek(decision="answer"),
            script.final(),
        ],
        MEMORY,
    )
    assert played.questions("identification") == []
    assert played.done.stages[1].ended == "exhausted"


def test_a_confirmed_entity_ends_stage_two_early_and_joins_the_list(script):
    played = script.play(
        [
            script.ground(WHO),
            script.identify(KEPT, candidates=[("Odo Stell", 1)], confirmed="Ilse Verran"),
            script.seek(decision="answer", entity="Odo Stell"),
            script.final(),
        ],
        MEMORY,
    )
    assert played.questions("identification") == []
    assert "Entity: Ilse Verran\nStatus of the entity: confirmed" in script.state_of(
        played.to("executive", "answering")[0]
    )
    assert [item.name for item in played.state.candidates] == ["Odo Stell", "Ilse Verran"]


def test_known_facts_and_candidates_are_full_replacements(script):
    played = script.play(
        [
            script.ground(WHO),
            script.identify(KEPT, candidates=[("Ilse Verran", 1)], facts=["One holds.", "Two holds."]),
            script.identify(KEPT, candidates=[("Odo Stell", 1)], facts=["Two holds."], clues={"Odo Stell": [1, 7]}),
            script.identify(decision="exhaust"),
            script.final(),
        ],
        MEMORY,
    )
    first, second, third = [ask.messages[1]["content"] for ask in played.to("executive", "identification")]
    assert "Known facts: none\nCandidates: none" in first
    assert "- One holds.\n- Two holds.\nCandidates:\nrank 1: Ilse Verran (unsure 0)" in second
    assert "One holds" not in third
    assert "rank 1: Ilse Verran" not in third
    assert "- Two holds.\nCandidates:\nrank 1: Odo Stell (for 1; unsure 0)" in third
    assert played.state.candidates == ()
    assert played.state.facts == ()
