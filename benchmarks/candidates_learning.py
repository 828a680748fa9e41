"""What a memory learns from Step 5 over all pairs, over candidates, and without it; prints one JSON line.

    python benchmarks/candidates_learning.py [--config demo.yaml] [--set KEY=VALUE ...] [--model FOLDER]
        [--device cpu|cuda] [--documents N] [--seeds 42] [--arms ARM ...] [--work FOLDER] [--until S]

The run's own stages on the corpus, the generator and the training of `--config`. Steps 1 to 4 are made once and begin
every arm's synthesis; Step 5 alone differs, with no cap on prompts or reflections. `all_pairs`, `candidates` and
`without` are trained for as many epochs; the arms `*_equal_steps` for as many epochs as come nearest to the optimiser
steps of `all_pairs`, so that the equal budget is reflections seen. Every memory is then asked the same: all
reflections that any arm was trained on, the held-out questions, and the corpus's own. `minus_all_pairs`: recall less
that of `all_pairs`, paired by question, with the 95% bootstrap interval over questions and a permutation test's p.

What is done is kept in `--work`: after `--until` seconds the script ends where it is, and run again on the same folder
it goes on. `pieces`: in how many parts a time was spent, each with the start of an engine. With `--device cuda`,
`gpu_seconds` are seconds by the GPUs that were held.
"""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from _learning import STEP_5, asked_of, check_the_same, compared, question_names, recall, scores

from memo_ray.artifacts.place import Location, Place, open_place
from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.config.loading import load_run
from memo_ray.config.models import VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.console import Console
from memo_ray.corpus.loaders import list_files
from memo_ray.evaluation.significance import Scores
from memo_ray.evaluation.stage import ask_systems
from memo_ray.models.opening import source_of
from memo_ray.pipeline import base_model, make_corpus, make_synthesis, make_training
from memo_ray.progress import Progress
from memo_ray.ray_session import session
from memo_ray.rows import Reflection, content_id
from memo_ray.synthesis.ray_engines import Engines
from memo_ray.synthesis.ray_pass import Pass
from memo_ray.synthesis.ray_synthesis import synthesise
from memo_ray.workspace import Workspace

ARMS = {
    "all_pairs": ("all_pairs", False),
    "candidates": ("candidates", False),
    "candidates_equal_steps": ("candidates", True),
    "without": ("without", False),
    "without_equal_steps": ("without", True),
}
"""Arm -> which Step 5, and whether it is trained for the steps of `all_pairs` instead of its epochs."""
STEP_5_COUNTS = ("prompts", "checks", "input_tokens", "output_tokens", "made", "kept")


@dataclass(frozen=True)
class Made:
    """One arm, trained with one seed."""

    synthesis: Artifact
    training: Artifact
    memory: Location


class Timings:
    """Seconds of the passes, a number for each piece, and the pairs that Step 5 looked at; kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.seconds: dict[str, list[float]] = json.loads(file.read_text()) if file.is_file() else {}

    def add(self, name: str, seconds: float) -> None:
        """One more piece of a pass."""
        self.seconds.setdefault(name, []).append(round(seconds, 2))
        self._file.write_text(json.dumps(self.seconds))

    def facts(self, name: str, gpus: int) -> dict[str, Any]:
        """What is told of a pass."""
        pieces = self.seconds.get(name, [])
        told = {"seconds": round(sum(pieces), 1), "pieces": len(pieces)}
        return told | ({"gpu_seconds": round(sum(pieces) * gpus, 1)} if gpus else {})


class TimedPass(Pass):
    """The stage's own pass, timed unless all of it was done before."""

    def __init__(self, timings: Timings, name: str, *args: Any) -> None:
        super().__init__(*args)
        self._timings, self._name = timings, name

    def make(self, rows: int) -> None:
        """The part of a pass that asks the generator."""
        begun = time.monotonic()
        try:
            super().make(rows)
        finally:
            self._timings.add(self._name, time.monotonic() - begun)


class Bench:
    """The arms on one corpus; all that they make is below `work`."""

    def __init__(self, options: argparse.Namespace, work: Path) -> None:
        self.options, self.work = options, work
        self.timings = Timings(work / "seconds.json")
        self.shared = open_place(work / "steps-1-to-4")

    def refuse_other_settings(self) -> None:
        """End when `work` holds what other settings have made: rows and answers are found there by name alone."""
        file, given = self.work / "settings.json", self.config("without").model_dump_json()
        if file.is_file() and file.read_text() != given:
            raise SystemExit(f"--work {self.work}: was made with other settings; give another folder")
        file.write_text(given)

    def config(self, step_5: str, *more: str) -> RunConfig:
        """The run of an arm. Raises ConfigError for what `--set` gets wrong."""
        options = self.options
        given = [f"root={self.work}", "name=run", *options.set]
        if options.model:
            models = ("synthesis.generator.model", "training.base", "evaluation.engine.model")
            given += [f"{key}={options.model}" for key in models] + ["evaluation.engine.engine=vllm"]
        given += ["synthesis.max_reflections=null", "synthesis.unknown.share=0"]
        plain = load_run(options.config, tuple(given))
        if len(plain.corpora) != 1 or (plain.corpora[0].benchmark is not None and options.documents):
            raise SystemExit(f"{options.config}: needs one corpus, and for --documents one of files")
        if options.documents:
            files = [file.where for file in list_files(plain.corpora[0]).files[: options.documents]]
            given.append(f"corpora.0.paths={json.dumps(files)}")
        connections = plain.synthesis.connections
        if step_5 == "all_pairs":
            chosen = {"candidates": "all_pairs", "batch_size": connections.batch_size}
            given.append(f"synthesis.connections={json.dumps(chosen)}")
        else:
            given += ["synthesis.connections.candidates=shared_entities", "synthesis.connections.max_prompts=null"]
        if step_5 == "without":
            given.append(f"synthesis.without={json.dumps(sorted({*plain.synthesis.without, STEP_5}))}")
        return load_run(options.config, (*given, *more))

    def passes(self, step_5: str, kind: str, config: SynthesisConfig, engines: Engines, progress: Place) -> TimedPass:
        """Steps 1 to 4 in the place of all arms, Step 5 in the arm's own."""
        if kind == "units":
            return TimedPass(self.timings, kind, kind, config, engines, self.shared)
        return TimedPass(self.timings, step_5, kind, config, engines, progress)

    def synthesis(self, run: Workspace, corpus: Artifact, step_5: str) -> Artifact:
        """The synthesis stage of an arm."""
        config = run.config.synthesis
        source = source_of(config.generator, "synthesis.generator")

        def derive(attempt: Attempt) -> None:
            location, passes = source.location if source else None, partial(self.passes, step_5)
            synthesise(config, corpus, location, attempt, run.console.progress, passes)

        return make_synthesis(run, run.config.corpora[0].name, corpus, True, derive)

    def arms(self) -> tuple[Artifact, dict[str, dict[int, Made]]]:
        """Corpus, synthesis and training of every arm and seed; what is finished is not made again."""
        made: dict[str, dict[int, Made]] = {}
        corpus = None
        for arm in sorted(self.options.arms, key=list(ARMS).index):
            step_5, equal_steps = ARMS[arm]
            for seed in self.options.seeds:
                config = self.config(step_5, f"training.seed={seed}")
                if equal_steps:
                    epochs = self.equal_epochs(config, made["all_pairs"][seed], made[step_5][seed])
                    config = self.config(step_5, f"training.seed={seed}", f"training.epochs={epochs}")
                with Workspace(config, Console()) as run:
                    run.stages = ("corpus", "synthesis", "training")
                    corpus = make_corpus(run, config.corpora[0], True)
                    synthesis = self.synthesis(run, corpus, step_5)
                    training = make_training(run, config.corpora[0].name, synthesis, True)
                memory = training.location(f"epoch-{config.training.epochs}")
                made.setdefault(arm, {})[seed] = Made(synthesis, training, memory)
        assert corpus is not None
        return corpus, made

    @staticmethod
    def equal_epochs(config: RunConfig, full: Made, fewer: Made) -> int:
        """The epochs of `fewer` that come nearest to the steps of `full`."""
        each = math.ceil(fewer.synthesis.record.facts["train"] / config.training.reflections_per_step)
        return max(1, round(full.training.record.facts["steps"] / each))

    def measure(self) -> dict[str, Any]:
        """Everything, and what is printed."""
        self.refuse_other_settings()
        corpus, made = self.arms()
        rows = {arm: reflections(next(iter(seeds.values()))) for arm, seeds in made.items()}
        check_the_same(rows)
        config = self.config("all_pairs")
        asked = asked_of(rows, corpus, config.evaluation.max_trained)
        base = base_model(config.training).location
        systems = {f"{arm}-{seed}": one.memory for arm, seeds in made.items() for seed, one in seeds.items()}
        kept = open_place(self.work / "asked" / content_id("asked", *(row.question_id for row in asked)))
        progress: Progress = Console().progress
        answers = ask_systems(config, base, {"base": base, **systems}, asked, kept, progress).answers
        gpus = self.gpus(config.synthesis)
        recalled = {arm: scores(answers, arm, self.options.seeds) for arm in ("base", *made)}
        sets = question_names(rows, asked)
        first: Artifact = next(iter(next(iter(made.values())).values())).synthesis
        told: dict[str, Any] = {arm: self.told(arm, seeds, recalled[arm], sets, gpus) for arm, seeds in made.items()}
        return {
            "arms": {"base": {"recall": recall(recalled["base"], sets)}} | told,
            "minus_all_pairs": {
                arm: compared(arm, recalled, sets) for arm in made if arm != "all_pairs" and "all_pairs" in made
            },
            "steps_1_to_4": self.timings.facts("units", gpus) | {"reflections": by_step(first, but=STEP_5)},
            "questions": {name: len(ids) for name, ids in sets.items()},
            "budget": "*_equal_steps: the epochs nearest to the optimiser steps of all_pairs; others: equal epochs",
            "model": self.options.model or config.training.base,
            "device": self.options.device,
            "seeds": self.options.seeds,
        }

    def told(
        self, arm: str, seeds: Mapping[int, Made], recalled: Scores, sets: Mapping[str, set[str]], gpus: int
    ) -> dict[str, Any]:
        """One arm in numbers; of several seeds, training seconds are of all of them."""
        one = next(iter(seeds.values()))
        step_5, facts = ARMS[arm][0], one.synthesis.record.facts
        count = facts["by_step"].get(STEP_5, {})
        trained = [made.training.record.facts for made in seeds.values()]
        training = {
            "epochs": len(trained[0]["loss_by_epoch"]), "steps": trained[0]["steps"], "tokens": trained[0]["tokens"],
            "answer_tokens": trained[0]["answer_tokens"], "final_loss": round(trained[0]["final_loss"], 4),
            "seconds": round(sum(fact["training_seconds"] for fact in trained), 1),
        }  # fmt: skip
        if gpus:
            training["gpu_seconds"] = round(sum(made.training.record.cost["gpu_seconds"] for made in seeds.values()), 1)
        return {
            "step_5": {name: count.get(name, 0) for name in STEP_5_COUNTS} | self.timings.facts(step_5, gpus),
            "reflections": facts["train"],
            "training": training,
            "recall": recall(recalled, sets),
        }

    def gpus(self, config: SynthesisConfig) -> int:
        """GPUs that a pass holds."""
        engine = config.generator if isinstance(config.generator, VllmModel) else None
        return engine.gpus * engine.replicas if engine and self.options.device == "cuda" else 0


def reflections(made: Made) -> list[Reflection]:
    """All rows of an arm."""
    return made.synthesis.rows("reflections", Reflection)


def by_step(synthesis: Artifact, but: str = "") -> dict[str, int]:
    """Reflections kept, by step."""
    return {step: count["kept"] for step, count in synthesis.record.facts["by_step"].items() if step != but}


def main() -> None:
    """Measure and print."""
    demo = Path(__file__).resolve().parents[1] / "demo.yaml"
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(demo), help="a run with one corpus")
    parser.add_argument("--set", action="append", default=[], help="as of `memo run`")
    parser.add_argument("--model", default="", help="generator and base, instead of those of --config")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--documents", type=int, help="the first so many of the corpus; none: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="of the trainings")
    parser.add_argument("--arms", choices=ARMS, nargs="+", default=list(ARMS)[:4])
    parser.add_argument("--work", type=Path, help="folder for artefacts and measurements; kept")
    parser.add_argument("--until", type=float, default=0, help="seconds after which the script ends; 0: none")
    options = parser.parse_args()
    if any(not {"all_pairs", ARMS[arm][0]} <= {*options.arms} for arm in options.arms if ARMS[arm][1]):
        parser.error("--arms: an arm of equal steps needs all_pairs and its own arm of equal epochs")
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, options.until)
    with tempfile.TemporaryDirectory(prefix="learning-", dir="/tmp") as scratch:
        work = (options.work or Path(scratch)).absolute()
        work.mkdir(parents=True, exist_ok=True)
        try:
            with session(work / "logs"):
                told = Bench(options, work).measure()
        except KeyboardInterrupt:
            sys.exit("time is up: run the same command again to go on")
    print(json.dumps(told))


if __name__ == "__main__":
    main()
