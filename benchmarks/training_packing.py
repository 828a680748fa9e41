"""Packed training beside a plain padded loop on the same examples; prints one JSON line.

    python benchmarks/training_packing.py [--model embedded] [--device cpu|cuda] [--steps 6] [--reflections 16]

Arms, in turns in one process: `packed` is the trainer itself (DeepSpeed, float32 master weights, fused loss); `padded`
is transformers' own model with dynamic padding, micro-batches of 8, full checkpointing on a GPU, plain cross entropy
and PyTorch's AdamW; `grouped` is the same with the step's examples sorted by length. Lengths are those of a real run
(`data/pair_lengths.json`), `--stretch` times as long. Useful tokens are those of examples, never padding.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.update(RANK="0", LOCAL_RANK="0", WORLD_SIZE="1", HF_HUB_DISABLE_PROGRESS_BARS="1")
if "cuda" not in sys.argv:
    os.environ["DS_ACCELERATOR"] = "cpu"

import numpy as np
import torch
import torch.distributed as dist
from _steps import make_examples, seconds_of, stored

from memo_ray.artifacts.place import open_place
from memo_ray.config.training import TrainingConfig
from memo_ray.models.sources import resolve
from memo_ray.training.checkpoints import Epoch
from memo_ray.training.flops import peak_flops
from memo_ray.training.job import Job
from memo_ray.training.loop import Worker

MICRO_BATCH = 8


class Padded:
    """The plain loop."""

    def __init__(self, base: Path, worker: Worker, *, grouped: bool) -> None:
        from transformers import AutoModelForCausalLM

        self.worker, self.grouped = worker, grouped
        gpu = worker.device.type == "cuda"
        self.model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16, attn_implementation="sdpa")
        self.model.to(worker.device).train()
        self.model.config.use_cache = False
        if gpu:
            self.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-5, fused=True)

    def take(self, step: list[int]) -> None:
        """One optimiser step, its examples in micro-batches of MICRO_BATCH."""
        examples, device = self.worker.examples, self.worker.device
        answers = sum(self.worker.answer_tokens[index] for index in step)
        order = sorted(step, key=lambda index: self.worker.lengths[index]) if self.grouped else step
        for start in range(0, len(order), MICRO_BATCH):
            rows = [
                torch.from_numpy(examples.example(index).astype(np.int64))
                for index in order[start : start + MICRO_BATCH]
            ]
            prompts = [int(examples.prompts[index]) for index in order[start : start + MICRO_BATCH]]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
            labels = ids.masked_fill(mask == 0, -100)
            for row, prompt in zip(labels, prompts, strict=True):
                row[:prompt] = -100
            inputs = {"input_ids": ids, "attention_mask": mask, "labels": labels}
            loss = self.model(
                **{name: value.to(device) for name, value in inputs.items()}, num_items_in_batch=answers
            ).loss
            loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def main() -> None:
    """Time every arm and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--reflections", type=int, default=None, help="a step (default: 16 on a CPU, 512 on a GPU)")
    parser.add_argument("--stretch", type=float, default=1.0, help="lengths, times this")
    parser.add_argument("--keep", default=None, help="training.checkpoint_keep of the packed arm")
    parser.add_argument("--compile", action="store_true", help="training.compile of the packed arm")
    options = parser.parse_args()
    gpu = options.device == "cuda"
    count = options.reflections or (512 if gpu else 16)
    base = resolve(options.model).path
    settings: dict[str, Any] = {
        "reflections_per_step": count, "max_sequence_length": 4096 if gpu else 1024, "gradient_checkpointing": gpu,
        "compile": options.compile, "tracking": {"to": "none"},
    }  # fmt: skip
    if options.keep:
        settings["checkpoint_keep"] = options.keep
    with tempfile.TemporaryDirectory() as name:
        dist.init_process_group("nccl" if gpu else "gloo", init_method=f"file://{name}/store", rank=0, world_size=1)
        if not gpu:
            torch.set_num_threads(len(os.sched_getaffinity(0)))
        from transformers import AutoConfig

        vocabulary = AutoConfig.from_pretrained(base).get_text_config().vocab_size
        place = open_place(name)
        stored(make_examples(count * 4, options.stretch, vocabulary), place)
        worker = Worker(Job(TrainingConfig(**settings), base, place, pad=0), None)

        def packed(step: list[int]) -> None:
            worker.take_step(step, 0, sum(worker.answer_tokens[index] for index in step), Epoch())

        arms = {"packed": packed}
        arms |= {kind: Padded(base, worker, grouped=kind == "grouped").take for kind in ("padded", "grouped")}
        rates: dict[str, list[float]] = {kind: [] for kind in arms}
        shares = []
        peak = peak_flops(worker.device)
        for number in range(options.steps + 1):
            step = worker.steps(0)[number % 4]
            lengths = [worker.lengths[index] for index in step]
            for kind, take in arms.items():
                seconds = seconds_of(lambda take=take, step=step: take(step), worker.device)
                if not number:  # kernels are chosen and compiled
                    continue
                rates[kind].append(sum(lengths) / seconds)
                if kind == "packed" and peak:
                    answers = sum(worker.answer_tokens[index] for index in step)
                    shares.append(worker.meter.work.flops(lengths, answers) / seconds / peak)
                print(
                    json.dumps({"step": number, "arm": kind, "seconds": round(seconds, 3)}), file=sys.stderr, flush=True
                )
        middle = {kind: statistics.median(found) for kind, found in rates.items()}
        mean = sum(worker.lengths) / len(worker.lengths)
        dist.destroy_process_group()
    result = {
        "packed_over_padded": round(middle["packed"] / middle["padded"], 3),
        "packed_over_grouped": round(middle["packed"] / middle["grouped"], 3),
        "mfu": round(statistics.median(shares), 4) if shares else None,
        "useful_tokens_per_s": round(middle["packed"]),
        "padded_tokens_per_s": round(middle["padded"]),
        "grouped_tokens_per_s": round(middle["grouped"]),
        "mean_tokens": round(mean, 1),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1) if gpu else None,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
