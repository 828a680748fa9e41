"""The shape of prompts: append-only up to the state, which comes last."""

from __future__ import annotations

import itertools
import re

import pytest

HARBOUR = {
    "Who founded Port Amber?": "Ilse Verran founded Port Amber.",
    "Which woman kept a tame heron?": "Ilse Verran kept a tame heron on the quay.",
    "Which rope maker paid for a lighthouse?": "The rope maker Ilse Verran paid for the Skarn lighthouse in 1831.",
    "Who built the Skarn lighthouse?": "The mason Odo Stell built the Skarn lighthouse.",
    "Where did Ilse Verran learn her trade?": "Ilse Verran learned rope making in Low Tarn.",
    "In which year did Odo Stell come to Port Amber?": "Odo Stell came to Port Amber in 1829.",
    "Who taught Ilse Verran to make ropes?": "Her uncle Per Verran taught her.",
    "In which year was Ilse Verran born?": "Ilse Verran was born in 1790.",
    "Where was Ilse Verran born?": "Ilse Verran was born in Low Tarn.",
    "How old was Ilse Verran when she founded Port Amber?": "Ilse Verran was thirty-one years old.",
}
QUESTIONS = list(HARBOUR)
FACTS = [
    "Ilse Verran founded Port Amber.",
    "Ilse Verran kept a tame heron.",
    "Ilse Verran paid for the Skarn lighthouse in 1831.",
    "Odo Stell built the Skarn lighthouse.",
]
LISTED = [("Ilse Verran", 1), ("Odo Stell", 2), ("Per Verran", 3)]


def words(ask):
    return re.findall(r"\w+|[^\w\s]", "\n".join(message["content"] for message in ask.messages))


def shared(one, other):
    """Tokens that both begin with."""
    for count, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return count
    return min(len(one), len(other))


@pytest.fixture(scope="module")
def played(script):
    return script.play(
        [
            script.ground(*QUESTIONS[:4]),
            script.identify(*QUESTIONS[4:6], candidates=LISTED[:2], facts=FACTS[:3], clues={"Ilse Verran": [1, 2, 3]}),
            script.identify(QUESTIONS[6], candidates=LISTED, facts=FACTS, clues={"Ilse Verran": [1, 2, 3]}),
            script.identify("Who else made ropes?", candidates=LISTED, facts=FACTS[:3], clues={"Odo Stell": [4]}),
            script.identify(candidates=LISTED, facts=FACTS[:3], confirmed="Ilse Verran"),
            script.seek(QUESTIONS[7], facts=FACTS[:3]),
            script.seek(QUESTIONS[8], facts=[*FACTS[:3], "Ilse Verran was born in 1790."], labels=[(9, "high")]),
            script.seek(QUESTIONS[9], facts=[*FACTS[:2], "Ilse Verran was born in 1790."], labels=[(10, "high")]),
            script.seek(decision="answer", labels=[(11, "medium")]),
            script.final("1790", 9),
        ],
        HARBOUR,
    )


@pytest.mark.parametrize("stage", ["identification", "answering"])
def test_nine_tenths_of_a_turns_prompt_begin_the_next_turns(played, stage):
    prompts = [words(ask) for ask in played.to("executive", stage)]
    assert len(prompts) == 4
    for earlier, later in itertools.pairwise(prompts):
        assert shared(earlier, later) / len(earlier) >= 0.9


@pytest.mark.parametrize("stage", ["identification", "answering"])
def test_only_the_state_is_replaced(played, stage):
    contents = [
        ask.messages[1]["content"].partition("\n</evidence>\n<state>")[0] for ask in played.to("executive", stage)
    ]
    for earlier, later in itertools.pairwise(contents):
        assert later.startswith(earlier)


def test_the_instructions_do_not_change_within_a_stage(played):
    for stage in ("identification", "answering"):
        assert len({ask.messages[0]["content"] for ask in played.to("executive", stage)}) == 1


def test_the_synthesis_shows_trust_and_leaves_out_what_the_memory_did_not_know(played):
    content = played.to("executive", "synthesis")[0].messages[1]["content"]
    assert f"[9] (trust: high) Q: {QUESTIONS[7]} A: Ilse Verran was born in 1790." in content
    assert "Who else made ropes?" not in content
    assert "Entity: Ilse Verran\nStatus of the entity: confirmed\nIts role in the question: subject" in content


def test_what_is_copied_from_the_form_of_a_reply_changes_nothing(script):
    form = script.identify(
        ("...", "..."), candidates=[("...", 1)], facts=["..."], findings=[(1, "adds", "...")], clues={"...": [1]}
    )
    played = script.play(
        [script.ground(QUESTIONS[0]), form, form, script.final("x")], HARBOUR, script.config(identification=2)
    )
    assert (played.state.facts, played.state.candidates, played.state.tallies) == ((), (), ())
    assert played.questions("identification") == []
