"""`memo ask` and `memo serve`: a run's memory and executive on Ray Serve, and one question put to them."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from memo_ray.artifacts.owner import is_alive, this_process
from memo_ray.artifacts.registry import Registry, parse
from memo_ray.config.serving import ServingConfig
from memo_ray.errors import ConfigError, StoreError
from memo_ray.pipeline import Results
from memo_ray.results import memory_of, stored_results
from memo_ray.workspace import Workspace

if TYPE_CHECKING:
    from memo_ray.citations.files import LedgerFiles

ADDRESS = "serving.json"
"""Where a running `memo serve` leaves its address, among the run's files."""


def ask_run(workspace: Workspace, question: str, *, url: str | None, stream: bool) -> dict[str, Any]:
    """The gateway's answer to `question`: of `url`, of the run's `memo serve`, or of one started for it alone."""
    from memo_ray.protocol.describe import describe_event
    from memo_ray.protocol.state import Emit
    from memo_ray.serving.client import ask

    if not question.strip():
        raise ConfigError("QUESTION: is empty; ask something")
    serving = workspace.config.serving
    key = os.environ.get(serving.api_key_env) if serving.api_key_env else None

    def show(event: dict[str, Any]) -> None:
        for line in describe_event(Emit(**event)):
            print(line, flush=True)

    with running_gateway(workspace, url) as address:
        return ask(
            address, question, api_key=key, on_event=show if stream else None, timeout_s=serving.request_timeout_s
        )


@contextmanager
def running_gateway(workspace: Workspace, url: str | None) -> Iterator[str]:
    """The address of a gateway; one that had to be started ends with the block."""
    from memo_ray.evaluation.stage import free_port
    from memo_ray.serving.client import healthy

    found = url or served_url(workspace)
    if url or (found and healthy(found)):
        yield str(found)
        return
    alone = {"host": "127.0.0.1", "port": free_port(), "keys_file": "", "memories": (), "routing": None}
    config = workspace.config.serving.model_copy(update=alone)
    models = find_models(workspace, config)
    workspace.console.say("no `memo serve` is running for this run; starting its models for this question (a minute)")
    with workspace, workspace.ray():
        served = start(workspace, config, models)
        try:
            yield served.url
        finally:
            served.close()


def serve_run(workspace: Workspace, changes: dict[str, Any]) -> None:
    """Serve until interrupted (Ctrl-C or SIGTERM), then take everything down again."""
    from memo_ray.serving.ray_serving import claim_port

    try:
        config = ServingConfig.model_validate(workspace.config.serving.model_dump() | changes)
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise ConfigError(f"--{found['loc'][0]}: {found['msg']}, got {found['input']}") from None
    models = find_models(workspace, config)
    claim_port(config.host, config.port)
    stop = threading.Event()
    # Until the models are up, either signal ends the command where it is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with workspace, workspace.ray():
        served = start(workspace, config, models)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        try:
            workspace.keep(ADDRESS, json.dumps({"url": served.url, **this_process()}))
            named = "".join(f", memo/{memory}" for memory in config.memories)
            print(f"serving {workspace.where} at {served.url}/v1   (models: memo, memory{named}; Ctrl-C ends it)")
            print(f"  console: {served.url}/")
            print(f'  memo ask {workspace.where} "..."', flush=True)
            stop.wait()
            workspace.console.say("stopping")
        finally:
            workspace.place.remove(ADDRESS)
            served.close()


def swap_memory(workspace: Workspace, memory: str) -> None:
    """Have the run's `memo serve` serve this version of a memory (NAME@VERSION), and wait until it does.

    Raises ConfigError where none runs or it refuses, GenerationError where the version cannot be loaded.
    """
    from memo_ray.serving.client import swap

    url, key = served_url(workspace), workspace.config.serving.api_key_env
    if url is None:
        raise ConfigError(f"--swap: no `memo serve {workspace.where}` runs on this machine; start it first")
    if not key or not os.environ.get(key):
        raise ConfigError(
            "--swap: needs a key that may: set serving.api_key_env, export the key and serve again. Without one a new "
            "version takes over by itself, and withdrawing it brings the one before back"
        )
    with workspace.console.stage(f"swapping {memory}"):
        swap(url, memory, os.environ[key])


def withdraw_memory(workspace: Workspace, memory: str) -> str:
    """Take a version (NAME@VERSION) out of the registry's hands for good; says what stands then. Raises StoreError."""
    registry, (name, version) = Registry(workspace.place), parse(memory)
    if version is None:
        raise StoreError(f"--withdraw {memory}: name the version too, for example {memory}@1")
    registry.withdraw(name, version)
    standing = registry.newest(name)
    return f"{memory}: withdrawn; of {name} stands {standing.reference if standing else 'no version'}"


def find_models(workspace: Workspace, serving: ServingConfig) -> tuple[str | None, str | None]:
    """The folders of memory (None: the registry's) and executive (None: an endpoint).

    Raises ConfigError, StoreError before anything is started.
    """
    from memo_ray.models.opening import check_key, key_of, source_of

    check_key(serving.api_key_env, "serving")
    check_key(key_of(serving.executive), "serving.executive")
    executive = source_of(serving.executive, "serving.executive")
    served = str(executive.location) if executive else None
    if serving.memories:
        registry = Registry(workspace.place)
        found = [registry.get(*parse(memory)).reference for memory in serving.memories]
        workspace.console.say(f"memories: {', '.join(found)}")
        return None, served
    memory, chosen_by = memory_of(workspace)
    workspace.console.say(f"memory: {str(memory).rpartition('/')[2]} ({chosen_by})")
    return str(memory), served


def start(workspace: Workspace, serving: ServingConfig, models: tuple[str | None, str | None]) -> Any:
    """Deploy memory and executive (`find_models`) and the run's ledger on the workspace's Ray."""
    from memo_ray.serving.ray_serving import deploy

    with workspace.console.stage("starting models"):
        return deploy(serving, *models, ledgers=ledgers_of(stored_results(workspace)), run=workspace.place.url)


def ledgers_of(results: Results) -> tuple[LedgerFiles, ...]:
    """The tables that citations come from, corpus by corpus, and what evaluation, if it is done, says of recall."""
    from memo_ray.citations.files import LedgerFiles

    evaluated = {}
    if results.evaluation is not None:
        answers = results.evaluation.location("answers.parquet")
        evaluated = {"answers": str(answers), "system": results.evaluation.record.facts["systems"]["memory"]}
    return tuple(
        LedgerFiles(
            reflections=str(synthesis.location("reflections.parquet")),
            ledger=str(synthesis.location("ledger.parquet")),
            chunks=str(results.corpora[name].location("chunks.parquet")),
            **evaluated,
        )
        for name, synthesis in results.synthesis.items()
        if name in results.corpora
    )


def served_url(workspace: Workspace) -> str | None:
    """The address that a `memo serve` of this run has left, if its process still runs."""
    server = server_of(workspace)
    # Another run's server may have the address by now, once the process that left it is gone.
    return server["url"] if is_alive(server) else None


def server_of(workspace: Workspace) -> dict[str, Any]:
    """What a `memo serve` of this run has left about itself: its address and its process; empty when there is none."""
    try:
        return json.loads(workspace.place.get(ADDRESS) or b"{}")
    except json.JSONDecodeError:
        return {}


def print_answer(answer: dict[str, Any], *, stages: bool) -> None:
    """The answer for a terminal: stages and answer (unless they were streamed), and its citations."""
    from memo_ray.protocol.describe import describe

    lines = describe(answer["transcript"])
    begin = 0 if stages else next((n + 1 for n, line in enumerate(lines) if line.startswith("Answer:")), 0)
    print("\n".join([*lines[begin:], *source_lines(answer.get("citations", []))]))


def source_lines(citations: list[dict[str, Any]]) -> list[str]:
    """Where the documents say what an answer rests on; a gateway without a ledger says nothing."""
    lines = []
    for row in citations:
        places = [(place, "retrieved") for place in row.get("passages", [])]
        support = row.get("support")
        if support:
            found = support["reflections"]
            places += [(place, f"support {match['score']}") for match in found for place in match["places"]]
            if not found:
                lines.append(f"  [{row['number']}] {support['note']} (best score {support['score']})")
        for place, why in places:
            span = f"characters {place['start']}-{place['end']}"
            lines.append(f"  [{row['number']}] document {place['document_id']}, {span} ({why})")
    return list(dict.fromkeys(lines))
