"""The native call over gRPC through Serve's own proxy."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from memo_ray.protocol.protocol import replay
from memo_ray.serving.ray_serving import ServedRun, deploy
from memo_ray.serving.rpc.answers_pb2 import Question
from memo_ray.serving.rpc.answers_pb2_grpc import AnswersStub
from tests.ray.scripted_endpoint import ANSWER, QUESTION, Endpoint, free_port
from tests.ray.test_serving import settings

KEY = "k-grpc"
BEARER = [("authorization", f"Bearer {KEY}")]
PORT = free_port()


@pytest.fixture(scope="module")
def served(ray_cluster: None) -> Iterator[ServedRun]:
    endpoint = Endpoint()
    endpoint.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEMO_TEST_KEY", KEY)
        config = settings(endpoint, api_key_env="MEMO_TEST_KEY", grpc_port=PORT)
        with deploy(config, None, None, wait_s=120) as run:
            yield run
    endpoint.stop()


@pytest.fixture
def stub(served: ServedRun) -> Iterator[AnswersStub]:
    with grpc.insecure_channel(f"127.0.0.1:{PORT}") as channel:
        yield AnswersStub(channel)


def test_a_question_is_answered_whole_and_streamed(stub: AnswersStub) -> None:
    reply = stub.Answer(Question(question=QUESTION), metadata=BEARER, timeout=60)
    assert (reply.answer, len(reply.citations), reply.usage.memory.input_tokens) == (ANSWER, 2, 20)
    assert replay(list(reply.transcript)).answer == ANSWER
    events = list(stub.Stream(Question(question=QUESTION, model="memo"), metadata=BEARER, timeout=60))
    stages = [event.stage["stage"] for event in events if event.WhichOneof("kind") == "stage"]
    assert (stages[0], events[-1].answer.answer) == ("grounding", ANSWER)


def test_a_failure_has_gateways_message(stub: AnswersStub) -> None:
    for metadata, question, status, message in (
        (BEARER, "", grpc.StatusCode.INVALID_ARGUMENT, "question: "),
        ([], QUESTION, grpc.StatusCode.UNAUTHENTICATED, "no API key"),
    ):
        with pytest.raises(grpc.RpcError) as whole:
            stub.Answer(Question(question=question), metadata=metadata, timeout=60)
        with pytest.raises(grpc.RpcError) as streamed:
            list(stub.Stream(Question(question=question), metadata=metadata, timeout=60))
        for caught in (whole.value, streamed.value):
            assert isinstance(caught, grpc.Call)
            assert (caught.code(), str(caught.details())[: len(message)]) == (status, message)
