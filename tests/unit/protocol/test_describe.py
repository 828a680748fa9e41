from __future__ import annotations

from pathlib import Path

from memo_ray.protocol.describe import describe

DOCS = Path(__file__).parents[3] / "docs" / "protocol.md"

WHO, BORN = "Who founded Port Amber?", "In which year was Odo Stell born?"


def test_a_transcript_reads_like_a_report(script):
    played = script.play(
        [
            script.ground(WHO, "Who kept a goat?"),
            "no JSON",
            "no JSON",
            script.identify(
                ("Jory Kess", "Which goat was Jory Kess's?"),
                ("Jory Kess", "Which quay was Jory Kess's?"),
                candidates=[("Jory Kess", 1), ("Ilse Verran", 2)],
                facts=["Ilse Verran founded it."],
                clues={"Ilse Verran": [1]},
            ),
            script.identify(candidates=[("Jory Kess", 3), ("Ilse Verran", 1), ("Odo Stell", 2)], decision="exhaust"),
            script.seek(BORN, BORN, entity="Odo Stell"),
            script.seek(decision="answer", entity="Nobody"),
            script.final("1790", 5),
        ],
        {WHO: "Ilse Verran", BORN: "1790", "Which quay was Jory Kess's?": None},
    )
    lines = describe(played.transcript)
    assert lines == [
        f"Question: {script.question}",
        "Stage 1: grounding",
        f"  [1] {WHO}",
        "      Ilse Verran",
        "  [2] Who kept a goat?",
        "      I don't know",
        "  ended: budget",
        "Stage 2: identification",
        "  asked for a repair: the reply is not valid JSON at character 0: Expecting value",
        "  turn lost: the reply is not valid JSON at character 0: Expecting value",
        "  known: Ilse Verran founded it.",
        "  candidates: 1 Jory Kess, 2 Ilse Verran (for 1)",
        "  [3] Which goat was Jory Kess's?",
        "      I don't know",
        "  [4] Which quay was Jory Kess's?",
        "      I don't know (failed: the endpoint is down)",
        "  moved down two ranks: Jory Kess",
        "  candidates: 1 Ilse Verran, 2 Odo Stell, 3 Jory Kess (unsure 2)",
        "  ended: exhausted",
        "  entity: Ilse Verran (best guess)",
        "Stage 3: answering",
        "  entity: Odo Stell (best guess, instead of Ilse Verran)",
        f"  not asked: {BORN} (asked twice in one turn)",
        f"  [5] {BORN}",
        "      1790",
        "  refused: Nobody (not listed)",
        "  ended: sufficient",
        "Final synthesis",
        "Answer: 1790",
        "  because: It follows.",
        f"  supported by [5] {BORN} -> 1790",
    ]


def test_it_says_when_no_executive_wrote_the_answer(script):
    replies = [script.ground(WHO), script.identify(decision="exhaust")]
    raw = script.play([*replies, "It was 1790.", "It was 1790."])
    assert "Answer: It was 1790. (unparsed reply)" in describe(raw.transcript)
    failed = script.play([*replies, None, None], {WHO: "Ilse Verran"})
    assert "Answer: Ilse Verran (no synthesis)" in describe(failed.transcript)


def test_a_terminal_is_not_steered_by_text(script):
    played = script.play(
        [script.ground(WHO), script.identify(decision="exhaust"), script.final("\x1b[2J1790")],
        {WHO: "\x1b]0;owned\x07Ilse"},
        question="Who?\x1b[31m",
    )
    assert all(line.isprintable() for line in describe(played.transcript))


def test_the_worked_example_of_the_docs_is_what_the_protocol_does(script):
    rope = "Which rope maker kept a tame heron?"
    born = "In which year was Ilse Verran born?"
    played = script.play(
        [
            script.ground(rope, "Who kept a tame heron?", "Which rope makers lived in Port Amber?"),
            script.identify(
                ("Odo Stell", "Which bird did Odo Stell keep?"),
                ("Odo Stell", "Which animal lived in Odo Stell's workshop?"),
                findings=[(2, "adds", "Ilse Verran"), (3, "adds", "Odo Stell")],
                facts=["Ilse Verran kept a heron."],
                candidates=[("Odo Stell", 1), ("Ilse Verran", 2)],
                clues={"Odo Stell": [3], "Ilse Verran": [2]},
            ),
            script.identify(
                ("Ilse Verran", "What was Ilse Verran's trade?"),
                facts=["Ilse Verran kept a heron."],
                candidates=[("Ilse Verran", 1), ("Odo Stell", 3)],
                clues={"Odo Stell": [3], "Ilse Verran": [2]},
            ),
            script.identify(
                findings=[(6, "confirms", "Ilse Verran")],
                facts=["Ilse Verran kept a heron.", "Ilse Verran was a rope maker."],
                candidates=[("Ilse Verran", 1), ("Odo Stell", 3)],
                clues={"Odo Stell": [3], "Ilse Verran": [2, 6]},
                confirmed="Ilse Verran",
            ),
            script.seek(born),
            script.seek(decision="answer", labels=[(7, "high")], facts=["Ilse Verran was born in 1790."]),
            script.final("1790", 2, 6, 7, why="Ilse Verran kept a tame heron and made ropes; she was born in 1790."),
        ],
        {
            "Who kept a tame heron?": "Ilse Verran",
            "Which rope makers lived in Port Amber?": "Odo Stell",
            "What was Ilse Verran's trade?": "rope making",
            born: "In 1790.",
        },
        question="In which year was the rope maker who kept a tame heron born?",
    )
    assert "\n".join(describe(played.transcript)) in DOCS.read_text()
