"""The deployment that knows where reflections came from: support for answers, passages for the hybrid option."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ray.exceptions import RayError
from ray.serve.handle import DeploymentHandle

from memo_ray.citations.files import LedgerFiles, load_ledger, load_retriever
from memo_ray.citations.ledger import Embedder
from memo_ray.config.protocol import HybridSettings
from memo_ray.errors import GenerationError
from memo_ray.protocol.evidence import RETRIEVED
from memo_ray.protocol.state import Evidence, Passage
from memo_ray.serving.handles import reply_of

QUESTION_TOKENS = 256
"""Of a question, so many tokens are compared by meaning."""

logger = logging.getLogger(__name__)


class LedgerDeployment:
    """The ledger of one or several corpora in memory. `hybrid`: also index the chunks for retrieval. `embedder`: a
    model that compares questions by meaning too; empty: by words alone."""

    def __init__(self, files: Sequence[LedgerFiles], hybrid: HybridSettings | None, embedder: str = "") -> None:
        self._ledger = load_ledger(files, open_embedder(embedder) if embedder else None)
        self._retriever = load_retriever(files, hybrid.passage_chars) if hybrid else None

    def support(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """What the ledger has for each question and answer, as POST /v1/answers shows it."""
        return [self._ledger.support(question, answer).body() for question, answer in pairs]

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
    """The protocol's Retriever over the ledger's deployment."""

    def __init__(self, handle: DeploymentHandle) -> None:
        self._handle = handle

    async def retrieve(self, query: str, count: int) -> tuple[Passage, ...]:
        """The deployment's passages. Raises GenerationError when it cannot look."""
        found = await reply_of(self._handle.retrieve.remote(query, count), "ledger")
        return tuple(Passage(**fields) for fields in found)


async def support_of(handle: DeploymentHandle | None, evidence: Sequence[Evidence]) -> dict[int, dict[str, Any]]:
    """What the ledger has for each answer of the memory, by number. Without a ledger nothing; an answer is not lost
    because its citations are."""
    said = [item for item in evidence if not item.unsure and item.note != RETRIEVED]
    if handle is None or not said:
        return {}
    try:
        found = await reply_of(handle.support.remote([(item.question, item.answer) for item in said]), "ledger")
    except (GenerationError, RayError) as error:
        logger.warning("the ledger could not be asked for citations: %s", error)
        return {}
    return {item.number: body for item, body in zip(said, found, strict=True)}
