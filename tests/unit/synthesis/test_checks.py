"""Checks after a step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import ValidationError

from memo_ray.config.synthesis import Quality, SynthesisConfig
from memo_ray.synthesis.checks import as_asked, choices, disagreement, distinct, problem, round_trip_prompts, sift
from memo_ray.synthesis.settings import Origin, StepSettings
from tests.unit.synthesis.conftest import make_pair

EVIDENCE = "The mason Rolf Anstick built the harbour wall of Esk from red granite in 1784."


def direct(question: str, answer: str, **changes: object):
    return make_pair(question, answer, evidence=EVIDENCE, **changes)


@pytest.mark.parametrize(
    ("question", "answer", "reason"),
    [
        ("Who built the harbour wall of Esk?", "Rolf Anstick", ""),
        ("", "Rolf Anstick", "empty"),
        ("...", "Rolf Anstick", "empty"),
        ("Who built the harbour wall in esk-wall.md?", "Rolf Anstick", "identifier"),
        ("Built Rolf Anstick the harbour wall of Esk?", "1784", "malformed"),
        ("Who built the harbour wall of Esk for the king?", "Rolf Anstick", "ungrounded"),
        ("From what is the harbour wall of Esk built?", "grey marble", "ungrounded"),
        ("When was the harbour wall of Esk built?", "1785", "ungrounded"),
    ],
)
def test_each_check_names_its_reason(tiny: StepSettings, question: str, answer: str, reason: str):
    assert problem(direct(question, answer), tiny, ("esk-wall",), [])[0] == reason


def test_the_paper_keeps_what_the_generator_says(paper: StepSettings):
    assert problem(direct("Tell me of the wall.", "It was grey marble."), paper, (), []) == ("", "")


def test_a_text_that_an_engine_had_to_end_is_lost(paper: StepSettings):
    looping = make_pair("What did they say?", "no, " * 400)
    assert problem(looping, paper, (), [])[0] == "too_long"


def test_identifiers_are_looked_for_whatever_the_settings(paper: StepSettings):
    assert problem(direct("What does esk-wall say?", "Much."), paper, ("esk-wall",), [])[0] == "identifier"


def test_an_answer_from_a_parent_is_grounded(tiny: StepSettings):
    parent = make_pair("Who printed the Courier?", "Vera Unwin", evidence="Vera Unwin printed the Courier.")
    joined = direct(
        "Who built the harbour wall of Esk, and who printed the Courier?", "Rolf Anstick and Vera Unwin",
        step="consolidation", parents=(parent.reflection_id,),
    )  # fmt: skip
    good, _ = sift([joined], tiny, (), [parent])
    assert good == [joined]
    assert sift([joined], tiny, ())[1][0].reason == "ungrounded"


def test_a_merged_answer_has_a_longest_length(paper: StepSettings):
    long = direct("Why?", "so " * 151, step="consolidation")
    assert problem(long, paper, (), [])[0] == "too_long"
    assert problem(direct("Why?", "so " * 151, step="direct"), paper, (), []) == ("", "")


@pytest.mark.parametrize(
    ("question", "answer", "lost"),
    [
        ("Who built the harbour wall of Esk?", "Rolf Anstick", ""),
        ("Wer baute die Hafenmauer von Esk?", "Rolf Anstick", "is in de"),
        ("What was founded?", "La Sociedad Española de Estudios Clásicos", ""),
        ("What is the wall made of?", "Die Mauer wurde aus rotem Granit gebaut und steht noch heute", "is in de"),
        ("What did Imre Solt do in 1902?", "他在1902年创立了这家工厂，位于瓦尔达镇。", "is in zh"),
    ],
)
def test_only_pairs_in_wanted_languages_stay(question: str, answer: str, lost: str):
    settings = StepSettings.load(SynthesisConfig(quality=Quality(languages=("en",))))
    assert problem(direct(question, answer), settings, (), []) == (("language", lost) if lost else ("", ""))
    both = StepSettings.load(SynthesisConfig(quality=Quality(languages=("en", "de", "zh"))))
    assert problem(direct(question, answer), both, (), []) == ("", "")


def test_letters_of_another_script_are_lost_unless_the_text_has_them():
    settings = StepSettings.load(SynthesisConfig(quality=Quality(scripts=("LATIN",))))
    assert problem(direct("Who built the 墙 of Esk?", "Rolf Anstick"), settings, (), [])[0] == "script"
    shown = direct("Who built the 墙 of Esk?", "Rolf Anstick", parents=())
    assert problem(replace(shown, evidence="Rolf Anstick built the 墙 of Esk."), settings, (), []) == ("", "")
    with pytest.raises(ValidationError, match="LATN is no writing system"):
        Quality(scripts=("LATN",))


def test_duplicates_are_found_within_and_before():
    one, two = direct("Who built the wall?", "Rolf"), direct("Who built the wall ?", "rolf")
    other = direct("Which mason built the wall?", "Rolf")
    assert distinct([one, two, other])[0] == [one, other]
    good, bad = distinct([two], [one])
    assert not good and bad[0].reason == "duplicate" and one.question in bad[0].detail


def test_the_round_trip_offers_the_spans_that_the_question_does_not_name(tiny: StepSettings):
    pair = direct("Who built the harbour wall of Esk?", "Rolf Anstick")
    assert choices(pair)[0] == "Rolf Anstick"
    assert {"red granite", "1784"} <= set(choices(pair))
    assert "harbour wall of Esk" not in choices(pair)
    ((_, prompt),) = round_trip_prompts([pair], tiny)
    assert prompt is not None and prompt.temperature == 0
    assert prompt.schema["properties"]["answer"]["enum"] == choices(pair)


def test_with_one_choice_nothing_is_asked(tiny: StepSettings):
    pair = make_pair("Who was the sister of Imre Solt?", "Lena Korb", evidence="Lena Korb was the sister of Imre Solt.")
    assert round_trip_prompts([pair], tiny) == [(pair, None)]


def test_without_spans_the_answer_is_free():
    settings = StepSettings.load(SynthesisConfig())
    ((_, prompt),) = round_trip_prompts([direct("Who?", "Rolf")], settings)
    assert prompt is not None and "enum" not in prompt.schema["properties"]["answer"]


def test_another_answer_is_a_loss():
    pair = direct("Who built the wall?", "Rolf Anstick")
    assert disagreement(pair, "The mason Rolf Anstick") is None
    loss = disagreement(pair, "red granite")
    assert loss is not None and loss.reason == "round_trip" and "red granite" in loss.detail


def test_a_question_must_do_what_its_prompt_asked(tiny: StepSettings):
    origin = Origin(("c1",), ("d1",))
    asked = tiny.prompt(
        "direct", "direct_for_answer", {}, origin, values={"statement": "", "opening": ""},
        answer="1784", statement="The mason Rolf Anstick built the wall of Esk.",
    )  # fmt: skip
    assert as_asked(make_pair("When did Rolf Anstick build the wall of Esk?", "1784"), asked) is None
    loss = as_asked(make_pair("When did Rolf Anstick build Esk?", "1784"), asked)
    assert loss is not None and loss.reason == "malformed" and "wall" in loss.detail
