"""What a training saves and when: a model folder after each epoch, and resumable state by the clock.

A step is interrupted for no longer than it takes to copy tensors into host memory, and mostly not even that: copies are
made beside the next step's computing. State is taken between two steps, at once when a machine is about to go.
"""

from __future__ import annotations

import time
from dataclasses import replace
from enum import IntEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from memo_ray.training.background import HostCopies, Writer
from memo_ray.training.checkpoints import (
    HISTORY,
    History,
    kept_epochs,
    remove_models,
    remove_states,
    save_model,
    save_tokenizer,
    stored_type,
    tied_names,
)
from memo_ray.training.job import Job, model_name
from memo_ray.training.lora import FOLDER, adapter_state, folded_state, save_adapter
from memo_ray.training.zero import part_of, save_layout, save_part


class Wish(IntEnum):
    """What comes after a step: nothing, state, or state and the end of this group of workers."""

    NONE = 0
    STATE = 1
    LEAVE = 2


class Saves:
    """The saves of one worker. `nonce`: in the name of each state, this group of workers' own."""

    def __init__(self, job: Job, engine: Any, model: Any, history: History, device: torch.device, nonce: str) -> None:
        self.job, self.engine, self.model, self.history, self.nonce = job, engine, model, history, nonce
        self.writer = Writer(device)
        self.copies = HostCopies(device)
        self.last = time.monotonic()
        self.shell = TemporaryDirectory(prefix="memo-tokenizer-")
        self.folded = job.config.lora is None or job.config.lora.folded
        if self.writer.rank == 0 and self.folded:
            save_tokenizer(job.base, Path(self.shell.name))
            self.dtype = stored_type(job.base, model)

    def wish(self) -> Wish:
        """What all workers do after this step. Raises TrainingError when a save has failed."""
        due = self.writer.rank == 0 and time.monotonic() - self.last >= self.job.config.state_every_s
        failed, leaving, busy, due = self.writer.agreed(self.writer.failed, self.job.leaving(), self.writer.busy, due)
        if failed:
            self.writer.finish()
        if leaving:
            return Wish.LEAVE
        return Wish.STATE if due and not busy else Wish.NONE

    def start(self, *, epoch: bool, state: bool) -> None:
        """Begin to save the model of the epoch that has just ended, resumable state, or both.

        Waits for the save before it, and raises as `Writer.finish` does.
        """
        job, writer = self.job, self.writer
        number = len(self.history.epochs)
        content = self.summed_history().content()
        target = job.states.child(f"step-{self.history.steps:08d}-{self.nonce}")

        def copy() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
            weights, adapters = self.model_copies() if epoch and writer.rank == 0 else ({}, {})
            return weights, adapters, self.copies.take(part_of(self.engine).items()) if state else {}

        def write(held: tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]) -> None:
            weights, adapters, part = held
            if weights or adapters:
                with job.progress.storing(model_name(number)) as folder:
                    if weights:
                        save_model(self.model, folder, weights, Path(self.shell.name))
                    if adapters:
                        save_adapter(self.model, folder / FOLDER, adapters)
            if state:
                save_part(part, target)
                if writer.rank == 0:
                    save_layout(self.engine, target, job.config.recipe())

        def commit() -> None:
            if state:
                target.put(HISTORY, content)
                remove_states(job.states, but=target)
            if epoch:
                job.progress.put(HISTORY, content)
                remove_models(job.progress, kept_epochs(job.config, number))

        writer.start(copy, write, commit)
        if state:
            self.last = time.monotonic()

    def model_copies(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The weights of a model folder, and the adapters' of its subfolder; either may be none."""
        lora, model = self.job.config.lora, self.model
        weights: dict[str, torch.Tensor] = {}
        if self.folded:
            named = model.state_dict().items() if lora is None else folded_state(model)
            weights = self.copies.take(named, self.dtype, tied_names(model))
        return weights, self.copies.take(adapter_state(model).items()) if lora else {}

    def summed_history(self) -> History:
        """The history, in which the epoch under way has the tokens of all workers; all of them call this."""
        begun = self.history.begun
        if begun is None:
            return self.history
        tokens, padded = self.writer.summed(begun.tokens, begun.padded_tokens)
        return replace(self.history, begun=replace(begun, tokens=tokens, padded_tokens=padded))
