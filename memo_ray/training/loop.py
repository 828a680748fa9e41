"""The training loop of one worker: packed steps through DeepSpeed, a model folder an epoch, state to resume from.

Runs inside a Ray Train worker, which has set up torch.distributed. Folders below `state` belong to the run: what
is finished there was put in place in one step, so a worker that is killed anywhere resumes from its last state.
"""

from __future__ import annotations

import json
import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from memo_ray.config.training import TrainingConfig
from memo_ray.errors import TrainingError
from memo_ray.training.deepspeed import settings
from memo_ray.training.examples import Example
from memo_ray.training.packing import IGNORED, Sequences, empty, micro_batches, shares, steps_of_epoch

CPU_ROW_TOKENS = 256
"""Longest packed row on a CPU: its attention is dense, so longer rows cost more than their padding saves."""


@dataclass(frozen=True)
class Task:
    """What a worker needs. `examples`: (tokens, answer_start) of every trained reflection, in table order."""

    config: TrainingConfig
    base: str
    state: str
    examples: list[tuple[tuple[int, ...], int]]
    pad: int


@dataclass
class History:
    """What has been trained so far; saved with the state, so that a resumed run ends with all of it."""

    epoch: int = 0
    losses: list[float] = field(default_factory=list)
    tokens: int = 0
    padded_tokens: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    resumed_from: list[int] = field(default_factory=list)


def train(task: Task) -> dict[str, Any]:
    """Train to the last epoch and return the history, and how many workers there were. Every worker runs this.

    Raises TrainingError when the loss is not a number.
    """
    import torch.distributed as dist

    rank, world = dist.get_rank(), dist.get_world_size()
    trainer = Trainer(task, rank, world)
    history = trainer.resume()
    saved = time.monotonic()
    for epoch in range(history.epoch, task.config.epochs):
        for step in trainer.steps(epoch):
            history.losses.append(trainer.step(step, len(history.losses), history))
            if rank == 0:
                trainer.note(history)
        history.epoch = epoch + 1
        trainer.save_model(history.epoch)
        last = history.epoch == task.config.epochs
        # The state is several times the model; after the last epoch nothing resumes from it.
        if not last and trainer.all_agree(time.monotonic() - saved >= task.config.state_every_s):
            trainer.save_state(history)
            saved = time.monotonic()
    return asdict(history) | {"workers": world}


class Trainer:
    """A worker's engine and its share of every step."""

    def __init__(self, task: Task, rank: int, world: int) -> None:
        import deepspeed
        import torch

        self.task, self.config, self.rank, self.world = task, task.config, rank, world
        self.gpu = torch.cuda.is_available()
        self.device = torch.device("cuda", torch.cuda.current_device()) if self.gpu else torch.device("cpu")
        torch.manual_seed(self.config.seed)
        self.examples = [Example(*pair) for pair in task.examples]
        self.accumulation = max(len(mine) for epoch in range(self.config.epochs) for mine in self.plan(epoch))
        self.folder = Path(task.state)
        logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
        model = AnswerLoss(load(task.base, self.config, self.gpu))
        model.module.to(self.device)
        optimizer = torch.optim.AdamW(
            groups(model.module, self.config.weight_decay), lr=self.config.learning_rate, fused=True
        )
        self.engine, self.optimizer, *_ = deepspeed.initialize(
            model=model.module, optimizer=optimizer, config=settings(self.config, self.accumulation, gpu=self.gpu)
        )
        self.loss_of = model
        per_epoch = math.ceil(len(self.examples) / self.config.reflections_per_step)
        self.warmup = max(1, round(self.config.warmup_ratio * per_epoch * self.config.epochs))

    def plan(self, epoch: int) -> Iterator[list[Sequences]]:
        """The most micro-batches that any worker has, for every step of `epoch`."""
        for step in self.indices(epoch):
            lengths = [len(self.examples[n].tokens) for n in step]
            parts = [self.micro_batches([step[n] for n in part]) for part in shares(lengths, self.world) if part]
            yield max(parts, key=len)

    def indices(self, epoch: int) -> list[list[int]]:
        """The examples of every step of `epoch`."""
        return steps_of_epoch(len(self.examples), self.config.reflections_per_step, self.config.seed, epoch)

    def micro_batches(self, indices: Sequence[int]) -> list[Sequences]:
        """Packed sequences of some examples."""
        capacity = self.config.max_sequence_length if self.gpu else min(self.config.max_sequence_length, CPU_ROW_TOKENS)
        chosen = [self.examples[n] for n in indices]
        return micro_batches(
            chosen, capacity, self.config.micro_batch_tokens, self.task.pad, packing=self.config.packing
        )

    def steps(self, epoch: int) -> Iterator[tuple[list[Sequences], int]]:
        """This worker's micro-batches of every step, and the step's answer tokens over all workers."""
        for step in self.indices(epoch):
            lengths = [len(self.examples[n].tokens) for n in step]
            mine = [step[n] for n in shares(lengths, self.world)[self.rank]]
            batches = self.micro_batches(mine) if mine else []
            batches += [empty(self.task.pad)] * (self.accumulation - len(batches))
            yield batches, sum(self.examples[n].answer_tokens for n in step)

    def step(self, step: tuple[list[Sequences], int], number: int, history: History) -> float:
        """One optimiser step; returns the mean loss of its answer tokens over all workers."""
        import torch
        import torch.distributed as dist

        batches, answer_tokens = step
        clock = time.monotonic()
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * min(1.0, (number + 1) / self.warmup)
        counts = torch.zeros(3, dtype=torch.float64)
        for batch in batches:
            loss = self.loss_of(self.engine, batch, self.device)
            counts += torch.tensor([loss.item(), *sizes(batch)], dtype=torch.float64)
            # DeepSpeed divides by the accumulation steps and averages over workers; undo both.
            self.engine.backward(loss * (self.world * self.accumulation / answer_tokens))
            self.engine.step()
        counts = counts.to(self.device)
        dist.all_reduce(counts)
        loss_sum, tokens, padded = counts.tolist()
        if not math.isfinite(loss_sum):
            raise TrainingError(
                f"training: the loss is {loss_sum} at step {number + 1}; lower learning_rate, or use precision: fp32"
            )
        history.tokens += int(tokens)
        history.padded_tokens += int(padded)
        history.answer_tokens += answer_tokens
        history.seconds += time.monotonic() - clock
        return loss_sum / answer_tokens

    def resume(self) -> History:
        """The history of the last saved state, loaded into the engine; a fresh one when there is none."""
        home = self.folder / f"state-{self.world}"
        if not (home / "latest").is_file():
            return History()
        path, client = self.engine.load_checkpoint(str(home))
        if path is None:
            raise TrainingError(f"training: the saved state in {home} cannot be read; remove it to start again")
        history = History(**client["history"])
        history.resumed_from.append(history.epoch)
        return history

    def save_state(self, history: History) -> None:
        """Save what resumes after this epoch, and remove the state before it."""
        import torch.distributed as dist

        home, tag = self.folder / f"state-{self.world}", f"epoch-{history.epoch}"
        # DeepSpeed names the newest state in `latest` after everything of it is written.
        self.engine.save_checkpoint(str(home), tag=tag, client_state={"history": asdict(history)})
        dist.barrier()
        if self.rank == 0:
            for old in home.glob("epoch-*"):
                if old.name != tag:
                    shutil.rmtree(old, ignore_errors=True)

    def save_model(self, epoch: int) -> None:
        """Write the memory after `epoch` as a Hugging Face folder, complete or not there at all."""
        import torch
        import torch.distributed as dist
        from transformers import AutoTokenizer

        if self.rank == 0:
            target = self.folder / "models" / f"epoch-{epoch}"
            scratch = target.with_name(f".{target.name}.{os.getpid()}")
            # Tied weights share memory, and must go on sharing it when they are copied.
            copies: dict[int, Any] = {}
            state = self.engine.module.state_dict()
            weights = {k: copies.setdefault(v.data_ptr(), v.to(torch.bfloat16)) for k, v in state.items()}
            self.engine.module.save_pretrained(scratch, state_dict=weights, safe_serialization=True)
            set_dtype(scratch / "config.json", "bfloat16")
            AutoTokenizer.from_pretrained(self.task.base).save_pretrained(scratch)
            shutil.rmtree(target, ignore_errors=True)
            scratch.rename(target)
        dist.barrier()

    def note(self, history: History) -> None:
        """Leave how far training is where the driver looks for it."""
        per_epoch = math.ceil(len(self.examples) / self.config.reflections_per_step)
        told = {
            "done": len(history.losses),
            "total": per_epoch * self.config.epochs,
            "note": f"loss {history.losses[-1]:.2f}, {history.tokens / max(history.seconds, 1e-9):.0f} tokens/s",
        }
        temporary = self.folder / ".progress.json"
        temporary.write_text(json.dumps(told))
        temporary.replace(self.folder / "progress.json")

    def all_agree(self, wish: bool) -> bool:
        """Rank 0's `wish`, known to all: every worker must save, or none."""
        import torch
        import torch.distributed as dist

        flag = torch.tensor([int(wish)], device=self.device)
        dist.broadcast(flag, src=0)
        return bool(flag.item())


class AnswerLoss:
    """The summed cross entropy of a micro-batch's answer tokens, without ever holding the other tokens' logits."""

    def __init__(self, model: Any) -> None:
        self.module = model
        # The head takes positions of one row: hand it all rows as one.
        model.base_model.register_forward_hook(_as_one_row)

    def __call__(self, engine: Any, batch: Sequences, device: Any) -> Any:
        """A scalar on `device`, in float32; 0 with a gradient for a micro-batch without answers."""
        import torch

        tokens = torch.tensor(batch.tokens, device=device)
        positions = torch.tensor(batch.positions, device=device)
        # A token is predicted at the place before it; positions restart, so no label crosses into a next example.
        labels = torch.tensor(batch.labels, device=device).roll(-1, dims=1)
        labels[:, -1] = IGNORED
        wanted = (labels.reshape(-1) != IGNORED).nonzero().squeeze(1)
        kept = wanted if len(wanted) else torch.zeros(1, dtype=torch.long, device=device)
        output = engine(input_ids=tokens, position_ids=positions, use_cache=False, logits_to_keep=kept)
        logits = output.logits[0].float()
        if not len(wanted):
            return logits.sum() * 0.0
        return torch.nn.functional.cross_entropy(logits, labels.reshape(-1)[wanted], reduction="sum")


def _as_one_row(_: Any, __: Any, output: Any) -> Any:
    hidden = output.last_hidden_state
    output.last_hidden_state = hidden.reshape(1, -1, hidden.shape[-1])
    return output


def load(base: str, config: TrainingConfig, gpu: bool) -> Any:
    """The base model, ready to train. On a CPU it is held as the optimiser's precision asks."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(
        base, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, trust_remote_code=False
    )
    model.config.use_cache = False
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return model.train()


def groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    """The optimiser's parameters: matrices with weight decay, norms and biases without, as is usual for SFT."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]


def sizes(batch: Sequences) -> tuple[int, int]:
    """Tokens of examples in a micro-batch, and tokens with its padding."""
    padded = sum(len(row) for row in batch.tokens)
    free = 0
    for labels, positions in zip(batch.labels, batch.positions, strict=True):
        start = max((n for n, position in enumerate(positions) if position == 0), default=0)
        # The last example of a row is padding when nothing of it is learnt.
        if all(label == IGNORED for label in labels[start:]):
            free += len(positions) - start
    return padded - free, padded


def set_dtype(path: Path, dtype: str) -> None:
    """State in a model's config the type that its weights were written in."""
    content = json.loads(path.read_text())
    content["dtype"] = dtype
    path.write_text(json.dumps(content, indent=2) + "\n")
