"""What every settings class shares: unknown keys fail, types are not coerced, values do not change."""

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


class Settings(BaseModel):
    """Strict, frozen, and documented: a docstring under a field becomes its description."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _is_endpoint(url: str) -> str:
    if not re.fullmatch(r"https?://[^@?#\s]+", url):
        raise ValueError(
            "write https://HOST/v1, without a user, a query or a key; api_key_env names the variable that holds the key"
        )
    return url


Endpoint = Annotated[str, AfterValidator(_is_endpoint)]
"""The address of an OpenAI-compatible API. It is kept in settings and records, so nothing secret may stand in it."""
