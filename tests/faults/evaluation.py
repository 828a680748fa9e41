"""A drill of the evaluation stage: systems asked alone on a real engine, whose machine is killed."""

from __future__ import annotations

import shutil
from pathlib import Path

from memo_ray.artifacts.place import Location, open_place
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.evaluation import EvaluationConfig
from memo_ray.config.models import VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.evaluation.alone import Evaluated, ask_systems
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import QUESTIONS_AT_ONCE
from tests.faults.drill import Fault, Outcome, difference
from tests.faults.fleet import Machine, fleet
from tests.tiny_model import make

ENGINE = "EngineActor"
"""What the process that owns the engine has in its name."""
SYSTEMS, QUESTIONS = 6, 600
CONFIG = RunConfig(
    name="x",
    corpora=(CorpusConfig(name="c", paths=("d",)),),
    evaluation=EvaluationConfig(
        engine=VllmModel(
            engine="vllm", dtype="float32", max_model_len=256, kv_cache_gb=0.1, enforce_eager=True, max_num_seqs=16
        ),
        max_tokens=8,
    ),
)
ASKED = [Asked(f"q{number}", "one_hop", f"Who kept lighthouse {number}?", ["Ada"]) for number in range(QUESTIONS)]


class Told:
    """How many answers came, those that came again among them, and how far the work was."""

    def __init__(self) -> None:
        self.answers = self.furthest = 0

    def __call__(self, done: int, _total: int, _note: str) -> None:
        """A batch is answered, with which it is `done` of all, system after system."""
        of_system = (done - 1) % QUESTIONS + 1
        self.answers += (of_system - 1) % QUESTIONS_AT_ONCE + 1
        self.furthest = max(self.furthest, done)


def other(base: Path, number: int) -> Path:
    """The model with other weights."""
    from safetensors.torch import load_file, save_file

    folder = base.parent / f"epoch-{number}"
    shutil.copytree(base, folder)
    for file in folder.glob("*.safetensors"):
        scaled = {name: tensor * (1 + number / 10) for name, tensor in load_file(file).items()}
        save_file(scaled, file, metadata={"format": "pt"})
    return folder


def node() -> Outcome:
    """The machine of the engine is killed; another engine asks what is left."""
    with fleet(2, cpus=1) as machines:
        (machines.work / "base").mkdir()
        base = make(machines.work / "base")
        systems: dict[str, Location] = {"base": base}
        systems |= {f"epoch-{number}": other(base, number) for number in range(1, SYSTEMS)}

        def ask(told: Told) -> Evaluated:
            return ask_systems(CONFIG, base, systems, ASKED, open_place(f"{machines.s3.bucket()}/alone"), told)

        def hit() -> list[Machine]:
            return [machine for machine in machines.machines if machine.runs(ENGINE)]

        whole, told = ask(Told()), Told()
        total = SYSTEMS * QUESTIONS
        falls = Fault(lambda: told.furthest > total // 3, lambda: told.furthest, lambda: hit()[0].kill())
        after = ask(told)
        recovery = falls.outcome()
        assert after.engine_starts == 2
        answers = [{f"{row.system}/{row.question_id}": row.answer for row in one.answers} for one in (whole, after)]
        return Outcome("evaluation", "a worker node is killed", *difference(*map(list, answers)),
                       answers[0] == answers[1],
                       round(recovery, 1), told.answers - total, total, "answers")  # fmt: skip


DRILLS = {"evaluation-node": node}
