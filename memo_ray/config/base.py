"""What every settings class shares: unknown keys fail, types are not coerced, values do not change."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Strict, frozen, and documented: a docstring under a field becomes its description."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
