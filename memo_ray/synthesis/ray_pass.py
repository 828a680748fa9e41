"""One pass of the synthesis over its rows: Read -> map -> Write on Ray Data, with one output row per input row.

The map is a pool of asynchronous actors, each with an engine that `ray_engines.py` lends it. Ray Data gets the rows in
slices, since its driver remembers something of every block that it has seen. What a pass has written is never asked
again: after a kill, only the rows in flight are.
"""

from __future__ import annotations

import io
import math
import threading
import warnings
from collections import Counter
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import pyarrow as pa
import pyarrow.parquet as pq
import ray
import ray.data
import ray.exceptions
from ray.data import ActorPoolStrategy

from memo_ray import json_log
from memo_ray.artifacts.place import Place
from memo_ray.config.models import VllmModel
from memo_ray.config.synthesis import StepName, SynthesisConfig
from memo_ray.errors import GenerationError
from memo_ray.progress import Progress
from memo_ray.quiet import RESTARTABLE, without_lines
from memo_ray.synthesis.ray_engines import WORKER_CPUS, Engines, EngineWorker, on_this_node
from memo_ray.synthesis.ray_metrics import StepMetrics
from memo_ray.synthesis.recipe import UnitResult
from memo_ray.synthesis.units import CANDIDATES_A_ROW, gathered
from memo_ray.synthesis.worker import INPUT, OUTPUT, RowWorker

ROWS_A_FILE = 64
"""Rows of an input file: of whole chunks some megabytes."""

WRITERS = 4
"""Processes that write finished rows, tens of them a second each."""

SLICE_ROWS = 312 * ROWS_A_FILE
"""Rows of one execution of Ray Data: about 20,000, so that its start and its last rows are a small part of it."""

READ_AT_ONCE = 16
"""Files read together: on S3 each is a request that mostly waits."""


class Pass:
    """One pass over rows: `run` gives their results, reading what an earlier try left in `progress`."""

    def __init__(
        self, kind: str, config: SynthesisConfig, engines: Engines, progress: Place, slice_rows: int = SLICE_ROWS
    ) -> None:
        """`slice_rows`: at most so many rows an execution, rounded down to whole input files."""
        self.kind, self.config, self.engines = kind, config, engines
        self.files_a_slice = max(1, slice_rows // ROWS_A_FILE)
        self.place = progress.child(kind)
        self.journal: Path | None = progress.nearby("replies.jsonl")
        self.begun: Any = on_this_node(BegunRows).remote()

    def run(self, rows: Iterable[dict[str, str]], note: str, progress: Progress) -> UnitResult:
        """The results of all `rows`, in their order; those that are there already are not made again.

        Raises GenerationError when a worker gives up; what was finished by then stays.
        """
        done = self.finished()
        ids = self.put_input(rows, done)
        todo = sum(row_id not in done for row_id in ids)
        if todo:
            with self.watching(len(done), len(ids), note, progress):
                self.make(todo)
        return gathered((row for _, found in self.outputs() for row in found), ids)

    def put_input(self, rows: Iterable[dict[str, str]], done: Container[str]) -> list[str]:
        """Write those of `rows` that are not `done`, so many a file, since all of them need not fit into memory; the
        ids of all."""
        self.place.remove("input")
        ids: list[str] = []
        todo = (row for row in noted(rows, ids) if row["row_id"] not in done)
        for number, batch in enumerate(iter(lambda: list(islice(todo, ROWS_A_FILE)), [])):
            self.place.put(f"input/{number:06d}.parquet", parquet_bytes(pa.Table.from_pylist(batch, schema=INPUT)))
        return ids

    def make(self, rows: int) -> None:
        """Ray Data over the `rows` of the input, a slice after the other until one is not finished."""
        names = list(self.place.names("input/"))
        for end in range(self.files_a_slice, len(names) + self.files_a_slice, self.files_a_slice):
            self.make_slice(names[end - self.files_a_slice : end])
            finished: Any = ray.get(self.begun.finished.remote())
            if finished < min(rows, end * ROWS_A_FILE):
                return

    def make_slice(self, names: list[str]) -> None:
        """One execution; a block, a task and an output file hold one row, so that a kill loses little."""
        filesystem, root = self.place.arrow()
        config = self.config
        engine = config.generator if isinstance(config.generator, VllmModel) else None
        at_once = rows_in_flight(self.kind, config)
        read = ray.data.read_parquet([f"{root}/{name}" for name in names], filesystem=filesystem)
        pool = ActorPoolStrategy(size=engine.replicas if engine else 1, max_tasks_in_flight_per_actor=at_once)
        steps = [step for step in get_args(StepName) if step not in config.without]
        meter = partial(StepMetrics, steps, json_log.handed_on())
        arguments = (self.kind, config, RemoteBegun(self.begun), self.engines.lend(), self.journal, meter)
        try:
            with warnings.catch_warnings(), without_lines(RESTARTABLE):
                # Ray 2.60 says that remote arguments will go, and offers no other way to these two.
                warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
                warnings.filterwarnings("ignore", "The maximum number of concurrent tasks")  # fewer rows than WRITERS
                mapped = read.repartition(target_num_rows_per_block=1).map_batches(
                    EngineWorker if engine else RowWorker,
                    fn_constructor_args=arguments,
                    batch_size=1,
                    batch_format="pyarrow",
                    compute=pool,
                    max_concurrency=at_once,
                    max_restarts=config.engine_restarts,
                    num_cpus=WORKER_CPUS,
                )
                self.keep(mapped)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, OSError):
                raise error.cause from error
            raise
        except ray.exceptions.RayError as error:
            raise GenerationError(
                f"synthesis: the actors that ask the generator died too often; see the log above ({error})"
            ) from error

    def keep(self, results: ray.data.Dataset) -> None:
        """Run the slice, and keep each of its rows where `outputs` reads it."""
        filesystem, root = self.place.arrow()
        # They take no core from the engines; without `concurrency` a burst of rows would start a process for each.
        results.write_parquet(
            f"{root}/output", filesystem=filesystem, ray_remote_args={"num_cpus": 0}, concurrency=WRITERS
        )

    @contextmanager
    def watching(self, before: int, total: int, note: str, progress: Progress) -> Iterator[None]:
        """Tell how many rows of a pass are done, once a second, until the block ends."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(1):
                finished: Any = ray.get(self.begun.finished.remote())
                progress(min(before + finished, total), total, note)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def finished(self) -> set[str]:
        """The ids of the rows that an earlier try has finished.

        Files without a result, torn by a kill or saying only what went wrong, are removed: what they say was told.
        """
        done: set[str] = set()
        for name, rows in self.outputs():
            found = {row["row_id"] for row in rows if row["result"]}
            if not found:
                self.place.remove(name)
            done |= found
        return done

    def outputs(self) -> Iterator[tuple[str, list[dict[str, str]]]]:
        """The name and the rows of every file that the pass has written."""
        names = iter([name for name in self.place.names("output/") if name.endswith(".parquet")])
        with ThreadPoolExecutor(READ_AT_ONCE) as pool:
            # A pool reads on while what it has read is waiting, so it is given a few names at a time.
            for some in iter(lambda: list(islice(names, ROWS_A_FILE)), []):
                yield from zip(some, pool.map(lambda name: rows_of(self.place.get(name)), some), strict=True)


class BegunRows:
    """The actor that counts beginnings for all workers of a pass, and ends with it; methods run on its event loop."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()
        self._finished = 0

    async def begin(self, row_id: str) -> int:
        """How often the row was begun before."""
        self._times[row_id] += 1
        return self._times[row_id] - 1

    async def finish(self, row_id: str) -> None:
        """Forget a row that has its result."""
        self._times.pop(row_id, None)
        self._finished += 1

    async def finished(self) -> int:
        """How many rows have their results."""
        return self._finished


class RemoteBegun:
    """`Begun` through the actor of a pass."""

    def __init__(self, actor: Any) -> None:
        self._actor: Any = actor

    async def begin(self, row_id: str) -> int:
        """Count a beginning; how often there was one before."""
        return await self._actor.begin.remote(row_id)

    async def finish(self, row_id: str) -> None:
        """Forget the row."""
        await self._actor.finish.remote(row_id)


def rows_in_flight(kind: str, config: SynthesisConfig) -> int:
    """Rows that one actor works on at once: chunks, or rows of candidates that fill the engine, and as many again that
    wait, since a row ends with its slowest prompt."""
    if kind == "units":
        return config.chunks_in_flight
    generator = config.generator
    prompts = generator.max_num_seqs if isinstance(generator, VllmModel) else generator.concurrency
    return 2 * math.ceil(prompts / CANDIDATES_A_ROW)


def noted(rows: Iterable[dict[str, str]], ids: list[str]) -> Iterator[dict[str, str]]:
    """`rows`, with the id of each put into `ids` as it passes."""
    for row in rows:
        ids.append(row["row_id"])
        yield row


def parquet_bytes(table: pa.Table) -> bytes:
    """`table` as the content of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def rows_of(content: bytes | None) -> list[dict[str, str]]:
    """The rows of one output file; none for one that a kill cut short, which has no Parquet footer."""
    try:
        # `read_table` scans in threads of its own, which can abort a process that ends.
        return pq.ParquetFile(io.BytesIO(content or b"")).read(OUTPUT.names, use_threads=False).to_pylist()
    except pa.ArrowInvalid:
        return []
