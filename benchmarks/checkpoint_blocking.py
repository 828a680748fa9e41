"""How long saving holds up training: in the background beside at once; prints one JSON line.

    python benchmarks/checkpoint_blocking.py [--model embedded] [--device cpu|cuda] [--rounds 5] [--reflections 16]

A save is what the trainer writes at the end of an epoch: the model folder and resumable state (float32 weights and
moments), to `--place` (a folder or an `s3://` URL). `synchronous`: training stands still until all of it counts.
`asynchronous`: the same save in the background while steps are taken, all of them on the same examples; blocked is what
those steps waited for it. Rounds take turns. The first save of all, which allocates host memory, is told by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from typing import Any

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
if "cuda" not in sys.argv:
    os.environ["DS_ACCELERATOR"] = "cpu"

import torch
import torch.distributed as dist
from _steps import make_examples, stored

from memo_ray.artifacts.place import open_place
from memo_ray.config.training import TrainingConfig
from memo_ray.models.sources import resolve
from memo_ray.training.checkpoints import Epoch
from memo_ray.training.job import Job
from memo_ray.training.loop import Worker


class Bench:
    """One worker, the same step again and again, and its saves."""

    def __init__(self, worker: Worker) -> None:
        self.worker, self.writer = worker, worker.saves.writer
        self.step = worker.steps(0)[0]
        self.answers = sum(worker.answer_tokens[index] for index in self.step)

    def seconds_of_step(self) -> float:
        """The time of one optimiser step."""
        clock = time.perf_counter()
        self.worker.take_step(self.step, 0, self.answers, Epoch())
        if self.worker.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - clock

    def save_at_once(self) -> float:
        """Seconds of a save that is waited for."""
        clock = time.perf_counter()
        self.worker.saves.start(epoch=True, state=True)
        self.writer.finish()
        return time.perf_counter() - clock

    def save_beside(self) -> tuple[float, list[float], float]:
        """Seconds that a save in the background blocks; the steps taken meanwhile; seconds until it counts."""
        blocked, clock = self.writer.blocked_seconds, time.perf_counter()
        self.worker.saves.start(epoch=True, state=True)
        steps = [self.seconds_of_step()]
        while self.writer.busy:
            steps.append(self.seconds_of_step())
        took = time.perf_counter() - clock
        held = self.writer.blocked_seconds - blocked
        self.writer.finish()
        return held, steps, took


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--reflections", type=int, default=None, help="a step (default: 16 on a CPU, 512 on a GPU)")
    parser.add_argument("--stretch", type=float, default=1.0, help="lengths of the demo's pairs, times this")
    parser.add_argument("--place", default=None, help="where saves go (default: a temporary folder)")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    count = options.reflections or (512 if gpu else 16)
    base = resolve(options.model).path
    config = TrainingConfig.model_validate(
        {"reflections_per_step": count, "max_sequence_length": 1024, "gradient_checkpointing": gpu,
         "tracking": {"to": "none"}}
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        dist.init_process_group("nccl" if gpu else "gloo", init_method=f"file://{name}/store", rank=0, world_size=1)
        if not gpu:
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        from transformers import AutoConfig

        place = open_place(options.place or name).child("progress")
        vocabulary = AutoConfig.from_pretrained(base).get_text_config().vocab_size
        stored(make_examples(count, options.stretch, vocabulary), place)
        bench = Bench(Worker(Job(config, base, place, pad=0), None))
        bench.seconds_of_step()
        first, _, _ = bench.save_beside()
        waited: list[float] = []
        blocked: list[float] = []
        plain: list[float] = []
        beside: list[float] = []
        extra: list[float] = []
        for number in range(options.rounds):
            held, steps, took = bench.save_beside()
            alone = [bench.seconds_of_step() for _ in steps]
            waited.append(bench.save_at_once())
            blocked.append(held)
            plain += alone
            beside += steps
            extra.append(sum(steps) - sum(alone))
            told = {"round": number, "blocked": held, "synchronous": waited[-1], "written_after": took}
            print(json.dumps({key: round(value, 3) for key, value in told.items()}), file=sys.stderr, flush=True)
        (state,) = place.child("states").folders()
        size = sum(tensor.nbytes for tensor in bench.worker.saves.copies.buffers.values())
        place.child("states").remove(state)
        bench.writer.close()
        dist.destroy_process_group()
    middle = {"blocked": statistics.median(blocked), "synchronous": statistics.median(waited)}
    result: dict[str, Any] = {
        "blocked_over_synchronous": round(middle["blocked"] / middle["synchronous"], 4),
        "blocked_s": round(middle["blocked"], 4),
        "synchronous_s": round(middle["synchronous"], 3),
        "first_blocked_s": round(first, 3),
        "step_s": round(statistics.median(plain), 4),
        "step_while_saving_s": round(statistics.median(beside), 4),
        "step_while_saving_over_step": round(statistics.median(beside) / statistics.median(plain), 4),
        # All that saving costs, with a save every `state_every_s` seconds.
        "step_time_up": round(statistics.median(extra) / config.state_every_s, 4),
        "state_every_s": config.state_every_s,
        "gigabytes": round(size / 1e9, 2),
        "rounds": options.rounds,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
