"""The gateway's reply to rows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ProtocolError
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.protocol_rows import executive_tokens, protocol_rows
from memo_ray.protocol import protocol, state
from memo_ray.protocol.describe import describe
from memo_ray.protocol.transcript import header, line
from tests.unit.evaluation.conftest import gateway_reply

ASKED = Asked("q7", "two_hop", "Which stone did the builder use?", ["red granite", "granite"])


def test_rows_keep_the_kind_count_tokens_and_can_be_replayed() -> None:
    answer, transcript = protocol_rows(ASKED, gateway_reply(ASKED), 2.5)
    assert (answer.system, answer.kind, answer.recalled, answer.seconds) == ("memo", "two_hop", True, 2.5)
    assert (answer.input_tokens, answer.output_tokens) == (30, 7)
    assert transcript.justification == gateway_reply(ASKED)["justification"]
    assert describe(transcript.events.splitlines())[0] == "Question: Which stone did the builder use?"


def test_a_transcript_of_objects_is_the_same() -> None:
    reply = gateway_reply(ASKED)
    objects = reply | {"transcript": [json.loads(line) for line in reply["transcript"]]}
    assert protocol_rows(ASKED, objects, 1.0) == protocol_rows(ASKED, reply, 1.0)


@pytest.mark.parametrize("change", [{"answer": None}, {"transcript": None}, {"transcript": []}, {"transcript": ["{"]}])
def test_an_unusable_reply_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ProtocolError):
        protocol_rows(ASKED, gateway_reply(ASKED) | change, 1.0)


def test_what_the_executive_used_is_told_from_what_the_memory_did() -> None:
    config = ProtocolConfig()
    machine, effects = protocol.start(ASKED.question, config, schema_enforced=True)
    (first,) = [effect for effect in effects if isinstance(effect, state.Ask)]
    planned = state.Reply(first.id, json.dumps({"questions": ["Which stone is it?"]}), 30, 7)
    _, effects = protocol.advance(machine, planned)
    (second,) = [effect for effect in effects if isinstance(effect, state.Ask)]
    assert (first.to, second.to) == ("executive", "memory")
    events = [state.Asked(ASKED.question), planned, state.Reply(second.id, "Granite.", 200, 90), state.Deadline()]
    lines = [header(config, True), *(line(event) for event in events)]
    answer, transcript = protocol_rows(ASKED, gateway_reply(ASKED) | {"transcript": lines}, 1.0)
    assert (answer.input_tokens, answer.output_tokens) == (230, 97)
    assert executive_tokens([transcript, transcript]) == {
        "executive_input_tokens": 60,
        "executive_output_tokens": 14,
    }
    assert executive_tokens([]) == {"executive_input_tokens": 0, "executive_output_tokens": 0}
