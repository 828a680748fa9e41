"""Requests that Schemathesis makes of the gateway's own OpenAPI schema, and models that reply anything at all.

Gateway, protocol and ledger are the real ones. Nothing ends in a 500, nothing hangs, what the schema allows is taken,
what it forbids is not, every reply is as it says, and what was served before is served after.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import GenerationError
from memo_ray.models.chat import ChatReply
from memo_ray.serving.failures import new_door
from memo_ray.serving.gateway import Entrance, GatewaySettings, create_app
from memo_ray.serving.keys import Key, digest_of
from memo_ray.serving.questions import ProtocolDeployment
from memo_ray.serving.replies import Defaults
from memo_ray.serving.shapes import Answer
from tests.browser.scripted_gateway import PAGES, QUESTION, Scripted, Several, tables
from tests.unit.protocol.test_properties import Babble

KEY = "k-malformed"
HEADERS = {"Authorization": f"Bearer {KEY}"}
MODELS = ("memo", "memory", "memo/law", "memory/wiki@1", "executive", "memo/none")
BYTES = 2**14
BEYOND_THE_SCHEMA = (
    "question: is empty",
    "messages: needs a user message with text",
    "response_format.json_schema: is required",
    "model: must be memo or memo/NAME here",
    "model: the executive was made from no documents",
    "the body is nested more than",
    "the body is not valid JSON in UTF-8 ('utf-8' codec can't encode",
)
"""How the refusal of a request begins that a JSON schema cannot tell from a good one."""

READ = (
    *("/v1/models", "/v1/models/memo", "/v1/documents", "/v1/reflections?document_id=evil.html", "/healthz"),
    "/v1/spans?document_id=chronicle.md&end=50",
)
EVERY_CHECK: Any = list(HealthCheck)
plain = settings(
    deadline=None, database=None, suppress_health_check=EVERY_CHECK, phases=(Phase.generate,), derandomize=True
)


@pytest.fixture
def backend(tmp_path_factory: pytest.TempPathFactory) -> Scripted:
    return Scripted(tables(tmp_path_factory.mktemp("corpus")))


def app_of(backend: Scripted) -> Any:
    key = Key(name="all", sha256=digest_of(KEY), documents=True)
    defaults = Defaults({"memory": 64, "executive": 64}, {"memory": 0.0, "executive": 1.0})
    allowed = GatewaySettings((key,), ("memo", "memory", "executive"), defaults, BYTES, timeout_s=20)
    return create_app(Entrance(backend, allowed), new_door())


def client_of(app: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://gateway", headers=HEADERS)


async def served(app: Any) -> list[Any]:
    """What a reader sees, and what an asker is answered."""
    async with client_of(app) as http:
        answer = (await http.post("/v1/answers", json={"question": QUESTION})).json()
        shown: list[Any] = [(await http.get(path)).content for path in READ]
    return [*shown, {name: answer[name] for name in ("answer", "citations", "support", "usage", "stop_reason")}]


@pytest.mark.parametrize("requests", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_requests_made_of_the_schema_are_answered_as_it_says(backend: Scripted, requests: int) -> None:
    schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not in the lock; install it to run this")
    app = app_of(backend)
    before = asyncio.run(served(app))
    schema = schemathesis.openapi.from_asgi("/openapi.json", app)
    checks = schema.config.checks
    # 413: what is right by the schema may be too much; the 400s among them are looked at below.
    checks.positive_data_acceptance.expected_statuses = ["2xx", "400", "404", "413"]
    checks.negative_data_rejection.expected_statuses = ["400", "404", "413"]
    seen: Counter[tuple[str, int]] = Counter()

    def ask(case: Any, mode: Any, model: str, document: str) -> None:
        for fields in (case.body, case.query):
            if isinstance(fields, dict) and isinstance(fields.get("model"), str):
                fields["model"] = model
            if isinstance(fields, dict) and isinstance(fields.get("document_id"), str):
                fields["document_id"] = document
        response = case.call(headers=HEADERS)
        seen[mode.value, response.status_code] += 1
        case.validate_response(response)
        if mode == schemathesis.GenerationMode.POSITIVE and response.status_code == 400:
            assert response.json()["error"]["message"].startswith(BEYOND_THE_SCHEMA), (response.text, case.body)

    operations = [found.ok() for found in schema.get_all_operations()]
    open_ended = [operation for operation in operations if operation.query or operation.body]
    for operation in operations:
        for mode in schemathesis.GenerationMode if operation in open_ended else [schemathesis.GenerationMode.POSITIVE]:
            made = operation.as_strategy(generation_mode=mode)
            models, documents = st.sampled_from(MODELS), st.sampled_from(["", "none", *PAGES])
            most = settings(plain, max_examples=requests // (2 * len(open_ended)))
            most(given(case=made, mode=st.just(mode), model=models, document=documents)(ask))()
    assert seen.total() >= requests
    assert seen["positive", 200] > requests / 10 and seen["negative", 400] > requests / 4, seen
    assert asyncio.run(served(app)) == before


class Babbling:
    """The handle of an executive and a memory that reply anything, or fail."""

    def __init__(self, seed: int, oddities: list[str]) -> None:
        self.babble = Babble(seed, oddities)
        self.chat = self

    def options(self, method_name: str = "", **_: Any) -> Any:
        return Several(self) if method_name == "chats" else self

    async def remote(self, request: dict[str, Any]) -> dict[str, Any]:
        ask = SimpleNamespace(id=request["request_id"].split("/")[1])
        memory = any(turn["role"] == "user" for turn in request["messages"]) and request["schema"] is None
        text = self.babble.memory(ask.id) if memory else self.babble.executive(ask)
        if text is None:
            raise GenerationError("the model failed")
        return asdict(ChatReply(text, self.babble.random.choice(["stop", "length", ""]), 1, 1))


@pytest.mark.parametrize("questions", [30, pytest.param(2_000, marks=pytest.mark.slow)])
def test_whatever_the_models_reply_the_answer_is_whole_or_a_clear_error(backend: Scripted, questions: int) -> None:
    app = app_of(backend)
    before = asyncio.run(served(app))
    scripted, seen = backend.protocol, Counter[int]()

    def ask(seed: int, oddities: list[str], enforced: bool) -> None:
        engine: Any = Babbling(seed, oddities)
        backend.protocol = ProtocolDeployment(engine, engine, ProtocolConfig(), schema_enforced=enforced)
        whole, streamed = asyncio.run(asked(app))
        seen[whole.status_code] += 1
        if whole.status_code == 200:
            Answer.model_validate(whole.json())
        else:
            assert (whole.status_code, whole.json()["error"]["code"]) == (502, "model_failed")
        last = streamed.text.strip().split("\n\n")[-1] if streamed.status_code == 200 else "event: error"
        assert last.startswith(("event: answer", "event: error"))

    texts = st.lists(st.text(max_size=12), min_size=1, max_size=5)
    most = settings(plain, max_examples=questions)
    most(given(seed=st.integers(0, 2**32), oddities=texts, enforced=st.booleans())(ask))()
    assert seen[200] > seen.total() / 2
    backend.protocol = scripted
    assert asyncio.run(served(app)) == before


async def asked(app: Any) -> tuple[httpx.Response, httpx.Response]:
    """A question's answer, whole and streamed."""
    async with client_of(app) as http, asyncio.timeout(30):
        body = {"question": QUESTION}
        return await http.post("/v1/answers", json=body), await http.post("/v1/answers", json={**body, "stream": True})
