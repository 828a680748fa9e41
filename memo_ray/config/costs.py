"""What a run may cost, and the prices by which GPU-hours become money."""

from pydantic import Field

from memo_ray.config.base import Settings


class Costs(Settings):
    """Prices of the cluster's time, and where to stop. An endpoint's tokens have prices of their own, in its model."""

    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """Of all prices of the run; none: that of the endpoints' prices, or USD."""
    gpu_hour: float | None = Field(default=None, ge=0)
    """What one GPU costs for an hour in which a stage holds it."""
    cpu_hour: float | None = Field(default=None, ge=0)
    """What one core costs for an hour in which a stage holds it."""
    max_gpu_hours: float | None = Field(default=None, gt=0)
    """The run stops when it has held GPUs for so many hours, over all its commands; what is done stays."""
    max_cost: float | None = Field(default=None, gt=0)
    """The same in money. Endpoints' tokens count when their stage has ended: limit them by their `spending`."""
