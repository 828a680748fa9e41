"""What memories were made from, over the gateway: who may look, what is refused, and whether the schema is true."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from memo_ray.serving import shapes
from memo_ray.serving.answers import answer_body
from memo_ray.serving.keys import Key, digest_of
from memo_ray.serving.ledger import LedgerDeployment, support_of
from memo_ray.serving.openapi import openapi
from tests.unit.serving.test_gateway import Echo, client_of
from tests.unit.serving.test_ledger import TEXT, WHO, files, outcome_of

__all__ = ["files"]

pytestmark = pytest.mark.anyio

KEYS = (
    Key(name="reader", sha256=digest_of("k-reader"), models=("memo/law",), documents=True),
    Key(name="asker", sha256=digest_of("k-asker"), models=("memo/law",)),
)
LOOKS = (
    ("documents", {}),
    ("reflections", {"document_id": "d1"}),
    ("spans", {"document_id": "d1", "start": 130, "end": 140}),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def echo(files: Any) -> Echo:
    made = Echo()
    made.served = ("law", "law@2", "wiki", "wiki@1")
    made.ledger = LedgerDeployment([files], None)
    return made


async def look(http: httpx.AsyncClient, what: str, key: str = "", **query: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return await http.get(f"/v1/{what}", params=query, headers=headers)


async def test_documents_reflections_and_spans_are_read_page_by_page(echo: Echo) -> None:
    http = client_of(echo)
    documents = shapes.Documents.model_validate((await look(http, "documents", model="memo/law")).json())
    assert [(row.document_id, row.title) for row in documents.data] == [("d1", "Amber")]
    pairs = shapes.Reflections.model_validate((await look(http, "reflections", document_id="d1")).json())
    assert (pairs.total, pairs.data[0].question) == (1, WHO)
    place = pairs.data[0].places[0]
    response = await look(http, "spans", document_id="d1", start=place.start, end=place.end, around=0)
    assert shapes.Span.model_validate(response.json()).text == TEXT
    assert response.headers["cache-control"] == "no-store"
    assert echo.browsed == ["law", "", ""]


@pytest.mark.parametrize(("what", "query"), LOOKS, ids=[what for what, _ in LOOKS])
async def test_a_key_without_the_scope_learns_nothing(echo: Echo, what: str, query: dict[str, Any]) -> None:
    http = client_of(echo, keys=KEYS)
    assert (await look(http, what, model="memo/law", **query)).status_code == 401
    assert (await look(http, what, "k-reader", model="memo/law@2", **query)).status_code == 200
    told = {}
    for name in ("wiki", "nono"):
        for model in (f"memo/{name}", f"memory/{name}", f"memo/{name}@1"):
            response = await look(http, what, "k-reader", model=model, **query)
            assert (response.status_code, response.json()["error"]["code"]) == (404, "model_not_found")
            told.setdefault(model.replace(name, "NAME"), set()).add(response.text.replace(name, "NAME"))
    assert [len(texts) for texts in told.values()] == [1, 1, 1]
    # A key that may not read documents is told so whatever it names.
    refusals = {(await look(http, what, "k-asker", model=f"memo/{n}", **query)).text for n in ("law", "wiki", "nono")}
    assert len(refusals) == 1 and "documents_not_allowed" in refusals.pop()
    assert echo.browsed == ["law@2"]


async def test_wrong_queries_are_refused_by_name(echo: Echo) -> None:
    http = client_of(echo)
    wrong: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("documents", {"limit": 0}, "limit"),
        ("documents", {"limit": 10**6}, "limit"),
        ("documents", {"offset": "one"}, "offset"),
        ("documents", {"sort": "size"}, "sort"),
        ("documents", {"colour": "red"}, "colour"),
        ("reflections", {}, "document_id"),
        ("spans", {"document_id": "d1", "start": -1}, "start"),
        ("spans", {"document_id": "d1", "end": 2**40}, "end"),
    )
    for what, query, named in wrong:
        refused = await look(http, what, **query)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, named), query
    missing = await look(http, "spans", document_id="d\x00" * 300)
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "document_not_found")
    echo.ledger = None
    bare = await look(http, "documents")
    assert (bare.status_code, bare.json()["error"]["code"]) == (404, "no_documents")
    assert [(await http.post(f"/v1/{what}")).status_code for what, _ in LOOKS] == [405, 405, 405]


async def test_the_schema_describes_every_route_and_names_no_memory(echo: Echo) -> None:
    http = client_of(echo, keys=KEYS)
    response = await http.get("/openapi.json")
    assert response.status_code == 200
    schema = response.json()
    assert sorted(schema["paths"]) == [
        "/healthz", "/v1/answers", "/v1/chat/completions", "/v1/documents", "/v1/models", "/v1/models/{name}",
        "/v1/reflections", "/v1/spans",
    ]  # fmt: skip
    assert "law" not in response.text and "admin" not in response.text
    names = [row["name"] for row in schema["paths"]["/v1/spans"]["get"]["parameters"]]
    assert names == ["model", "document_id", "start", "end", "around"]
    pointed = {part.partition('"')[0] for part in response.text.split("#/components/schemas/")[1:]}
    assert pointed == set(schema["components"]["schemas"]) and len(pointed) > 10


def test_an_answer_is_what_the_schema_says(files: Any, tmp_path: Path) -> None:
    outcome = outcome_of()

    class Ledger:
        """A handle of the deployment."""

        def __init__(self) -> None:
            self.support = self

        async def remote(self, pairs: Any) -> Any:
            return LedgerDeployment([files], None).support(pairs)

    support = asyncio.run(support_of({"": Ledger()}, outcome.done.evidence))  # type: ignore[dict-item]
    for found in (support, None):
        body = shapes.Answer.model_validate(answer_body("a", "q", outcome, found))
        assert (body.answer, body.citations[0].support is not None) == ("Ilse Verran", found is not None)
    assert set(openapi()["components"]["schemas"]["Answer"]["required"]) == set(shapes.Answer.model_fields)
