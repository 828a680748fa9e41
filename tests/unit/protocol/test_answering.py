"""Stage 3 played: the entity pivot."""

from __future__ import annotations

WHO, BORN, KEPT = "Who founded Port Amber?", "In which year was Ilse Verran born?", "Which animal did Ilse Verran keep?"
MEMORY = {WHO: "Ilse Verran", BORN: "1790", KEPT: "a heron"}


def test_the_pivot_overwrites_the_entity_which_is_then_unconfirmed(script):
    listed = [("Ilse Verran", 1), ("Odo Stell", 2)]
    played = script.play(
        [
            script.ground(WHO),
            script.identify(candidates=listed, confirmed="Ilse Verran"),
            script.seek(BORN, entity="Somebody Else"),
            script.seek(BORN, entity="ilse verran"),
            script.seek(BORN, entity="ODO STELL"),
            script.seek(decision="answer"),
            script.final(),
        ],
        MEMORY,
    )
    turns = [script.state_of(ask).splitlines()[:2] for ask in played.to("executive", "answering")]
    assert turns == [
        ["Entity: Ilse Verran", "Status of the entity: confirmed"],
        ["Entity: Ilse Verran", "Status of the entity: confirmed"],
        ["Entity: Ilse Verran", "Status of the entity: confirmed"],
        ["Entity: Odo Stell", "Status of the entity: best guess, not confirmed"],
    ]
    assert played.shown("refused") == [{"name": "Somebody Else", "reason": "not listed"}]
    assert (played.done.entity, played.done.confirmed) == ("Odo Stell", False)
    last = script.evidence_in(played.to("executive", "answering")[3])
    assert "The entity is now Odo Stell, not Ilse Verran." in last
