"""What a pass of study gains over as many more steps of plain training; prints one JSON line.

    memo run demo.yaml --until synthesis
    python benchmarks/training_study.py --reflections FILE [--epochs 4] [--study '{"times": 4}'] [--seeds 42]

FILE: the `reflections.parquet` of that run. All arms go on from one state, after `--epochs` of the demo's recipe:
`study` with the passes that `--study` asks for, `plain` with whole epochs for at least as many steps. Then
every memory is asked all trained and all held-out questions, by greedy decoding, as evaluation scores them. `wrong`:
trained reflections whose answer is not given word for word.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
if "cuda" not in sys.argv:
    os.environ["DS_ACCELERATOR"] = "cpu"

import torch
import torch.distributed as dist

from memo_ray.artifacts.place import open_place
from memo_ray.artifacts.tables import read_rows
from memo_ray.config.training import TrainingConfig
from memo_ray.evaluation.metrics import score
from memo_ray.models.sources import resolve
from memo_ray.rows import Reflection
from memo_ray.training.checkpoints import History, newest_state
from memo_ray.training.job import Job
from memo_ray.training.loop import train
from memo_ray.training.preparation import prepare

RECIPE: dict[str, Any] = {
    "reflections_per_step": 16, "learning_rate": 2e-4, "max_sequence_length": 1024, "gradient_checkpointing": False,
    "state_every_s": 86_400, "tracking": {"to": "none"},
}  # fmt: skip
"""The demo's."""
ASKED_AT_ONCE, ANSWER_TOKENS = 32, 48


def ask(folder: Path, rows: list[Reflection], device: torch.device) -> dict[str, float | int]:
    """The figures of the memory in `folder`, asked every question of `rows` alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    model.to(device).eval()
    said: list[str] = []
    for start in range(0, len(rows), ASKED_AT_ONCE):
        asked = [[{"role": "user", "content": row.question}] for row in rows[start : start + ASKED_AT_ONCE]]
        inputs = tokenizer.apply_chat_template(
            asked, add_generation_prompt=True, padding=True, return_tensors="pt", return_dict=True
        ).to(device)
        out = model.generate(**inputs, max_new_tokens=ANSWER_TOKENS, do_sample=False)
        said += tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    found: dict[str, float | int] = {}
    for split in ("train", "held_out"):
        answers = [(one, row.answer) for one, row in zip(said, rows, strict=True) if row.split == split]
        if answers:
            recalled = [score(one, [answer]).recalled for one, answer in answers]
            found[f"{split}_recall"] = round(statistics.mean(recalled), 4)
        if split == "train":
            found["wrong"] = sum(one.strip() != answer.strip() for one, answer in answers)
    return found


class Bench:
    """One seed: a memory trained so far, and the arms that go on from it."""

    def __init__(self, options: argparse.Namespace, seed: int, folder: Path, rows: list[Reflection]) -> None:
        self.options, self.folder, self.rows = options, folder, rows
        self.base = resolve(options.model).path
        self.recipe = RECIPE | {"epochs": options.epochs, "seed": seed}
        train_rows = [row for row in rows if row.split == "train"]
        with open_place(folder / "before").storing("examples") as examples:
            self.pad = prepare(TrainingConfig(**self.recipe), train_rows, self.base, examples)["pad"]
        self.steps_of_epoch = -(-len(train_rows) // self.recipe["reflections_per_step"])

    def go_on(self, arm: str, leave_after: int = 0, **changes: Any) -> tuple[History, float]:
        """Train in the folder `arm` from its newest state; the history and the seconds that it took."""
        steps = iter(range(1, 1_000_000))
        place = open_place(self.folder / arm)
        config = TrainingConfig.model_validate(self.recipe | changes)
        threads = len(os.sched_getaffinity(0)) if self.options.device == "cpu" else None
        job = Job(config, self.base, place, self.pad, threads, leaving=lambda: next(steps) == leave_after)
        clock = time.perf_counter()
        return train(job, newest_state(job.states)), time.perf_counter() - clock

    def memory(self, arm: str, epoch: int) -> dict[str, float | int]:
        """Figures of an arm's memory after `epoch`."""
        return ask(self.folder / arm / "models" / f"epoch-{epoch}", self.rows, torch.device(self.options.device))

    def measure(self) -> dict[str, Any]:
        """Train all arms and ask their memories."""
        epochs, study = self.options.epochs, json.loads(self.options.study)
        self.go_on("before", epochs * self.steps_of_epoch, study=study)
        found: dict[str, Any] = {"before": self.memory("before", epochs)}
        told(found)
        for arm in ("study", "plain"):
            shutil.copytree(self.folder / "before", self.folder / arm)
        history, seconds = self.go_on("study", study=study)
        last = len(history.epochs)
        steps = sum(len(epoch.losses) for epoch in history.epochs if epoch.study)
        looked = [epoch.wrong for epoch in history.epochs[epochs - 1 :]]
        figures = self.memory("study", last) if last > epochs else found["before"]
        found["study"] = figures | {"steps": steps, "looked_wrong": looked, "seconds": round(seconds, 1)}
        told(found)
        more = max(1, -(-steps // self.steps_of_epoch))
        _, seconds = self.go_on("plain", epochs=epochs + more)
        found["plain"] = self.memory("plain", epochs + more)
        found["plain"] |= {"steps": more * self.steps_of_epoch, "seconds": round(seconds, 1)}
        told(found)
        return found


def told(found: dict[str, Any]) -> None:
    """The newest arm, for whoever waits."""
    print(json.dumps({list(found)[-1]: list(found.values())[-1]}), file=sys.stderr, flush=True)


def main() -> None:
    """Measure every seed and print the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reflections", type=Path, required=True)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--epochs", type=int, default=4, help="before the arms part")
    parser.add_argument("--study", default="{}", help="training.study, as JSON")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    options = parser.parse_args()
    rows = read_rows(options.reflections, Reflection)
    runs = []
    with tempfile.TemporaryDirectory() as name:
        gpu = options.device == "cuda"
        dist.init_process_group("nccl" if gpu else "gloo", init_method=f"file://{name}/store", rank=0, world_size=1)
        for seed in options.seeds:
            folder = Path(name) / str(seed)
            runs.append(Bench(options, seed, folder, rows).measure())
            shutil.rmtree(folder)
        dist.destroy_process_group()
    figures = [key for key in ("train_recall", "held_out_recall", "wrong") if key in runs[0]["before"]]
    means = {arm: {key: round(statistics.mean(run[arm][key] for run in runs), 4) for key in figures} for arm in runs[0]}
    print(json.dumps({"means": means, "runs": runs, "reflections": len(rows), "epochs": options.epochs}))


if __name__ == "__main__":
    main()
