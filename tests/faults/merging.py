"""A drill of merging: three recipes in one pass on one of two machines; a stand-in scores what comes out."""

from __future__ import annotations

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.merging import MergingConfig
from memo_ray.config.models import VllmModel
from memo_ray.merging.ray_merging import sweep
from memo_ray.rows import Answer, SweepRow
from tests.faults.drill import Fault, Outcome, difference
from tests.faults.fleet import Machine, fleet
from tests.ray.test_merging import HELD_OUT, RECIPES, published, stand_in
from tests.tiny_model import make
from tests.unit.merging.tiny import make_base, make_memories

MERGE = "memo_ray.merging.merge"
"""The module that makes a pass, in a process of its own."""


def merged(bucket: str, memories: dict[str, str], base: str) -> Artifact:
    """A finished sweep in `bucket`."""
    store = Store(bucket)
    settings = MergingConfig(recipes=RECIPES, max_concurrent=1)
    with store.attempt("merging", "merging", "f" * 64, {}, {}) as attempt:
        sweep(settings, base, memories, HELD_OUT, VllmModel(engine="vllm"), 8, attempt, ask=stand_in())
    made = store.find("merging", "f" * 64)
    assert made is not None
    return made


def node() -> Outcome:
    """The machine that merges is killed."""
    with fleet(2, cpus=1) as machines:
        (machines.work / "tiny").mkdir()
        base = make_base(make(machines.work / "tiny"), machines.work / "base")
        folders = make_memories(base, machines.work, 2)
        inputs = Store(machines.s3.bucket())
        memories = {name: str(published(inputs, key, folders[key])) for name, key in (("north", "a"), ("south", "b"))}
        located = str(published(inputs, "c", base))
        whole = merged(machines.s3.bucket(), memories, located)
        bucket = machines.s3.bucket()
        merges = Store(bucket).place.child(f"merging/{'f' * 16}/progress/merges")

        def hit() -> list[Machine]:
            return [machine for machine in machines.machines if machine.runs(MERGE)]

        falls = Fault(hit, lambda: len(list(merges.names())), lambda: hit()[0].kill())
        made = merged(bucket, memories, located)
        recovery = falls.outcome()
        rows = [made.rows("sweep", SweepRow) for made in (whole, made)]
        lost, doubled = difference(*([row.recipe_id for row in table] for table in rows))
        answers = [[(row.system, row.question_id, row.answer) for row in one.rows("answers", Answer)]
                   for one in (whole, made)]  # fmt: skip
        weights = [one.path(f"merged/{one.record.facts['best']}") / "model.safetensors" for one in (whole, made)]
        same = answers[0] == answers[1] and weights[0].read_bytes() == weights[1].read_bytes()
        return Outcome("merging", "a worker node is killed", lost, doubled, same, round(recovery, 1),
                       len(RECIPES), len(RECIPES), "merges")  # fmt: skip


DRILLS = {"merging-node": node}
