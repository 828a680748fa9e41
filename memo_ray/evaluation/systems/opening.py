"""From the config to systems: each kind's constructor in one table, and the models that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memo_ray.config.comparison import (
    Bm25,
    Cartridge,
    ComparisonConfig,
    Dense,
    HippoRag,
    InContext,
    Memo,
    MemoryAlone,
    NoContext,
    PerfectRetrieval,
    SystemConfig,
)
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ConfigError
from memo_ray.evaluation.systems.batch import Pace
from memo_ray.evaluation.systems.bm25 import Bm25Index
from memo_ray.evaluation.systems.cartridges import CartridgeSystem
from memo_ray.evaluation.systems.context import ContextSource, ContextSystem, Evidence, Nothing, WholeCorpus
from memo_ray.evaluation.systems.dense import DenseIndex
from memo_ray.evaluation.systems.hipporag import HippoRagIndex
from memo_ray.evaluation.systems.memo import MemoSystem
from memo_ray.evaluation.systems.system import Cost, System
from memo_ray.models.chat import ChatModel
from memo_ray.models.embedding import open_embedder
from memo_ray.models.openai import OpenAIChatModel
from memo_ray.models.sources import resolve


@dataclass(frozen=True)
class Models:
    """What all systems of a run share. `memory` None: the run has none, and MeMo needs an endpoint of its own.

    `schema_enforced`: the executive's endpoint holds replies to a JSON schema. `made`: what `memory` cost, by corpus.
    """

    executive: ChatModel
    memory: ChatModel | None
    protocol: ProtocolConfig
    schema_enforced: bool = False
    made: Mapping[str, Cost] = field(default_factory=dict)


SOURCES: dict[type, Callable[[Any, str, ChatModel], ContextSource]] = {
    NoContext: lambda config, key, executive: Nothing(),
    PerfectRetrieval: lambda config, key, executive: Evidence(),
    InContext: lambda config, key, executive: WholeCorpus(),
    Bm25: lambda config, key, executive: Bm25Index(config.top_k, config.k1, config.b),
    Dense: lambda config, key, executive: DenseIndex(
        open_embedder(config.embedding, f"{key}.embedding"), config.top_k, config.query_prefix, config.document_prefix
    ),
    HippoRag: lambda config, key, executive: HippoRagIndex(config, executive, key),
}
"""Kinds whose executive reads text, and where the text comes from."""


def name_of(config: SystemConfig) -> str:
    """How tables call a system."""
    return config.name or config.kind


def open_system(config: SystemConfig, comparison: ComparisonConfig, models: Models, key: str) -> System:
    """The system of `config`; `key` is the config key that errors name. Raises ConfigError."""
    pace = Pace(comparison.questions_at_once, comparison.question_timeout_s)
    if isinstance(config, Cartridge):
        assert config.base and config.adapters  # with_cartridges has named them
        base = resolve(config.base, None, f"{key}.base")
        return CartridgeSystem(name_of(config), base, config.adapters, comparison.reader, key)
    executive = OpenAIChatModel(config.executive) if config.executive else models.executive
    if isinstance(config, MemoryAlone):
        if models.memory is None:
            raise ConfigError(f"{key}: the run has no memory to ask alone")
        return ContextSystem(name_of(config), Nothing(models.made), models.memory, comparison.reader, pace)
    if isinstance(config, Memo):
        memory = OpenAIChatModel(config.memory) if config.memory else models.memory
        if memory is None:
            raise ConfigError(f"{key}.memory: the run has no memory; name an endpoint that serves one")
        enforced = config.executive.structured_outputs if config.executive else models.schema_enforced
        protocol = config.protocol or models.protocol
        made = {} if config.memory else models.made
        return MemoSystem(name_of(config), executive, memory, protocol, pace, schema_enforced=enforced, made=made)
    source = SOURCES[type(config)](config, key, executive)
    return ContextSystem(name_of(config), source, executive, comparison.reader, pace)
