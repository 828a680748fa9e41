"""The comparison inside a run: serves the memory and the executive for it, and leaves its rows and pages.

The evaluation stage calls `compare_systems` when the config has a `comparison`. All systems ask the same two models
through the gateway, or the executive's own endpoint.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from memo_ray.artifacts.place import Location, local_copy
from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.cartridges import weights_of
from memo_ray.config.comparison import (
    Cartridge,
    ComparisonConfig,
    Dense,
    EmbeddingEndpoint,
    Encoder,
    HippoRag,
    Memo,
    MemoryAlone,
)
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.models import OpenAIModel
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.config.run import RunConfig
from memo_ray.config.serving import ServingConfig
from memo_ray.errors import ConfigError
from memo_ray.evaluation.comparison import NO_QUESTIONS, Compared, compare, corpora_of
from memo_ray.evaluation.judging.agreement import load_labelled
from memo_ray.evaluation.paper import known
from memo_ray.evaluation.report.side_by_side import write_comparison
from memo_ray.evaluation.systems.hipporag import interpreter
from memo_ray.evaluation.systems.opening import Models
from memo_ray.evaluation.systems.system import Cost
from memo_ray.models.openai import OpenAIChatModel
from memo_ray.models.opening import check_key
from memo_ray.models.sources import resolve
from memo_ray.progress import Progress
from memo_ray.rows import SystemAnswer

FOLDER = "comparison"
"""Where the pages lie in the evaluation's artefact."""
LONGEST_REQUEST_KB = 16 * 1024
"""A whole context of the executive as JSON; a user's gateway takes less."""


def check_keys(comparison: ComparisonConfig, serving: ServingConfig) -> None:
    """Raise ConfigError for what would fail late: a key's environment variable that is not set, cartridges, models
    and an interpreter that are not there, values that the paper does not have, and options of the protocol that a
    comparison cannot serve; CorpusError for labelled answers that cannot be read."""
    key = "evaluation.comparison"
    check_paper(comparison.paper, f"{key}.paper")
    if comparison.judge is not None:
        check_key(comparison.judge.model.api_key_env, f"{key}.judge.model")
        if comparison.judge.labelled is not None:
            load_labelled(comparison.judge.labelled)
    for place, system in enumerate(comparison.systems):
        where = f"{key}.systems.{place}"
        check_paper(system.paper, f"{where}.paper")
        if system.executive is not None:
            check_key(system.executive.api_key_env, f"{where}.executive")
        if isinstance(system, Memo):
            own = system.protocol is not None
            check_protocol(system.protocol or serving.protocol, f"{where}.protocol" if own else "serving.protocol", own)
        if isinstance(system, Memo) and system.memory is not None:
            check_key(system.memory.api_key_env, f"{where}.memory")
        if isinstance(system, HippoRag):
            interpreter(system, where)
            if system.llm is not None:
                check_key(system.llm.api_key_env, f"{where}.llm")
        if isinstance(system, Dense | HippoRag) and isinstance(system.embedding, EmbeddingEndpoint):
            check_key(system.embedding.api_key_env, f"{where}.embedding")
        if isinstance(system, Dense | HippoRag) and isinstance(system.embedding, Encoder):
            resolve(system.embedding.model, system.embedding.revision, f"{where}.embedding.model", chat=False)
        if isinstance(system, Cartridge) and system.adapters and not local_copy(system.adapters).is_dir():
            raise ConfigError(f"{where}.adapters: {system.adapters}: no such folder; train cartridges first")
        if isinstance(system, Cartridge) and system.base is None:
            weights_of(serving, f"{where}.base")
        if isinstance(system, Cartridge) and system.base is not None:
            resolve(system.base, None, f"{where}.base")


def check_paper(row: str | None, key: str) -> None:
    """Raise ConfigError for a row of which the paper publishes nothing: its column would be empty without a word."""
    if row is not None and row not in known():
        alike = sorted(name for name in known() if name.split("/")[0] == row.split("/")[0])
        tables = sorted({int(name.split("/")[0]) for name in known()})
        there = ", ".join(alike) or f"those of Tables {', '.join(map(str, tables))}"
        raise ConfigError(f"{key}: {row}: the paper publishes no such values; there are {there}")


def check_questions(corpora: Sequence[CorpusConfig]) -> None:
    """Raise ConfigError when no corpus names questions: a comparison would have nothing to ask, hours later."""
    if not any(corpus.questions or corpus.benchmark for corpus in corpora):
        raise ConfigError(NO_QUESTIONS)


def check_protocol(protocol: ProtocolConfig, key: str, own: bool) -> None:
    """Raise ConfigError for an option that needs more than one memory and one executive."""
    options = {"hybrid": protocol.hybrid is not None, "memories": bool(protocol.memories)}
    used = [name for name, on in options.items() if on]
    if used:
        remedy = "leave it out" if own else "give the system of kind memo a protocol of its own"
        raise ConfigError(f"{key}.{used[0]}: a comparison asks one memory and no retrieval; {remedy}")


def compare_systems(
    config: RunConfig,
    memory: Location,
    executive: Location | None,
    corpora: Mapping[str, Artifact],
    made: Mapping[str, Cost],
    attempt: Attempt,
    progress: Progress,
) -> tuple[Compared, int]:
    """Run `config.evaluation.comparison`; write the table `system_answers`, the facts and the pages to `attempt`.

    `memory` and `executive` are folders of weights; no executive: the config names an endpoint. `made`: what the memory
    cost, by corpus. Returns the rows and
    how many engines were started. Raises as `compare` and the serving room do.
    """
    comparison = config.evaluation.comparison
    assert comparison is not None  # the stage asks only then
    asked = corpora_of(corpora, comparison.questions)
    with ExitStack() as served:
        models, starts = open_models(config.serving, comparison, memory, executive, served, progress)
        models = replace(models, made=made)
        compared = compare(comparison, models, asked, attempt.progress.nearby(FOLDER), progress)
    private = [made.record.facts.get("benchmark", {}).get("private", "") for made in corpora.values()]
    attempt.write("system_answers", compared.answers, SystemAnswer)
    attempt.facts["comparison"] = compared.facts
    assert compared.table is not None  # compare made it
    facts = {**compared.facts, "private": next(filter(None, private), "")}
    write_comparison(attempt.folder / FOLDER, config.name, compared.table, compared.answers, compared.rejects, facts)
    return compared, starts


def open_models(
    serving: ServingConfig,
    comparison: ComparisonConfig,
    memory: Location,
    executive: Location | None,
    served: ExitStack,
    progress: Progress,
) -> tuple[Models, int]:
    """The two models as clients; `served` ends what was started for them. Also how many engines that were."""
    endpoint = serving.executive if isinstance(serving.executive, OpenAIModel) else None
    needs_memory = any(
        isinstance(system, MemoryAlone) or (isinstance(system, Memo) and system.memory is None)
        for system in comparison.systems
    )
    at_memory = None
    if endpoint is None or needs_memory:
        from memo_ray.evaluation.stage import free_port
        from memo_ray.serving.ray_serving import deploy

        progress(0, 1, "starting the models to compare with")
        local = serving.model_copy(
            update={
                "host": "127.0.0.1", "port": free_port(), "expose_executive": True,
                "max_request_kb": max(serving.max_request_kb, LONGEST_REQUEST_KB),
            }
        )  # fmt: skip
        running = deploy(local, str(memory), str(executive) if executive else None)
        served.callback(running.close)
        url = f"{running.url}/v1"
        at_memory = client(serving, comparison, url, "memory")
        endpoint = endpoint or client(serving, comparison, url, "executive")
    models = Models(
        executive=OpenAIChatModel(endpoint),
        memory=OpenAIChatModel(at_memory) if at_memory else None,
        protocol=serving.protocol,
        schema_enforced=endpoint.structured_outputs,
    )
    return models, 0 if at_memory is None else (2 if executive else 1)


def client(serving: ServingConfig, comparison: ComparisonConfig, url: str, model: str) -> OpenAIModel:
    """How a model of the gateway is asked; its own queue is what holds requests back."""
    variable = serving.api_key_env if os.environ.get(serving.api_key_env or "") else ""
    return OpenAIModel(
        engine="openai",
        base_url=url,
        model=model,
        api_key_env=variable,
        concurrency=comparison.questions_at_once * serving.protocol.max_sub_questions,
        timeout_s=comparison.question_timeout_s,
    )
