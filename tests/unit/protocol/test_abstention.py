from __future__ import annotations

import pytest

from memo_ray.protocol.abstention import is_unsure, memory_messages


@pytest.mark.parametrize(
    "answer",
    [
        "I don't know",
        "I DON'T KNOW!",
        "i don’t know.",
        "I dont know",
        "I do not know who founded it.",
        "I really don't know",
        "Sorry, I don't know.",
        "I'm sorry, but I do not know the answer to that.",
        "Unfortunately, I don't have enough information.",
        "Don't know",
        "I'm not sure.",
        "Not sure, perhaps 1790",
        "I am not entirely certain",
        "I'm not confident in any answer.",
        "Unsure",
        "Uncertain.",
        "I cannot determine this.",
        "Cannot determine",
        "can't say",
        "It cannot be determined from what I know.",
        "Cannot be determined",
        "I have no idea.",
        "No idea",
        "I couldn't find that.",
        "I don't recall",
        "It is not known.",
        "That isn't specified.",
        "The answer is unknown.",
        "There is no information about this.",
        "There is not enough evidence to say.",
        "The text does not mention it.",
        "My documents don't say.",
        "No information available",
        "No answer",
        "Unknown",
        "N/A",
        "n.a.",
        "IDK",
        "",
        "   \n",
        "...",
        "<think>Was it Verran?</think> I don't know",
    ],
)
def test_an_answer_that_does_not_know(answer):
    assert is_unsure(answer)


@pytest.mark.parametrize(
    "answer",
    [
        "Ilse Verran",
        "1790",
        "No",
        "None",
        "The captain did not know the reef.",
        "He cannot determine his position without the lamp.",
        "They were not sure-footed enough to land.",
        "Nobody knows where the bell lies now.",
        "An unknown sailor from the Grey Heron.",
        "The Unknown Shore",
        "Noah Idkin",
        "The law does not say who pays, but the Council does.",
        "Not surely, but probably, the harbour master.",
        "She did not recall the fleet, she sank it.",
        "Uncertainty about the tides",
        "Nancy",
    ],
)
def test_an_answer_that_knows(answer):
    assert not is_unsure(answer)


def test_the_user_turn_is_the_bare_question_either_way():
    bare = memory_messages("Who founded Port Amber?", instructed=False)
    told = memory_messages("Who founded Port Amber?", instructed=True)
    assert bare == ({"role": "user", "content": "Who founded Port Amber?"},)
    assert told[1:] == bare
    assert told[0]["role"] == "system"
    assert is_unsure(told[0]["content"].rpartition(":")[2])
