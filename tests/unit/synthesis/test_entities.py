"""Step 4."""

from __future__ import annotations

from memo_ray.synthesis import entities
from memo_ray.synthesis.settings import StepSettings
from tests.unit.synthesis.conftest import make_pair

BUILT = make_pair(
    "Who built the Vell Tower?", "Abel Thrane", evidence="The shipwright Abel Thrane built the Vell Tower."
)
PAID = make_pair("Who paid the fine?", "Abel Thrane", evidence="Abel Thrane paid the fine of Varda in 1850.")
OTHER = make_pair("Who painted the Pask School?", "Lena Korb", evidence="Lena Korb painted the Pask School.")


def test_facts_are_gathered_over_all_pairs_that_name_an_entity():
    facts = entities.found([BUILT, PAID, OTHER])
    assert facts["Abel Thrane"] == [BUILT, PAID]
    assert facts["Pask School"] == [OTHER]


def test_the_generator_names_entities_by_the_numbers_of_their_pairs(paper: StepSettings):
    (prompt,) = entities.naming_prompts([BUILT, PAID, OTHER], paper)
    value = {"entities": [{"name": "Abel  Thrane", "pairs": [1]}, {"name": "Nobody", "pairs": [9]}]}
    other = {"entities": [{"name": "ABEL THRANE", "pairs": [2, 2]}]}
    assert entities.named([(prompt, value), (prompt, other)]) == {"Abel Thrane": [BUILT, PAID]}


def test_the_paper_shows_the_facts_and_asks_for_descriptions_alone(paper: StepSettings):
    (prompt,) = entities.prompts({"Abel Thrane": [BUILT, PAID]}, paper)
    assert "Entity: Abel Thrane" in prompt.messages[-1]["content"]
    assert "2. Q: Who paid the fine? A: Abel Thrane" in prompt.messages[-1]["content"]
    said = [("Who built and paid?", [1, 2]), ("Who did both?", []), ("Who built?", [1])]
    reply = {"pairs": [{"question": question, "uses": uses} for question, uses in said]}
    good, unsure, single = entities.pairs(prompt, reply)
    assert {pair.answer for pair in (good, unsure, single)} == {"Abel Thrane"}
    assert good.parents == unsure.parents == (BUILT.reflection_id, PAID.reflection_id)
    assert (good.kind, single.kind, single.parents) == ("two_facts", "one_fact", (BUILT.reflection_id,))
    assert entities.named_itself(good, "Abel Thrane") == ""
    named = make_pair("Which tower did Abel Thrane build?", "Abel Thrane")
    assert "names Abel Thrane itself" in entities.named_itself(named, "Abel Thrane")


def test_a_name_is_the_entity_only_of_pairs_that_mention_it():
    assert entities.mentions(BUILT, "Abel Thrane") and entities.mentions(BUILT, "Captain Abel Thrane")
    assert not entities.mentions(BUILT, "Vera Unwin") and not entities.mentions(BUILT, "the")


def test_the_sentence_set_puts_statements_without_the_name_together(tiny: StepSettings):
    facts = entities.found([BUILT, PAID, OTHER])
    (prompt,) = entities.prompts(facts, tiny)
    assert prompt.answer == "Abel Thrane"
    assert prompt.messages[-1]["content"].startswith("Statement 1: ____ built the Vell Tower.\nStatement 2: ____ paid")
    assert "Abel" not in str(prompt.schema)
    assert prompt.items == (BUILT, PAID)


def test_an_entity_with_one_fact_is_what_a_direct_question_asks_already(tiny: StepSettings):
    assert entities.prompts(entities.found([OTHER]), tiny) == []
