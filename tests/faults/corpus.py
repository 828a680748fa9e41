"""A drill of the corpus stage: documents on S3, read by tasks on two machines; the server's log says how often each."""

from __future__ import annotations

import logging
import re
from collections import Counter

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.corpus import CorpusConfig
from memo_ray.rows import Chunk, Document, Group, Reject
from tests.faults.drill import Fault, Outcome, difference
from tests.faults.fleet import fleet

DOCUMENTS = 2560
"""Ten tasks of 256."""
READ = re.compile(r"GET /\S+/docs/(\d+)\.md ")


class Reads(logging.Handler):
    """How often each document was read from the S3 server, whose log it hears."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.of: Counter[str] = Counter()
        log = logging.getLogger("werkzeug")
        log.setLevel(logging.INFO)
        log.propagate = False
        log.handlers = [self]

    def emit(self, record: logging.LogRecord) -> None:
        """One line of the log."""
        if found := READ.search(record.getMessage()):
            self.of[found[1]] += 1


def made(bucket: str, docs: str) -> Artifact:
    """A finished corpus in `bucket`."""
    from memo_ray.corpus.ray_corpus import build_corpus

    store = Store(bucket)
    with store.attempt("corpus-a", "corpus", "c" * 64, {}, {}) as attempt:
        build_corpus(CorpusConfig(name="a", paths=(docs,)), attempt)
    found = store.find("corpus-a", "c" * 64)
    assert found is not None
    return found


def node() -> Outcome:
    """A machine that reads documents is killed."""
    with fleet(2) as machines:
        docs = f"{machines.s3.bucket()}/docs"
        place = open_place(docs)
        for number in range(DOCUMENTS):
            text = f"# House {number}\n\n" + f"The mason Rolf Anstick built house {number} in {1500 + number}. " * 20
            place.put(f"{number:05}.md", text.encode())
        reads = Reads()
        whole, once = made(machines.s3.bucket(), docs), reads.of
        reads.of = Counter()
        # Both read, and the first is hit.
        falls = Fault(lambda: len(reads.of) > DOCUMENTS // 3, lambda: len(reads.of), machines.machines[0].kill)
        after = made(machines.s3.bucket(), docs)
        recovery = falls.outcome()
        tables = [
            [one.rows("documents", Document), one.rows("chunks", Chunk), one.rows("groups", Group),
             one.rows("rejects", Reject)]
            for one in (whole, after)
        ]  # fmt: skip
        ids = [[row.chunk_id for row in one.rows("chunks", Chunk)] for one in (whole, after)]
        assert len(once) == DOCUMENTS
        again = reads.of.total() - once.total()
        return Outcome("corpus", "a worker node is killed", *difference(*ids), tables[0] == tables[1],
                       round(recovery, 1), again, once.total(), "reads of documents")  # fmt: skip


DRILLS = {"corpus-node": node}
