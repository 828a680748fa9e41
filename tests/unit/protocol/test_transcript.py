from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ProtocolError
from memo_ray.protocol.prompts import digest
from memo_ray.protocol.protocol import replay
from memo_ray.protocol.state import Asked, Deadline, Failed, Reply
from memo_ray.protocol.transcript import header, line, question_of, read_transcript

TEXTS = st.text(st.characters(), max_size=20)
EVENTS = st.one_of(
    st.builds(Asked, TEXTS),
    st.builds(Reply, TEXTS, TEXTS, st.integers(0, 9999), st.integers(0, 9999), st.sampled_from(["stop", "length"])),
    st.builds(Failed, TEXTS, TEXTS),
    st.just(Deadline()),
)


@given(st.lists(EVENTS, max_size=6), st.booleans())
def test_events_survive_the_way_to_json_lines_and_back(events, enforced):
    config = ProtocolConfig(max_sub_questions=3, deadline_s=2.5)
    lines = [header(config, enforced), *(line(event) for event in events)]
    assert all(text.isascii() and "\n" not in text for text in lines)
    assert read_transcript("\n".join(lines).split("\n")) == (config, enforced, events)


def test_the_header_names_format_and_prompts():
    first = json.loads(header(ProtocolConfig(), True))
    assert (first["transcript"], first["prompts"], first["schema_enforced"]) == (1, digest(), True)


HEADER = header(ProtocolConfig(), False)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the transcript is empty"),
        (["{"], "line 1: is not valid JSON"),
        (["[]"], "line 1: is not a JSON object"),
        (['{"transcript":7}'], "line 1: format 7 is unknown"),
        (['{"transcript":1,"config":{"budget":1}}'], "line 1: config.budget"),
        (['{"transcript":1}'], "line 1: config"),
        ([HEADER, '{"event":"said"}'], "line 2: unknown event 'said'"),
        ([HEADER, "", '{"event":"reply","id":"x"}'], "line 3: reply needs the fields id, text"),
        ([HEADER, '{"event":"reply","id":"x","text":5}'], "line 2: reply.text"),
        ([HEADER, '{"event":"reply","id":"x","text":"","why":"?"}'], "line 2: reply.why: is unknown"),
        ([HEADER], "ends before the answer"),
        ([HEADER, '{"event":"asked","question":"Who?"}'], "ends before the answer"),
        ([HEADER, '{"event":"deadline"}'], "came before the question"),
    ],
)
def test_what_is_wrong_with_a_transcript_is_said(lines, message):
    with pytest.raises(ProtocolError, match=message):
        replay(lines)


def test_the_question_is_read_from_a_transcript():
    assert question_of([HEADER, line(Asked(" Who? "))]) == "Who?"
    with pytest.raises(ProtocolError, match="does not begin with a question"):
        question_of([HEADER])
