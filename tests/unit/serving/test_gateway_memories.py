"""The gateway with several registered memories: names, scopes, who is asked, and the operator's routes."""

from __future__ import annotations

import httpx
import pytest

from memo_ray.serving.keys import Key, digest_of
from tests.unit.serving.test_gateway import Echo, chat, client_of

pytestmark = pytest.mark.anyio

SERVED = ("law", "law@2", "wiki", "wiki@1", "acme-hr", "acme-hr@5")
KEYS = (
    Key(name="all", sha256=digest_of("k-all")),
    Key(name="admin", sha256=digest_of("k-admin"), admin=True),
    Key(name="memo", sha256=digest_of("k-memo"), models=("memo",)),
    Key(name="wiki", sha256=digest_of("k-wiki"), models=("memo", "memo/wiki", "memory/wiki@1")),
    Key(name="acme", sha256=digest_of("k-acme"), models=("memo/acme-*",)),
)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def echo() -> Echo:
    made = Echo()
    made.served = SERVED
    return made


async def listed(http: httpx.AsyncClient, key: str) -> list[str]:
    rows = (await http.get("/v1/models", headers={"Authorization": f"Bearer {key}"})).json()["data"]
    return [row["id"] for row in rows]


async def test_a_key_sees_the_memories_of_its_scope(echo: Echo) -> None:
    http = client_of(echo, keys=KEYS)
    assert await listed(http, "k-all") == ["memo", "memory", *(f"{k}/{m}" for m in SERVED for k in ("memo", "memory"))]
    assert await listed(http, "k-memo") == ["memo"]
    assert await listed(http, "k-wiki") == ["memo", "memo/wiki", "memo/wiki@1", "memory/wiki@1"]
    assert await listed(http, "k-acme") == ["memo/acme-hr", "memo/acme-hr@5"]


async def test_unknown_and_forbidden_memories_are_told_alike(echo: Echo) -> None:
    http = client_of(echo, keys=KEYS)
    http.headers["Authorization"] = "Bearer k-wiki"
    told = {}
    for name in ("law", "nono"):
        path, body = "/v1/answers", {"question": "Who?", "model": f"memo/{name}"}
        responses = [
            await http.post("/v1/chat/completions", json=chat(f"memory/{name}")),
            await http.post("/v1/chat/completions", json=chat(f"memo/{name}@1", stream=True)),
            await http.post(path, json=body),
            await http.get(f"/v1/models/memo/{name}@2"),
        ]
        told[name] = [(r.status_code, r.text.replace(name, "NAME"), sorted(r.headers)) for r in responses]
        assert {r.status_code for r in responses} == {404}
    assert told["law"] == told["nono"]
    assert (await http.get("/v1/models/memo/wiki@1")).json()["id"] == "memo/wiki@1"


async def test_a_model_s_name_says_which_memory_is_asked(echo: Echo) -> None:
    http = client_of(echo, keys=KEYS)
    http.headers["Authorization"] = "Bearer k-all"
    for model in ("memo", "memo/wiki", "memo/law@2"):
        assert (await http.post("/v1/answers", json={"question": "Who?", "model": model})).status_code == 200
        body = (await http.post("/v1/chat/completions", json=chat(model))).json()
        assert body["model"] == model
        assert (await http.post("/v1/chat/completions", json=chat(model, stream=True))).status_code == 200
    assert echo.asked == [("",)] * 3 + [("wiki",)] * 3 + [("law@2",)] * 3
    body = (await http.post("/v1/chat/completions", json=chat("memory/law@2"))).json()
    assert body["choices"][0]["message"]["content"] == "memory/law@2: Who?"
    assert echo.requests[-1].max_tokens == 512
    wrong = await http.post("/v1/answers", json={"question": "Who?", "model": "memory/law"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "model")


@pytest.mark.parametrize(
    ("key", "asked"),
    [("k-all", ("law", "wiki", "acme-hr")), ("k-wiki", ("law", "wiki")), ("k-memo", ("law",))],
)
async def test_routing_stays_within_the_scope(echo: Echo, key: str, asked: tuple[str, ...]) -> None:
    http = client_of(echo, keys=KEYS, routed=True)
    http.headers["Authorization"] = f"Bearer {key}"
    assert (await http.post("/v1/answers", json={"question": "Who?"})).status_code == 200
    assert echo.asked == [asked]


async def test_the_operator_s_routes_do_not_exist_for_others(echo: Echo) -> None:
    http = client_of(echo, keys=KEYS)

    async def tell(key: str, memory: object) -> httpx.Response:
        return await http.post("/admin/memories", json={"memory": memory}, headers={"Authorization": f"Bearer {key}"})

    nowhere = await http.get("/admin/nothing")
    for response in (
        await tell("k-all", "law@2"),
        await http.get("/admin/memories", headers={"Authorization": "Bearer k-all"}),
        await client_of(echo).get("/admin/memories"),
    ):
        assert (response.status_code, response.text) == (404, nowhere.text)
    assert (await http.get("/admin/memories")).status_code == 401
    done = await tell("k-admin", "law@2")
    assert (done.status_code, done.json()["memories"][0]) == (202, {"entry": "law"})
    assert echo.swapped == ["law@2"]
    assert (await tell("k-admin", "nono")).status_code == 404
    assert (await tell("k-admin", 5)).status_code == 400
