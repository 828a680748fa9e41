"""Whether a model fits its GPUs before anything starts: bytes of each worker by what takes them, and what would fit.

Arithmetic on shapes alone. Under ZeRO-2 every worker holds all weights, and its share of float32 master weights,
moments and gradient sums; activations and the loss head are those of one micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from memo_ray.config.training import LoraConfig, TrainingConfig
from memo_ray.training.loss import LOGITS_AT_ONCE

BUCKET_ELEMENTS = 500_000_000
"""DeepSpeed's buffer of gradients; two of them where there are other workers, since sending overlaps computing."""
RESERVE = 0.06
"""Share of a GPU that is left to its context, the libraries' workspaces and fragments."""
ANSWER_SHARE = 0.6
"""Of a micro-batch's tokens so many are an answer's, as an upper estimate."""

FEED_FORWARD = ("up_proj", "w3")
"""Names of the linear layers that are as wide as the feed-forward: some configs give another width than is built."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What memory depends on. `parameters`: all; `trained`: those with a gradient; `largest`: of one tensor.

    `layers`, `hidden`, `inner` (the feed-forward's width), `query` and `keys` (widths of the projections), `heads`,
    `vocabulary`: of the decoder.
    """

    parameters: int
    trained: int
    largest: int
    layers: int
    hidden: int
    inner: int
    query: int
    keys: int
    heads: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of one worker at the peak of a step, by what takes them."""

    weights: int
    gradients: int
    optimizer: int
    buffers: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of it."""
        return sum(asdict(self).values())

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {size / 2**30:.1f}" for name, size in asdict(self).items())
        return f"{self.total / 2**30:.1f} GiB a GPU ({parts})"


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether `footprint` fits into `room` bytes of a GPU, and settings with which it would, the cheapest first."""

    fits: bool
    footprint: Footprint
    room: int
    remedies: tuple[str, ...] = ()

    @property
    def certain(self) -> int:
        """Bytes that do not depend on how much is computed at once: all but activations and logits."""
        return self.footprint.total - self.footprint.activations - self.footprint.logits

    def __str__(self) -> str:
        verdict = "fits" if self.fits else "does not fit"
        line = f"{self.footprint} {verdict} into {self.room / 2**30:.1f}"
        if self.fits:
            return line
        return f"{line}; set {' or '.join(self.remedies)}" if self.remedies else f"{line}; take a smaller base"


def shape_of(model_config: Any, lora: LoraConfig | None) -> Shape:
    """The shape of a model by its transformers config, counted on the meta device."""
    from memo_ray.training.lora import adapt, trainable_parameters
    from memo_ray.training.shapes import empty_model

    model = empty_model(model_config)
    text = model_config.get_text_config()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if lora is not None:
        adapt(model, lora)
    head_size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    inner = max(
        (module.out_features for name, module in model.get_decoder().named_modules() if name.endswith(FEED_FORWARD)),
        default=text.intermediate_size,
    )
    return Shape(
        parameters=parameters,
        trained=trainable_parameters(model),
        largest=max(parameter.numel() for parameter in model.parameters()),
        layers=text.num_hidden_layers,
        hidden=text.hidden_size,
        inner=inner,
        query=text.num_attention_heads * head_size,
        keys=text.num_key_value_heads * head_size,
        heads=text.num_attention_heads,
        vocabulary=text.vocab_size,
    )


def footprint(shape: Shape, config: TrainingConfig, workers: int) -> Footprint:
    """What each of `workers` holds at the peak of a step with these settings."""
    size = 2 if config.precision == "bf16" else 4
    share = -(-shape.trained // workers)
    return Footprint(
        weights=shape.parameters * size,
        gradients=share * 4,
        optimizer=share * 12,  # DeepSpeed copies its master weights out of full-precision ones as well
        buffers=min(BUCKET_ELEMENTS, shape.trained) * size * (2 if workers > 1 else 1),
        activations=_activations(shape, config, size),
        logits=_logits(shape, config, size),
    )


def _activations(shape: Shape, config: TrainingConfig, size: int) -> int:
    """Every layer's input, and the inside of one layer or, without checkpointing, of all.

    Of micro-batches that are full: a step of few tokens a worker is cut into even ones, which are smaller.
    """
    tokens = config.micro_batch_tokens
    projections = shape.query + 2 * shape.keys
    # Kept for the way back: two norms' inputs in float32 and outputs, projections, rotated copies, attention's output,
    # and the feed-forward's two branches, the activation of one and the product of both.
    inside = size * (6 * shape.hidden + 2 * projections + 2 * shape.query + 4 * shape.inner) + 8 * shape.hidden
    if config.compile:
        # Compiled kernels make norms again, and the activation: two inputs and outputs of norms, projections, rotated
        # queries and keys, attention's output, and three widths of the feed-forward.
        inside = size * (4 * shape.hidden + projections + 2 * shape.query + shape.keys + 3 * shape.inner)
    if config.attention == "eager":
        row = min(config.max_sequence_length, 1024, tokens)
        inside += shape.heads * row * (size * 2 + 4)
    if not config.gradient_checkpointing:
        return tokens * shape.layers * inside
    if config.compile and config.checkpoint_keep == "products":
        # Nothing is computed again before its kernel needs it, and a layer's last product is the next one's input.
        return tokens * shape.layers * (2 * shape.hidden + projections + shape.query + 2 * shape.inner) * size
    kept = {
        "nothing": shape.hidden,
        "attention": shape.hidden + shape.query,
        "products": 3 * shape.hidden + projections + shape.query + 2 * shape.inner,
    }[config.checkpoint_keep]
    return tokens * (shape.layers * kept * size + inside)


def _logits(shape: Shape, config: TrainingConfig, size: int) -> int:
    """The loss head at its peak: a block's logits in both types, hidden states, and the head's own gradient."""
    tokens = int(config.micro_batch_tokens * ANSWER_SHARE)
    at_once = min(LOGITS_AT_ONCE, tokens * shape.vocabulary)
    head = shape.hidden * shape.vocabulary * size if config.lora is None else 0
    return at_once * (4 + 2 * size) + tokens * shape.hidden * (size + 4) + head


def fit(model_config: Any, config: TrainingConfig, memory: int) -> Fit:
    """Whether training a model of this transformers config fits GPUs of `memory` bytes each, and what would.

    At most three remedies, one of each kind, each of which fits by itself.
    """
    room = int(memory * (1 - RESERVE))
    shapes = {False: shape_of(model_config, None), True: shape_of(model_config, config.lora or LoraConfig())}
    found = footprint(shapes[config.lora is not None], config, config.workers)
    if found.total <= room:
        return Fit(True, found, room)
    remedies: dict[str, str] = {}
    for words, changed in smaller_settings(config):
        if footprint(shapes[changed.lora is not None], changed, changed.workers).total <= room:
            remedies.setdefault(words.partition(":")[0], words)
    return Fit(False, found, room, tuple(remedies.values())[:3])


def smaller_settings(config: TrainingConfig) -> Iterator[tuple[str, TrainingConfig]]:
    """Settings that take less memory, as a user writes them, those first that cost the least."""
    less: dict[str, Any] = {}
    words: list[str] = []
    if not config.gradient_checkpointing:
        less["gradient_checkpointing"] = True
        words.append("gradient_checkpointing: true")
    elif config.checkpoint_keep != "nothing":
        less["checkpoint_keep"] = "nothing"
        words.append("checkpoint_keep: nothing")
    tokens = config.micro_batch_tokens
    fewer = [tokens >> halvings for halvings in range(1, 8) if tokens >> halvings >= 512]
    for count in fewer:
        yield f"micro_batch_tokens: {count}", config.model_copy(update={"micro_batch_tokens": count})
    if less:
        yield words[0], config.model_copy(update=less)
        for count in fewer:
            yield (
                f"{words[0]} with micro_batch_tokens: {count}",
                config.model_copy(update={**less, "micro_batch_tokens": count}),
            )
    least = config.model_copy(update={**less, "micro_batch_tokens": min(tokens, 4096)})
    for times in (2, 4, 8, 16):
        workers = config.workers * times
        yield f"workers: {workers}", config.model_copy(update={"workers": workers})
        yield (
            f"workers: {workers} with micro_batch_tokens: {least.micro_batch_tokens}",
            least.model_copy(update={"workers": workers}),
        )
    if config.lora is None:
        yield "lora: {}", config.model_copy(update={"lora": LoraConfig()})
        yield (
            f"lora: {{}} with micro_batch_tokens: {least.micro_batch_tokens}",
            least.model_copy(update={"lora": LoraConfig()}),
        )
