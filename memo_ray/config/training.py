"""How the memory model is fine-tuned. Defaults are the paper's Tables 10 and 11."""

from typing import Literal

from pydantic import Field

from memo_ray.config.base import Settings


class TrainingConfig(Settings):
    """Full supervised fine-tuning on answer tokens (paper, Section 4.2), DeepSpeed ZeRO-2 under Ray Train."""

    base: str = "embedded"
    """The pretrained model a memory starts from: a Hugging Face id, a folder, or `embedded`."""
    revision: str | None = None
    epochs: int = Field(default=3, ge=1)
    reflections_per_step: int = Field(default=512, ge=1)
    """The effective batch: reflections of one optimiser step over all workers."""
    learning_rate: float = Field(default=2e-5, gt=0)
    warmup_ratio: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps over which the learning rate rises; constant afterwards."""
    weight_decay: float = Field(default=0.01, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    max_sequence_length: int = Field(default=8096, ge=64)
    """Tokens of one packed sequence, and the length at which a longer reflection is truncated (and counted)."""
    micro_batch_tokens: int = Field(default=16_384, ge=64)
    """Tokens that a worker computes at once; a step of more is accumulated over several."""
    packing: bool = True
    """Several reflections a sequence, none seeing another; the steps and their examples stay the same."""
    precision: Literal["bf16", "fp32"] = "bf16"
    gradient_checkpointing: bool = True
    workers: int = Field(default=1, ge=1)
    """Ray Train workers: GPUs, or processes over gloo on a CPU."""
    cpus_per_worker: int = Field(default=1, ge=1)
    """Cores of a CPU worker; ignored with GPUs."""
    seed: int = Field(default=42, ge=0)
    state_every_s: float = Field(default=60, ge=0)
    """At the end of an epoch, resumable state is saved when the last was saved so many seconds ago."""
    max_failures: int = Field(default=3, ge=0)
    """Restarts from the last checkpoint before the stage gives up."""
