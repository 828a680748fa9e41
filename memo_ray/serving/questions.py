"""The deployment that answers questions: the configured protocol over the executive's and the memories' deployments."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from typing import Any

from ray.serve.handle import DeploymentHandle

from memo_ray.citations.routing import LedgerRouter
from memo_ray.config.protocol import ProtocolConfig, Routing
from memo_ray.protocol.driver import Outcome, run_protocol
from memo_ray.protocol.state import Emit
from memo_ray.serving.answers import answer_body
from memo_ray.serving.calls import direct
from memo_ray.serving.handle_model import HandleChatModel
from memo_ray.serving.handles import handle_of
from memo_ray.serving.ledger import HandleRetriever, Routers, support_of
from memo_ray.serving.roster import Target

ALONE = ""
"""The name of a memory that is the only one to be asked."""


@dataclass(frozen=True)
class Asked:
    """The memories of one question and their ledgers, by the names under which the protocol asks them."""

    memories: dict[str, HandleChatModel]
    ledgers: dict[str, DeploymentHandle]
    versions: tuple[str, ...] = ()
    """NAME@VERSION of each, where the registry has them."""
    config: dict[str, Any] = field(default_factory=dict)
    """What the protocol is told of them."""
    router: LedgerRouter | None = None

    def check(self) -> None:
        """Raise ModelOutage when none of the memories has answered anything."""
        if all(memory.silent() for memory in self.memories.values()):
            for memory in self.memories.values():
                memory.check()


class ProtocolDeployment:
    """Answers questions over the deployment of the executive and those of the memories.

    `memory`, `ledger`: of the one memory that is served, where the registry names none; a ledger is where citations
    come from, and passages with `hybrid`; without one, answers come without support. `schema_enforced`: the executive
    holds its replies to a JSON schema. `routing`: how a question chooses among several memories.
    """

    def __init__(
        self,
        executive: DeploymentHandle,
        memory: DeploymentHandle | None,
        config: ProtocolConfig,
        schema_enforced: bool,
        ledger: DeploymentHandle | None = None,
        routing: Routing | None = None,
    ) -> None:
        self._ledger = ledger and direct(ledger)
        self._executive = direct(executive)
        self._memory = memory and direct(memory)
        self._config = config
        self._schema_enforced = schema_enforced
        self._routers = Routers(routing) if routing else None

    async def answer(self, answer_id: str, question: str, targets: tuple[Target, ...] = ()) -> dict[str, Any]:
        """The answer in the shape of POST /v1/answers. Raises ModelOutage when a model answers nothing at all.

        `targets`: the versions of the memories to ask; none: the one memory there is.
        """
        asked = await self._asked(targets)
        return await self._body(answer_id, question, asked, await self._run(answer_id, question, asked, None))

    async def events(
        self, answer_id: str, question: str, targets: tuple[Target, ...] = ()
    ) -> AsyncIterator[dict[str, Any]]:
        """{"event": ...} for every stage event as it happens, then {"answer": ...}."""
        asked = await self._asked(targets)
        emitted: asyncio.Queue[Emit | None] = asyncio.Queue()
        running = asyncio.create_task(self._run(answer_id, question, asked, emitted))
        running.add_done_callback(lambda _: emitted.put_nowait(None))
        try:
            while (event := await emitted.get()) is not None:
                yield {"event": asdict(event)}
            yield {"answer": await self._body(answer_id, question, asked, running.result())}
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def _asked(self, targets: tuple[Target, ...]) -> Asked:
        if not targets:
            assert self._memory is not None  # the application binds it where the registry names no memory
            ledgers = {} if self._ledger is None else {ALONE: self._ledger}
            # Of a batch of questions to the memory a few may fail.
            return Asked({ALONE: HandleChatModel(self._memory, "memory", patience=3)}, ledgers)
        single = len(targets) == 1
        names = {ALONE if single else target.name: target for target in targets}
        memories = {
            name: HandleChatModel(
                direct(handle_of("memory", target.application)),
                f"memory {target.reference}",
                patience=3 if single else math.inf,
                adapter=target.adapter,
            )
            for name, target in names.items()
        }
        ledgers = {name: direct(handle_of("ledger", target.ledger)) for name, target in names.items() if target.ledger}
        versions = tuple(target.reference for target in targets)
        if single or self._routers is None:
            return Asked(memories, ledgers, versions)
        config = {"memories": tuple(names), "routing": self._routers.how}
        return Asked(memories, ledgers, versions, config, await self._routers.over(targets))

    async def _body(self, answer_id: str, question: str, asked: Asked, outcome: Outcome) -> dict[str, Any]:
        support = await support_of(asked.ledgers, outcome.done.evidence)
        return answer_body(answer_id, question, outcome, support, asked.versions)

    async def _run(
        self, answer_id: str, question: str, asked: Asked, emitted: asyncio.Queue[Emit | None] | None
    ) -> Outcome:
        outcome = await run_protocol(
            question,
            # One failed turn of the executive is an outage if it never spoke.
            HandleChatModel(self._executive, "executive", patience=1),
            dict(asked.memories),
            self._config.model_copy(update=asked.config),
            emitted.put_nowait if emitted else None,
            schema_enforced=self._schema_enforced,
            run_id=answer_id,
            retriever=HandleRetriever(tuple(asked.ledgers.values())) if asked.ledgers else None,
            router=asked.router,
        )
        asked.check()
        return outcome
