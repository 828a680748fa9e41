"""A thin client of the gateway, for `memo ask`: one question in, the whole answer out, stages as they happen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx

from memo_ray.errors import ConfigError, GenerationError

CONNECT_S = 5.0
TABLE_S = 30.0
LOOK_S = 0.5
"""Seconds between looks at a swap."""


def ask(
    url: str,
    question: str,
    api_key: str | None = None,
    on_event: Callable[[dict[str, Any]], None] | None = None,
    timeout_s: float | None = None,
) -> dict[str, Any]:
    """The answer of POST URL/v1/answers. `on_event` is called with every stage event as it happens.

    `timeout_s`: the longest silence; none: as long as the server takes. Raises GenerationError when the gateway
    cannot be reached or cannot answer, ConfigError when it refuses the key or the request.
    """
    body = {"question": question, "stream": on_event is not None}
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    try:
        with (
            httpx.Client(timeout=httpx.Timeout(timeout_s, connect=CONNECT_S), trust_env=False) as client,
            client.stream("POST", f"{url.rstrip('/')}/v1/answers", json=body, headers=headers) as response,
        ):
            if response.status_code != 200:
                response.read()
                raise refusal(url, response)
            if on_event is None:
                response.read()
                return response.json()
            return last_answer(url, response.iter_lines(), on_event)
    except httpx.TimeoutException:
        raise GenerationError(f"{url}: the gateway did not answer in time; ask again or raise the time limit") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise GenerationError(
            f"{url}: the gateway cannot be reached ({reason}); start it with `memo serve RUN`"
        ) from None
    except json.JSONDecodeError:
        raise GenerationError(f"{url}: does not answer like a memo-ray gateway; check the address") from None


def swap(url: str, memory: str, api_key: str, wait_s: float = 900) -> None:
    """Have the gateway serve this version of a memory (NAME@VERSION), or the newest again (NAME); return once it does.

    Raises ConfigError when it refuses, GenerationError when the version cannot be loaded or not within `wait_s`.
    """
    name, _, version = memory.partition("@")
    headers = {"Authorization": f"Bearer {api_key}"}
    end = time.monotonic() + wait_s
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=TABLE_S, trust_env=False) as client:
            response = client.post("/admin/memories", json={"memory": memory})
            while time.monotonic() < end:
                if response.status_code not in (200, 202):
                    raise refusal(url, response)
                row = next(row for row in response.json()["memories"] if row["entry"] == name)
                if row["error"] and not row["loading"]:
                    raise GenerationError(f"{url}: {row['error']}")
                if row["serves"] == memory or (not version and row["serves"] and not row["loading"]):
                    return
                time.sleep(LOOK_S)
                response = client.get("/admin/memories")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise GenerationError(f"{url}: the gateway cannot be reached ({error or type(error).__name__})") from None
    raise GenerationError(f"{url}: {memory} was not loaded within {wait_s:g} s; GET /admin/memories says how far it is")


def healthy(url: str) -> bool:
    """Whether a gateway answers at `url` and all its deployments are well."""
    try:
        return httpx.get(f"{url.rstrip('/')}/healthz", timeout=CONNECT_S, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def last_answer(url: str, lines: Iterator[str], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Hand over every `stage` event of an event stream; return the `answer`."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            data = json.loads(line.removeprefix("data: "))
            if kind == "answer":
                return data
            if kind == "error":
                raise GenerationError(f"{url}: {data['error']['message']}")
            on_event(data)
    raise GenerationError(f"{url}: the gateway ended before the answer; its log says why")


def refusal(url: str, response: httpx.Response) -> ConfigError | GenerationError:
    """The error for an answer with another status than 200."""
    try:
        message = response.json()["error"]["message"]
    except (json.JSONDecodeError, KeyError, TypeError):
        message = f"status {response.status_code}"
    if response.status_code == 401:
        return ConfigError(f"{url}: {message}; set the key that the gateway was started with")
    kind = ConfigError if response.status_code < 500 and response.status_code != 429 else GenerationError
    return kind(f"{url}: {message}")
