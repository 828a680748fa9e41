"""How a cartridge is trained. Defaults are the paper's for its baseline (Section 5)."""

from pydantic import Field

from memo_ray.config.base import Settings


class CartridgeTraining(Settings):
    """A KV cache as parameters, trained by context distillation against the executive that reads the document."""

    tokens: int = Field(default=8192, ge=2)
    """Length of a document's cache. A shorter document gets a cache as long as itself."""
    samples: int = Field(default=8192, ge=1)
    """Question-answer pairs a document, drawn with repetition where there are fewer; without any, pieces of text."""
    learning_rate: float = Field(default=2e-2, gt=0)
    batch_size: int = Field(default=8, ge=1)
    context_tokens: int = Field(default=32_768, ge=64)
    """Tokens of the document that the teacher reads; the rest is cut, which is counted."""
    seed: int = Field(default=42, ge=0)
