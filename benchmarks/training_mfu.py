"""Which share of a GPU's peak the trainer's steps reach, by settings; prints each arm as it is had, and one JSON line.

    python benchmarks/training_mfu.py --model FOLDER [--arms products kept] [--profile products] [--device cuda]
    python benchmarks/training_mfu.py --shape qwen2.5-14b --bf16-adam [--reflections 128]

An arm is a choice of `training` keys (ARMS). Arms with `--model` (a model folder; `_random_model.py` makes one) are the
trainer's own steps; with `--bf16-adam` weights, gradients and moments are bf16, which is what fits one GPU at 14B. MFU
counts tokens of examples, neither padding nor recomputation, against the maker's bf16 figure. `of_measured` is the
share of the matrix rate measured in the same run. Beside the measured peak of memory stands what `memo plan` foretells.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from _random_model import config_of
from _steps import (
    Bf16Steps,
    TrainerSteps,
    flops_of,
    forget,
    make_examples,
    matrix_rate,
    seconds_of,
    single_process,
    stored,
    tokens_of,
)

from memo_ray.artifacts.place import open_place
from memo_ray.config.training import TrainingConfig
from memo_ray.training import loss
from memo_ray.training.fit import footprint, shape_of
from memo_ray.training.flops import peak_flops

COMPILED: dict[str, Any] = {"compile": True, "checkpoint_keep": "products"}
ARMS: dict[str, dict[str, Any]] = {
    "products": COMPILED | {"micro_batch_tokens": 32_384},
    "products-16k": COMPILED | {"micro_batch_tokens": 16_384},
    "products-4k": COMPILED | {"micro_batch_tokens": 4096, "max_sequence_length": 4096},
    "products-6k": COMPILED | {"micro_batch_tokens": 6144, "max_sequence_length": 6144},
    "kept": {"compile": True, "gradient_checkpointing": False},
    "checkpointed": {"compile": True},
    "plain": {},
    "own-chunks": COMPILED | {"micro_batch_tokens": 16_384},
}
"""`own-chunks`: Liger's loss with its own choice of chunks, beside `products-16k`. `plain`: the defaults."""

FIT_NOTE = ("weights", "gradients", "optimizer", "buffers", "activations", "logits")


def settings(arm: str, options: argparse.Namespace) -> TrainingConfig:
    """The training section of an arm."""
    common: dict[str, Any] = {"reflections_per_step": options.reflections, "tracking": {"to": "none"}}
    return TrainingConfig.model_validate(common | ARMS[arm])


def measure(arm: str, options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Time the steps of one arm."""
    loss.LIGER_LOGITS_AT_ONCE = 1 if arm == "own-chunks" else options.logits
    config, device = settings(arm, options), torch.device(options.device)
    made = make_examples(options.reflections * 2, options.stretch, options.vocabulary)
    if options.bf16_adam:
        steps: Any = Bf16Steps(config_of(options.shape), config, made, device)
    else:
        steps = TrainerSteps(options.model, config, stored(made, open_place(f"{name}/{arm}")))
    examples = [step for step in steps.steps if len(step) == options.reflections]
    first = seconds_of(lambda: steps.take(examples[0]), device)
    seconds_of(lambda: steps.take(examples[1]), device)
    found = []
    for number in range(options.steps):
        step = examples[number % 2]
        found.append(
            (seconds_of(lambda step=step: steps.take(step), device), flops_of(steps, step), tokens_of(steps, step))
        )
    rates = [flops / seconds for seconds, flops, _ in found]
    result = {
        "arm": arm,
        "seconds": round(statistics.median(seconds for seconds, _, _ in found), 4),
        "tokens_per_s": round(statistics.median(tokens / seconds for seconds, _, tokens in found)),
        "tflops": round(statistics.median(rates) / 1e12, 1),
        "spread": round((max(rates) - min(rates)) / statistics.median(rates), 4),
        "first_step_s": round(first, 1),
    }
    peak = peak_flops(device)
    if peak:
        result |= {
            "mfu": round(statistics.median(rates) / peak, 4),
            "of_measured": round(statistics.median(rates) / options.rate, 4),
            "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2),
            "reserved_gib": round(torch.cuda.max_memory_reserved() / 2**30, 2),
        }
    if not options.bf16_adam:
        foretold = footprint(shape_of(steps.worker.loaded.model.config, None), config, 1)
        result["foretold_gib"] = round(foretold.total / 2**30, 2)
        result["foretold"] = {part: round(getattr(foretold, part) / 2**30, 2) for part in FIT_NOTE}
    print(json.dumps(result), flush=True)
    if arm in options.profile:
        from _kernels import told, traced

        traces = traced(lambda: steps.take(examples[0]))
        print(told(traces), flush=True)
        result |= {f"trace_{key}": value for key, value in traces.items() if key != "top"}
    steps.close()
    return result


def main() -> None:
    """Measure the arms one after another; one that fails is told and does not end the others."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a model folder")
    parser.add_argument("--shape", default="qwen2.5-14b", help="with --bf16-adam: a key of SHAPES, or tiny- and one")
    parser.add_argument("--bf16-adam", action="store_true")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=["products", "kept"])
    parser.add_argument("--profile", nargs="*", choices=ARMS, default=[])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--reflections", type=int, default=512, help="a step")
    parser.add_argument("--stretch", type=float, default=4.0, help="lengths of the demo's pairs, times this")
    parser.add_argument("--logits", type=int, default=loss.LIGER_LOGITS_AT_ONCE, help="Liger's, that exist at a time")
    parser.add_argument("--matrix", type=int, default=8192, help="size of the product whose rate is measured")
    parser.add_argument("--out", type=Path, help="also write the results here, after every arm")
    options = parser.parse_args()
    if not options.bf16_adam and options.model is None:
        parser.error("--model FOLDER, or --bf16-adam")
    gpu = options.device == "cuda"
    single_process(gpu)
    from transformers import AutoConfig

    if options.bf16_adam:
        options.vocabulary = config_of(options.shape).vocab_size
    else:
        options.vocabulary = AutoConfig.from_pretrained(options.model).get_text_config().vocab_size
    options.rate = matrix_rate(torch.device(options.device), options.matrix if gpu else 256)
    arms: list[dict[str, Any]] = []
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        dist.init_process_group("nccl" if gpu else "gloo", init_method=f"file://{name}/store", rank=0, world_size=1)
        for arm in options.arms:
            try:
                arms.append(measure(arm, options, name))
            except Exception as error:  # noqa: BLE001  # out of memory in one arm must not lose the others
                traceback.print_exc(file=sys.stderr)
                arms.append({"arm": arm, "error": f"{type(error).__name__}: {error}"[:300]})
                print(json.dumps(arms[-1]), flush=True)
                del error
            forget()
            result = {
                "model": options.shape if options.bf16_adam else str(options.model),
                "matrix_tflops": round(options.rate / 1e12, 1),
                "stretch": options.stretch,
                "best_mfu": max((found.get("mfu", 0) for found in arms), default=0),
                "arms": arms,
            }
            if options.out:
                options.out.write_text(json.dumps(result))
        dist.destroy_process_group()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
