"""Answers over cartridges as a pass of Ray Data over the questions: a pool of actors, each with the model on a device.

Questions go in, replies come out one by one as they are made, in any order; who asks keeps each, so that a killed
evaluation asks only what is missing. No serving engine loads these caches, so this is the one system under test whose
model is not behind an endpoint: without a pool it would run on the driver, which has no GPU on a cluster.
"""

from __future__ import annotations

import asyncio
import json
import time
import warnings
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import ray
import ray.data
import ray.exceptions
from ray.data import ActorPoolStrategy

from memo_ray.artifacts.place import Location, local_copy, local_folder
from memo_ray.errors import GenerationError
from memo_ray.models.cartridge import CartridgeModel, folder_of
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.ray_limits import largest_cluster

RESTARTS = 2
"""How often an actor of the pool is started again before its questions are given up."""


@dataclass(frozen=True, slots=True)
class Over:
    """A request to answer over the caches of `documents`, whose `request_id` is the question's id."""

    request: ChatRequest
    documents: Sequence[str]


@dataclass(frozen=True, slots=True)
class Replied:
    """What came of one request: a reply, or why there is none."""

    request_id: str
    reply: ChatReply | None
    problem: str
    seconds: float


class CartridgeWorker:
    """An actor of the pool. `base`, `adapters`: where the model and the cartridges lie, which every node must reach."""

    def __init__(self, base: Location, adapters: str) -> None:
        self._model = CartridgeModel(local_folder(base))
        self._folder = local_copy(adapters)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row of one request to the row of its outcome."""
        data = json.loads(row["request"])
        request = ChatRequest(**{**data, "messages": tuple(data["messages"]), "stop": tuple(data["stop"])})
        folders = [folder_of(self._folder, name) for name in json.loads(row["documents"])]
        clock = time.perf_counter()
        try:
            made = asyncio.run(self._model.chat(request, folders))
            said = {"reply": json.dumps(asdict(made)), "problem": ""}
        except GenerationError as error:
            said = {"reply": "", "problem": str(error)}
        return {"request_id": request.request_id, **said, "seconds": time.perf_counter() - clock}


async def replies(base: Location, adapters: str, asked: Sequence[Over]) -> AsyncIterator[Replied]:
    """Every request's outcome as it comes. Raises GenerationError when the pool cannot be had or is lost."""
    if not asked:
        return
    rows = await asyncio.to_thread(outcomes, base, adapters, asked)
    while (row := await asyncio.to_thread(following, rows)) is not None:
        reply = ChatReply(**json.loads(row["reply"])) if row["reply"] else None
        yield Replied(row["request_id"], reply, row["problem"], row["seconds"])


def outcomes(base: Location, adapters: str, asked: Sequence[Over]) -> Iterator[dict[str, Any]]:
    """Start the pass. Requests over the same caches stand together, since a worker loads them for the next one too."""
    ordered = sorted(asked, key=lambda row: list(row.documents))
    items = [
        {"request": json.dumps(asdict(row.request)), "documents": json.dumps(list(row.documents))} for row in ordered
    ]
    worker: Any = CartridgeWorker  # Ray's types of `map` know functions alone
    taken = ray.cluster_resources().get("GPU", 0) - ray.available_resources().get("GPU", 0)
    actors, resources = pool_of(largest_cluster().get("GPU", 0), taken)
    with warnings.catch_warnings():
        # Ray 2.60 says that remote arguments will go, and offers no other way to this one.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        mapped = ray.data.from_items(items, override_num_blocks=len(items)).map(
            worker,
            fn_constructor_args=(base, adapters),
            compute=ActorPoolStrategy(min_size=1, max_size=min(actors, len(items)), max_tasks_in_flight_per_actor=1),
            max_restarts=RESTARTS,
            **resources,
        )
    # `iter_rows` gives a row when the one after it is there, too; a kill would lose it.
    tables: Any = mapped.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    return (row for table in tables for row in table.to_pylist())


def pool_of(gpus: float, taken: float) -> tuple[int, dict[str, Any]]:
    """At most how many actors, and what each takes: one of the `gpus` that there are or may come and that are not
    `taken`; without any in the cluster nothing by name, since there they share the machine with the engines.

    Raises GenerationError when all are taken: the pool would wait without end."""
    if gpus < 1:
        return 1, {"num_cpus": 0}
    if gpus - taken < 1:
        raise GenerationError(
            f"cartridges: all of the cluster's {gpus:g} GPUs are taken, and their model needs one of its own; add one"
        )
    return int(gpus - taken), {"num_cpus": 1, "num_gpus": 1}


def following(rows: Iterator[dict[str, Any]]) -> dict[str, Any] | None:
    """The next row; None at the end. Raises GenerationError when the pool is lost."""
    try:
        return next(rows, None)
    except ray.exceptions.RayError as error:
        said = " ".join(str(getattr(error, "cause", None) or error).split())[-300:]
        raise GenerationError(f"cartridges: the actors that answer over them are lost ({said})") from error
