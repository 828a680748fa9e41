"""The model that says whether an answer is right."""

from pydantic import Field

from memo_ray.config.base import Settings
from memo_ray.config.models import OpenAIModel


class JudgeConfig(Settings):
    """G-Eval, strict and at temperature 0 (paper, Section 5): right or wrong, nothing between."""

    model: OpenAIModel
    """Any OpenAI-compatible endpoint; the paper's is Gemini-2.5-Flash-Lite."""
    attempts: int = Field(default=3, ge=1)
    """Requests for one verdict: a reply that is none is sent back with what is wrong, an outage is tried again.
    What is not judged then is reported, and counts neither as right nor as wrong."""
    timeout_s: float = Field(default=120, gt=0)
    """Seconds for one attempt, without those that it waits for the model's `rate`."""
    max_tokens: int = Field(default=512, ge=16)
    labelled: str | None = None
    """JSON Lines of `question`, `references`, `answer`, `label` (true: right) by people, a path or `s3://` address; the
    judge's agreement with them is reported."""
