"""Whom a question may name as its story does."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from memo_ray.config.synthesis import Grounding, HeldOut, SynthesisConfig
from memo_ray.rows import Chunk, Document
from memo_ray.synthesis.cast import NOBODY, Cast, bare, cast_from, cast_of, with_shared_names, work_title
from memo_ray.synthesis.checks import problem, sift
from memo_ray.synthesis.pairs import Source
from memo_ray.synthesis.recipe import Unit, synthesise_unit
from memo_ray.synthesis.settings import StepSettings
from memo_ray.synthesis.units import read_unit, unit_rows
from memo_ray.synthesis.wording import violations
from tests.unit.synthesis.conftest import Scripted, make_chunk, make_pair

TITLE = "The Ferry of Orm"
SCENE = (
    "Then the ferryman said that he would not row before dawn. In the hut old Brida mended a net, and Brida sang. "
    "A man said that the door was open. Another man said it was not, and the man left. The ferryman saw the door. "
    'When the tide turned, Brida gave the ferryman a lantern of green glass. "Row now," said the ferryman. '
)
STORY = SCENE * 12
EVIDENCE = f"{TITLE}\n\n{SCENE}"


@pytest.fixture(scope="module")
def cast() -> Cast:
    return replace(cast_of([STORY[:2000], STORY[2000:]]), title=TITLE)


@pytest.fixture
def strict() -> StepSettings:
    return StepSettings.load(SynthesisConfig(grounding=Grounding(strict_questions=True)))


def asked(question: str, answer: str = "A lantern of green glass"):
    return make_pair(question, answer, evidence=EVIDENCE)


def test_who_speaks_and_is_one_person_is_of_the_cast(cast: Cast):
    assert cast.roles == {"ferryman"}, "neither doors, which do not speak, nor men, who are many"
    assert cast.names == {"brida"}
    assert cast_of([SCENE]) == NOBODY, "once is not throughout"
    assert cast_from(cast.to_json()) == cast
    assert work_title(f'"{TITLE}"  (novel)') == TITLE


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        ("What did the ferryman get from the old woman?", ""),
        ("What did Brida give the ferryman when the tide turned?", ""),
        ("Who mended a net?", "malformed"),
        ("What did the man get?", "malformed"),
        ("What did the ferryman say?", "malformed"),
        ("What did Brida do?", "malformed"),
        ("What is the name of Brida?", "malformed"),
        ("Where in the hut is Brida?", ""),
        (f"What did {TITLE} get when the tide turned?", "malformed"),
    ],
)
def test_a_question_may_name_the_people_as_the_story_does(cast: Cast, strict: StepSettings, question: str, reason: str):
    assert problem(asked(question), strict, (), [], cast)[0] == reason


def test_a_role_needs_a_story_with_a_title(cast: Cast, strict: StepSettings):
    role = asked("What did the ferryman get when the tide turned?")
    assert problem(role, strict, (), [])[0] == "malformed", "nobody is known"
    reason, detail = problem(role, strict, (), [], replace(cast, title=""))
    assert reason == "malformed" and "no title" in detail


def test_the_title_comes_before_what_nothing_else_tells_apart(cast: Cast, strict: StepSettings):
    role, name = "What did the ferryman get when the tide turned?", "What did Brida mend in the hut?"
    (first, second), lost = sift([asked(role), asked(name, "A net")], strict, (), (), cast)
    assert first.question == f'In "{TITLE}", what did the ferryman get when the tide turned?' and not lost
    assert second.question == name, "no other document has a Brida"
    common = replace(cast, shared=frozenset({"brida"}))
    assert common.placed(name) == f'In "{TITLE}", what did Brida mend in the hut?'
    assert common.placed(first.question) == first.question, "once is enough"
    assert bare(first.question) == role
    assert sift([first], strict, (), (), cast)[0] == [first], "a rewritten pair is looked at again"


def test_names_that_two_documents_use_are_shared():
    casts = {"a": cast_of([STORY]), "b": cast_of([STORY]), "c": cast_of([STORY.replace("Brida", "Ottla")])}
    found = with_shared_names(casts)
    assert [found[key].shared for key in "abc"] == [{"brida"}, {"brida"}, frozenset()]


def test_what_is_rare_in_a_document_leads_to_its_place(cast: Cast, strict: StepSettings):
    pair = asked("Of which glass was the lantern made?", "Green glass")
    assert problem(pair, strict, (), [], cast)[0] == "malformed", "it may be any lantern"
    rare = replace(cast, rare=frozenset({"lantern"}))
    assert problem(pair, strict, (), [], rare) == ("", "")
    assert rare.placed(pair.question) == f'In "{TITLE}", of which glass was the lantern made?'
    assert problem(asked("What was the lantern?", "Green"), strict, (), [], rare)[0] == "malformed", (
        "says nothing of it"
    )
    assert problem(pair, strict, (), [], replace(rare, title=""))[0] == "malformed"


def test_a_pronoun_may_stand_for_a_role_but_not_for_the_title():
    assert violations(f'In "{TITLE}", what did the ferryman take when he rowed?', "A lantern") == []
    assert violations(f'In "{TITLE}", what did he take at dawn?', "A lantern") == ["unresolved_pronoun"]


def test_a_story_is_read_with_its_cast(cast: Cast):
    asks = {"question": "What did the ferryman get when the tide turned?", "answer": "a lantern of green glass"}
    model = Scripted(lambda request: {"pairs": [asks]} if "pairs" in (request.schema or {})["properties"] else {})
    config = SynthesisConfig(
        grounding=Grounding(strict_questions=True, lexical=True),
        without=("indirect", "consolidation", "verification", "entities"),
        held_out=HeldOut(share=0.0),
    )
    source = Source(replace(make_chunk(SCENE, "orm"), title=TITLE), (), cast)
    result = asyncio.run(synthesise_unit(Unit("u", [source]), model, StepSettings.load(config)))
    assert [pair.question for pair in result.pairs] == [
        f'In "{TITLE}", what did the ferryman get when the tide turned?'
    ]
    nobody = Unit("u", [replace(source, cast=NOBODY)])
    assert not asyncio.run(synthesise_unit(nobody, model, StepSettings.load(config))).pairs


def test_a_unit_carries_its_documents_cast(strict: StepSettings):
    texts = [*[SCENE] * 11, SCENE + "At noon a heron stood on the quay."]
    chunks = [replace(make_chunk(text, "orm"), title=TITLE) for text in texts]
    documents = [Document("orm", TITLE, "", "", "orm.txt")]

    def casts(chunks: list[Chunk], config: SynthesisConfig) -> set[Cast]:
        units = (read_unit(row["row_id"], row["payload"]) for row in unit_rows(chunks, documents, config))
        return {source.cast for unit in units for source in unit.sources}

    found = {cast.rare: cast for cast in casts(chunks, strict.config)}
    assert found.keys() == {frozenset(), frozenset({"noon", "heron", "stand", "qua"})}
    assert {(cast.roles, cast.title) for cast in found.values()} == {(frozenset({"ferryman"}), TITLE)}
    (nameless,) = casts([replace(chunk, title="orm.txt") for chunk in chunks], strict.config)
    assert nameless.title == "", "a file name is no title"
    assert casts(chunks, SynthesisConfig()) == {NOBODY}
