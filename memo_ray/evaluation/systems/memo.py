"""MeMo: the executive asks the memory through the protocol. Its cost per question does not know the corpus's size."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path

from memo_ray.config.protocol import ProtocolConfig
from memo_ray.evaluation.systems.batch import Pace, each
from memo_ray.evaluation.systems.meter import Meter, tokens_of
from memo_ray.evaluation.systems.system import Corpus, Cost, Failed, Query, Said
from memo_ray.models.chat import ChatModel
from memo_ray.protocol.driver import run_protocol


class MemoSystem:
    """One memory and one executive.

    `schema_enforced`: the executive's endpoint holds replies to their schema. `made`: what the memory cost, by corpus.
    """

    def __init__(
        self,
        name: str,
        executive: ChatModel,
        memory: ChatModel,
        protocol: ProtocolConfig,
        pace: Pace,
        *,
        schema_enforced: bool = False,
        made: Mapping[str, Cost] | None = None,
    ) -> None:
        self.name = name
        self._executive, self._memory = executive, memory
        self._protocol = protocol
        self._pace = pace
        self._schema_enforced = schema_enforced
        self._made = made or {}

    async def prepare(self, corpus: Corpus, folder: Path) -> Cost:
        """Nothing is left to do; what the memory has cost."""
        return self._made.get(corpus.name, Cost())

    async def answer(self, queries: Sequence[Query], seed: int) -> AsyncIterator[Said | Failed]:
        """Every question through the protocol. One whose executive never spoke is an outage and no answer."""

        async def work(query: Query) -> Said | Failed:
            executive, memory = Meter(self._executive, seed), Meter(self._memory, seed)
            outcome = await run_protocol(
                query.question, executive, memory, self._protocol, schema_enforced=self._schema_enforced
            )
            for meter in (executive, memory):
                if not meter.replies and meter.error is not None:
                    return Failed(query.question_id, "generation_error", str(meter.error))
            cost = Cost(outcome.seconds, executive.calls + memory.calls, tokens_of(executive, memory))
            return Said(query.question_id, outcome.answer, cost, transcript=list(outcome.transcript))

        async for outcome in each(queries, work, self._pace):
            yield outcome

    async def close(self) -> None:
        """Nothing: both models belong to the run."""
