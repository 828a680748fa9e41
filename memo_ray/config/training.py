"""How the memory model is fine-tuned. Defaults are the paper's Tables 10 and 11."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, model_validator

from memo_ray.config.base import Settings
from memo_ray.config.presets import PRESETS, TABLE_11, DatasetName, PresetName

NO_RECIPE = frozenset({
    *("base", "revision", "workers", "cpus_per_worker", "max_failures", "micro_batch_tokens", "state_every_s"),
    *("preset", "preset_dataset", "gradient_checkpointing", "checkpoint_keep", "packing", "compile", "tracking"),
})  # fmt: skip
"""Settings of training that say from what, where and how fast, but not how it learns."""


class LoraConfig(Settings):
    """Low-rank adapters on a frozen base instead of full fine-tuning (paper, Appendix O, Tables 18 and 19)."""

    rank: int = Field(default=8, ge=1)
    alpha: float = Field(default=16.0, gt=0)
    """The adapters' product is scaled by alpha / rank."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    targets: tuple[Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]+$")], ...] = ()
    """Names of the linear layers that get adapters, as `q_proj`; none: those of Table 18 under the names that the
    model's architecture gives them."""
    folded: bool = True
    """Each epoch's folder holds the base with the adapters folded into it, which every later stage reads, and the
    adapters in its subfolder `adapter`. `false`: the adapters alone, for use outside of memo-ray."""


class StudyConfig(Settings):
    """A second, short pass over the reflections that training left wrong; the paper has none."""

    epochs: int = Field(default=1, ge=1)
    """Passes behind `training.epochs`. Before each the memory is looked at anew; with nothing wrong there is none."""
    times: int = Field(default=4, ge=1)
    """How often a pass takes each reflection that is wrong. As many others are taken with them, each at most once."""


class TrackingConfig(Settings):
    """Where curves go while training runs: loss, learning rate, gradient norm, speed, memory, padding."""

    to: Literal["tensorboard", "mlflow", "wandb", "none"] = "tensorboard"
    """TensorBoard needs nothing else; `mlflow` and `wandb` need their package on the training nodes."""
    project: str = Field(default="memo-ray", min_length=1)
    """Experiment (MLflow) or project (Weights & Biases). Servers and keys come from their own variables."""


class TrainingConfig(Settings):
    """Supervised fine-tuning on answer tokens (paper, Section 4.2), DeepSpeed ZeRO-2 under Ray Train."""

    preset: PresetName | None = None
    """A recipe of the paper (model, full fine-tuning or LoRA); keys written beside it win."""
    preset_dataset: DatasetName | None = None
    """Take `reflections_per_step` from the paper's Table 11 for this dataset."""
    base: str = "embedded"
    """The pretrained model a memory starts from: a Hugging Face id, a folder, or `embedded`."""
    revision: str | None = None
    lora: LoraConfig | None = None
    """Train adapters only; without this section all weights are trained."""
    epochs: int = Field(default=3, ge=1)
    study: StudyConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    """After the last epoch, over-sample the reflections that the memory still gets wrong; without this section not."""
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
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    """`auto`: the fastest that is exact on the machine. The paper trains Gemma3 with `eager` (Appendix N)."""
    gradient_checkpointing: bool = True
    """Compute a layer's inside again on the way back instead of keeping it."""
    checkpoint_keep: Literal["nothing", "attention", "products"] = "nothing"
    """With gradient checkpointing, what is kept all the same: only the layers' inputs, also attention's output, or
    also the results of all matrix products, which leaves little to compute again and takes the most memory."""
    compile: bool = False
    """`torch.compile` every layer: a few seconds at the start on a GPU, half a minute on a CPU; faster steps."""
    workers: int = Field(default=1, ge=1)
    """Ray Train workers: GPUs, or processes over gloo on a CPU."""
    cpus_per_worker: int = Field(default=1, ge=1)
    """Cores of a CPU worker; ignored with GPUs."""
    seed: int = Field(default=42, ge=0)
    state_every_s: float = Field(default=300, ge=0)
    """So often resumable state is saved, between two steps and in the background; 0: as soon as the last is written."""
    keep_epochs: int | None = Field(default=None, ge=1, exclude_if=lambda value: value is None)
    """Model folders that stay: those of the last so many epochs, study's among them; without this key all of them,
    among which evaluation chooses."""
    max_failures: int = Field(default=3, ge=0)
    """Restarts from the last checkpoint before the stage gives up."""
    tracking: TrackingConfig = TrackingConfig()

    def recipe(self) -> dict[str, Any]:
        """What decides how a memory learns: two trainings with the same are the same on the same base and data."""
        return self.model_dump(mode="json", exclude=set(NO_RECIPE))

    @model_validator(mode="before")
    @classmethod
    def preset_fills_what_is_not_written(cls, data: Any, info: ValidationInfo) -> Any:
        """Put the preset's row and Table 11's batch under the keys that the user wrote."""
        if not isinstance(data, dict):
            return data
        if info.mode == "json":  # what this returns is judged as Python, where a strict tuple takes no list
            data = _tuples(data)
        recipe = dict(PRESETS.get(str(data.get("preset")), {}))
        batch = TABLE_11.get(str(data.get("preset_dataset")))
        if batch is not None:
            recipe["reflections_per_step"] = batch
        if "lora" in recipe and isinstance(data.get("lora"), dict):
            recipe["lora"] = recipe["lora"] | data["lora"]
            data = {key: value for key, value in data.items() if key != "lora"}
        return recipe | data

    @model_validator(mode="after")
    def what_is_kept_fits_the_rest(self) -> Self:
        """Refuse settings that would be ignored."""
        if self.checkpoint_keep != "nothing" and not self.gradient_checkpointing:
            raise ValueError(
                f"checkpoint_keep: {self.checkpoint_keep} means nothing with gradient_checkpointing: false, "
                "which keeps everything; leave it out"
            )
        if self.checkpoint_keep == "attention" and self.compile:
            raise ValueError(
                "checkpoint_keep: attention cannot be combined with compile: true, whose layers keep nothing or all "
                "products; set checkpoint_keep: products, or leave one of them out"
            )
        return self


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
