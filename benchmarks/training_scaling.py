"""The trainer on one GPU and on two, with ZeRO-2: useful tokens a second and their ratio; one JSON line last.

    python benchmarks/training_scaling.py --model FOLDER [--device cuda] [--world 2] [--rounds 3] [--reflections 512]

Two groups of processes live side by side and take turns, step by step: `one` worker on the first GPU, and `--world` of
them on a GPU each (on a CPU: processes over gloo). `strong`: the same step of `--reflections` for both. `weak`: the one
worker has its share of them alone. A step's time is that of its slowest worker. `communication`: the share of a step in
which a GPU sends or receives, and `exposed` that in which it does nothing else, from a trace of one more step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

KEEP = {"compile": True, "checkpoint_keep": "products"}


def work(options: argparse.Namespace) -> None:
    """One worker: takes orders from standard input, answers each with a line on standard output."""
    gpu = options.device == "cuda"
    rank, world = (int(part) for part in options.worker.split("/"))
    # NVLink's multicast can put a shared host's GPUs out of service.
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), NCCL_NVLS_ENABLE="0",
        HF_HUB_DISABLE_PROGRESS_BARS="1",
    )  # fmt: skip
    if not gpu:
        os.environ["DS_ACCELERATOR"] = "cpu"
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    import torch
    import torch.distributed as dist
    from _kernels import told, traced
    from _steps import TrainerSteps, flops_of, tokens_of

    from memo_ray.artifacts.place import open_place
    from memo_ray.config.training import TrainingConfig
    from memo_ray.training.fit import footprint, shape_of
    from memo_ray.training.flops import peak_flops

    if gpu:
        torch.cuda.set_device(rank)
    else:
        torch.set_num_threads(1)
    dist.init_process_group(
        "nccl" if gpu else "gloo", init_method=f"file://{options.place}/store-{world}", rank=rank, world_size=world
    )
    kept = KEEP if gpu else {}
    config = TrainingConfig.model_validate(
        {"reflections_per_step": options.reflections, "micro_batch_tokens": options.micro_batch, "workers": world,
         "tracking": {"to": "none"}} | kept
    )  # fmt: skip
    steps = TrainerSteps(options.model, config, open_place(options.place).child(f"of-{world}"))

    def take(count: int, number: int) -> dict[str, Any]:
        step = steps.steps[number % 2][:count]
        if gpu:
            torch.cuda.synchronize()
        clock = time.perf_counter()
        steps.take(step)
        if gpu:
            torch.cuda.synchronize()
        return {
            "seconds": time.perf_counter() - clock, "tokens": tokens_of(steps, step), "flops": flops_of(steps, step)
        }  # fmt: skip

    def trace(count: int, number: int) -> dict[str, Any]:
        found = traced(lambda: steps.take(steps.steps[number % 2][:count]))
        if rank == 0:
            print(told(found), file=sys.stderr, flush=True)
        return {key: value for key, value in found.items() if key != "top"}

    def end(*_: int) -> dict[str, Any]:
        foretold = footprint(shape_of(steps.worker.loaded.model.config, None), config, world).total
        peak = torch.cuda.max_memory_allocated() if gpu else 0
        return {"peak_gib": round(peak / 2**30, 2), "foretold_gib": round(foretold / 2**30, 2),
                "peak_flops": peak_flops(steps.device)}  # fmt: skip

    orders = {"take": take, "trace": trace, "end": end}
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(orders[order["do"]](order["count"], order["number"])), file=answers, flush=True)
        if order["do"] == "end":
            break
    steps.close()
    dist.destroy_process_group()


class Group:
    """`world` workers that take the same orders."""

    def __init__(self, world: int, place: str) -> None:
        self.workers = [
            subprocess.Popen(
                [sys.executable, *sys.argv, "--worker", f"{rank}/{world}", "--place", place],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
            for rank in range(world)
        ]  # fmt: skip

    def answers(self) -> list[dict[str, Any]]:
        """The next answer of every worker."""
        lines = [worker.stdout.readline() for worker in self.workers if worker.stdout]
        if not all(lines):
            raise SystemExit("a worker has ended; its error is above")
        return [json.loads(line) for line in lines]

    def order(self, do: str, count: int = 0, number: int = 0) -> list[dict[str, Any]]:
        """Have every worker do something."""
        for worker in self.workers:
            assert worker.stdin is not None
            worker.stdin.write(json.dumps({"do": do, "count": count, "number": number}) + "\n")
            worker.stdin.flush()
        return self.answers()

    def stop(self) -> None:
        """End what has not ended by itself."""
        for worker in self.workers:
            if worker.stdin:
                worker.stdin.close()
            try:
                worker.wait(10)
            except subprocess.TimeoutExpired:
                worker.kill()


def main() -> None:
    """Take turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model folder; `_random_model.py` makes one")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--world", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reflections", type=int, default=512, help="a step, over all workers")
    parser.add_argument("--stretch", type=float, default=4.0, help="lengths of the demo's pairs, times this")
    parser.add_argument("--micro-batch", type=int, default=16_384, help="training.micro_batch_tokens")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    parser.add_argument("--place", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    from _steps import make_examples, stored
    from transformers import AutoConfig

    from memo_ray.artifacts.place import open_place

    whole, share = options.reflections, options.reflections // options.world
    with tempfile.TemporaryDirectory() as name:
        vocabulary = AutoConfig.from_pretrained(options.model).get_text_config().vocab_size
        made = make_examples(whole * 2, options.stretch, vocabulary)
        for world in (1, options.world):
            stored(made, open_place(name).child(f"of-{world}"))
        one, many = Group(1, name), Group(options.world, name)
        try:
            for group in (one, many):
                group.answers()
            turns = {"one": (one, whole), "one_share": (one, share), "many": (many, whole)}
            found: dict[str, list[dict[str, float]]] = {turn: [] for turn in turns}
            for number in range(options.rounds + 2):
                for turn, (group, count) in turns.items():
                    got = group.order("take", count, number)
                    if number < 2:  # kernels are chosen and compiled
                        continue
                    slowest = max(got, key=lambda answer: answer["seconds"])
                    found[turn].append(slowest)
                    print(
                        json.dumps({"round": number - 1, "turn": turn, "s": round(slowest["seconds"], 4)}), flush=True
                    )
            result = told_of(found)
            print(json.dumps(result), flush=True)
            traces = {turn: group.order("trace", whole)[0] for turn, group in (("one", one), ("many", many))}
            ends = {turn: group.order("end") for turn, group in (("one", one), ("many", many))}
            peak = ends["one"][0]["peak_flops"]
            result |= {
                "world": options.world,
                "mfu": {
                    turn: round(result["tflops"][turn] * 1e12 / peak / workers, 4) if peak else None
                    for turn, workers in (("one", 1), ("many", options.world))
                },
                "communication": traces["many"].get("communication"),
                "communication_exposed": traces["many"].get("communication_exposed"),
                "idle": {turn: trace.get("idle") for turn, trace in traces.items()},
                "peak_gib": {turn: end[0]["peak_gib"] for turn, end in ends.items()},
                "foretold_gib": {turn: end[0]["foretold_gib"] for turn, end in ends.items()},
                "reflections": whole,
                "stretch": options.stretch,
            }
        finally:
            one.stop()
            many.stop()
    print(json.dumps(result))


def told_of(found: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Rates and ratios: the median over rounds of those within a round, whose steps lie beside one another."""
    rates = {turn: [one["tokens"] / one["seconds"] for one in steps] for turn, steps in found.items()}
    flops = {turn: [one["flops"] / one["seconds"] / 1e12 for one in steps] for turn, steps in found.items()}

    def ratio(turn: str) -> float:
        return round(statistics.median(many / one for many, one in zip(rates["many"], rates[turn], strict=True)), 3)

    return {
        "strong": ratio("one"),
        "weak": ratio("one_share"),
        "tokens_per_s": {turn: round(statistics.median(found)) for turn, found in rates.items()},
        "tflops": {turn: round(statistics.median(found), 1) for turn, found in flops.items()},
    }


if __name__ == "__main__":
    main()
