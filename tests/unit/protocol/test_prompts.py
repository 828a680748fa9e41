from __future__ import annotations

import json
import re
import shutil

import pytest

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ProtocolError
from memo_ray.protocol.executive import STAGES, read
from memo_ray.protocol.prompts import FOLDER, PLACEHOLDERS, digest, fill, load
from memo_ray.protocol.schemas import schema_of
from memo_ray.protocol.state import Reply, State


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(FOLDER, tmp_path / "prompts")


def test_every_file_is_declared_and_every_declared_file_loads():
    assert {path.stem for path in FOLDER.iterdir()} == set(PLACEHOLDERS)
    assert set(load(FOLDER)) == set(PLACEHOLDERS)


def test_an_unknown_placeholder_is_named(folder):
    path = folder / "repair.md"
    path.write_text(path.read_text() + " $eror")
    with pytest.raises(ProtocolError, match=r"repair\.md: \$eror is unknown or missing"):
        load(folder)


def test_a_placeholder_that_is_not_used_is_named(folder):
    (folder / "asking.md").write_text("Ask.")
    with pytest.raises(ProtocolError, match=r"asking\.md: \$max_questions"):
        load(folder)


def test_a_lone_dollar_is_named(folder):
    (folder / "abstention.md").write_text("It costs 5 $.")
    with pytest.raises(ProtocolError, match=r"abstention\.md: holds a lone \$"):
        load(folder)


def test_a_missing_file_is_named(folder):
    (folder / "common.md").unlink()
    with pytest.raises(ProtocolError, match=r"common\.md: the prompt cannot be read"):
        load(folder)


def test_values_must_fit():
    with pytest.raises(ProtocolError, match=r"prompt repair: takes \['error'\], got \[\]"):
        fill("repair")


def test_the_digest_is_short_and_stable():
    assert re.fullmatch("[0-9a-f]{16}", digest())
    assert digest() == digest()


@pytest.mark.parametrize("stage", ["grounding", "identification", "answering", "synthesis"])
def test_the_worked_example_follows_the_schema_and_names_every_key(stage):
    config = ProtocolConfig()
    text = STAGES[stage].instructions(config) if stage in STAGES else fill("synthesis", common=fill("common"))
    example = next(line for line in text.splitlines() if line.startswith("{"))
    assert json.loads(example) == read(State(config, False, stage=stage), Reply("1", example))
    for name in schema_of(stage, config.max_sub_questions)["properties"]:
        assert f'"{name}":' in text.replace(example, "")


def test_the_limits_stand_in_the_instructions():
    config = ProtocolConfig(demote_after=4, eliminate_after=6, max_sub_questions=3)
    text = STAGES["identification"].instructions(config)
    assert "After 4 of them" in text
    assert "After 6 it is struck off" in text
    assert "at most 3 questions" in text
    assert "yes or no" in text
    assert "$" not in text
