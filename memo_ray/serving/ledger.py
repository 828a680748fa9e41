"""The deployment that knows where reflections came from: support for answers, passages for the hybrid option, and the
documents and reflections to look through."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from memo_ray.citations.files import LedgerFiles, Tables, load_retriever
from memo_ray.citations.ledger import Embedder, Ledger
from memo_ray.citations.routing import LedgerRouter
from memo_ray.config.protocol import HybridSettings, Routing
from memo_ray.errors import GenerationError
from memo_ray.protocol.evidence import RETRIEVED
from memo_ray.protocol.state import Evidence, Passage
from memo_ray.serving.backend import Listed
from memo_ray.serving.calls import reply_of
from memo_ray.serving.roster import Target

QUESTION_TOKENS = 256
"""Of a question, so many tokens are compared by meaning."""

logger = logging.getLogger(__name__)


class LedgerDeployment:
    """The ledger of one or several corpora in memory. `hybrid`: also index the chunks for retrieval. `embedder`: a
    model that compares questions by meaning too; empty: by words alone."""

    def __init__(self, files: Sequence[LedgerFiles], hybrid: HybridSettings | None, embedder: str = "") -> None:
        tables = Tables.read(files)
        self._ledger = tables.ledger(open_embedder(embedder) if embedder else None)
        self._shelf = tables.shelf()
        self._retriever = load_retriever(files, hybrid.passage_chars) if hybrid else None

    def support(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """What the ledger has for each question and answer, as POST /v1/answers shows it."""
        return [self._ledger.support(question, answer).body() for question, answer in pairs]

    def browse(self, what: Listed, query: dict[str, Any]) -> dict[str, Any] | None:
        """A page of what GET /v1/`what` shows, by the arguments of the Shelf's method; None: no such document."""
        look = {"documents": self._shelf.documents, "reflections": self._shelf.reflections, "spans": self._shelf.span}
        return look[what](**query)

    async def retrieve(self, query: str, count: int) -> list[dict[str, Any]]:
        """The fields of at most `count` passages, the best first."""
        if self._retriever is None:
            raise GenerationError("ledger: was started without the chunks; set serving.protocol.hybrid")
        return [asdict(passage) for passage in await self._retriever.retrieve(query, count)]


def open_embedder(model: str) -> Embedder:
    """The embedder that `serving.citation_embedder` names. Raises ConfigError when the model cannot be found."""
    from memo_ray.config.comparison import Encoder
    from memo_ray.models.embedding import open_encoder

    config = Encoder(engine="transformers", model=model, max_tokens=QUESTION_TOKENS)
    return open_encoder(config, "serving.citation_embedder")


class HandleRetriever:
    """The protocol's Retriever over the ledgers' deployments."""

    def __init__(self, handles: Sequence[DeploymentHandle]) -> None:
        self._handles = handles

    async def retrieve(self, query: str, count: int) -> tuple[Passage, ...]:
        """The best of all deployments' passages. Raises GenerationError when one cannot look."""
        asks = (reply_of(handle.retrieve.remote(query, count), "ledger") for handle in self._handles)
        found = [Passage(**fields) for passages in await asyncio.gather(*asks) for fields in passages]
        return tuple(sorted(found, key=lambda passage: -passage.score)[:count])


async def support_of(
    handles: Mapping[str, DeploymentHandle], evidence: Sequence[Evidence]
) -> dict[int, dict[str, Any]]:
    """What the ledgers, by memory, have for each answer of a memory, by number. Nothing where there is no ledger; an
    answer is not lost because its citations are."""
    support: dict[int, dict[str, Any]] = {}
    for memory, handle in handles.items():
        said = [item for item in evidence if item.memory == memory and not item.unsure and item.note != RETRIEVED]
        if not said:
            continue
        try:
            found = await reply_of(handle.support.remote([(item.question, item.answer) for item in said]), "ledger")
        except (GenerationError, RayError) as error:
            logger.warning("the ledger could not be asked for citations: %s", error)
            continue
        support |= {item.number: body for item, body in zip(said, found, strict=True)}
    return support


class Routers:
    """The routers between sets of memories, each made when it is first needed and kept while its versions are asked."""

    MOST = 8
    """Sets that are kept: which memories a question may choose among depends on its key."""

    def __init__(self, how: Routing) -> None:
        self.how: Routing = how
        self._ledgers: dict[str, Ledger] = {}
        self._routers: dict[tuple[Target, ...], LedgerRouter] = {}
        self._making = asyncio.Lock()

    async def over(self, targets: tuple[Target, ...]) -> LedgerRouter:
        """The router between these versions. Raises ConfigError naming a table that cannot be read."""
        async with self._making:
            if targets not in self._routers:
                self._routers[targets] = await asyncio.to_thread(self._make, targets)
                for old in list(self._routers)[: -self.MOST]:
                    del self._routers[old]
                used = {target.reference for kept in self._routers for target in kept}
                self._ledgers = {name: ledger for name, ledger in self._ledgers.items() if name in used}
        return self._routers[targets]

    def _make(self, targets: tuple[Target, ...]) -> LedgerRouter:
        for target in targets:
            if target.reference not in self._ledgers:
                self._ledgers[target.reference] = Tables.read(target.tables).ledger()
        return LedgerRouter({target.name: self._ledgers[target.reference] for target in targets}, self.how)
