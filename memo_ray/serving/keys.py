"""Who may ask what, and how often: API keys kept as hashes, with scopes and rates. No I/O but the keys file.

A key is 256 random bits, so its SHA-256 cannot be guessed back and needs no slow hash. A model outside a key's scope
does not exist for it: it is neither listed nor named in an error.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from memo_ray.errors import ConfigError
from memo_ray.serving.openai_api import ApiError

EVERY_MODEL = "*"
PREFIX = "memo-"
HEADER = re.compile(r"bearer +(\S.*?) *", re.IGNORECASE)

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")]


class Key(BaseModel):
    """One key as it is kept. `name` stands in the audit log."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    models: Annotated[tuple[str, ...], Field(min_length=1)] = (EVERY_MODEL,)
    """The models that it may ask. `memo/law` allows every version of that memory too, `memo/acme-*` whatever begins so;
    "*": all of them."""
    admin: bool = False
    """May see and replace the memories that are served."""
    documents: bool = False
    """May read the documents and reflections behind the memories of its scope."""
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Requests let in, with as many at once after a silent minute; none: no limit."""

    def may_ask(self, model: str) -> bool:
        """Whether a model is in the key's scope."""
        return any(
            model.startswith(allowed[:-1]) if allowed.endswith("*") else f"{model}@".startswith(f"{allowed}@")
            for allowed in self.models
        )


class KeysFile(BaseModel):
    """The file that `serving.keys_file` names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    keys: Annotated[tuple[Key, ...], Field(min_length=1)]


OPEN = Key(name="open", sha256="0" * 64, documents=True)
"""Who asks where no key is needed."""


def digest_of(key: str) -> str:
    """What is kept of a key, so that the key itself is stored nowhere."""
    return hashlib.sha256(key.encode()).hexdigest()


def new_key(name: str) -> tuple[str, str]:
    """A fresh key, to be shown once, and its entry for the keys file as YAML. Raises ConfigError for a bad name."""
    key = PREFIX + secrets.token_urlsafe(32)
    try:
        entry = Key(name=name, sha256=digest_of(key))
    except ValidationError:
        raise ConfigError(f"NAME: {name!r} must be letters, digits, dots and dashes, at most 61") from None
    return key, yaml.safe_dump([entry.model_dump(exclude_none=True, mode="json")], sort_keys=False)


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys of a YAML file. Raises ConfigError naming the file and the entry at fault, never a hash."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"serving.keys_file: {path}: cannot be read ({getattr(error, 'strerror', 'no text')})"
        ) from None
    except yaml.YAMLError:
        raise ConfigError(f"serving.keys_file: {path}: is not valid YAML") from None
    try:
        # Python mode is strict about tuples, which YAML writes as lists.
        keys = KeysFile.model_validate(data, strict=False).keys
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in found["loc"]) or "the file"
        raise ConfigError(
            f"serving.keys_file: {path}: {where}: {found['msg']}; `memo key NAME` writes an entry"
        ) from None
    for one in ("name", "sha256"):
        values = [getattr(key, one) for key in keys]
        if len(set(values)) < len(values):
            raise ConfigError(f"serving.keys_file: {path}: two keys have the same {one}; each needs its own")
    return keys


def key_of(keys: Sequence[Key], authorization: str) -> Key:
    """The key that a request's Authorization header bears; OPEN where none is needed.

    Every hash is compared, in constant time, so that the time tells nothing. Raises ApiError 401.
    """
    if not keys:
        return OPEN
    borne = HEADER.fullmatch(authorization.strip())
    if not borne:
        raise ApiError(401, "no API key; send `Authorization: Bearer KEY`", "authentication_error", "missing_api_key")
    digest = digest_of(borne[1])
    found: Key | None = None
    for key in keys:
        if hmac.compare_digest(digest, key.sha256):
            found = key
    if found is None:
        raise ApiError(401, "the API key is wrong", "authentication_error", "invalid_api_key")
    return found


@dataclass
class Rates:
    """Token buckets by key. Each replica of the gateway keeps its own."""

    left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, key: Key, now: float) -> None:
        """Let one request of `key` in at `now` (seconds of a clock that never goes back).

        Raises ApiError 429 that says after how many seconds the next one is let in.
        """
        if key.requests_per_minute is None:
            return
        size, per_second = float(key.requests_per_minute), key.requests_per_minute / 60
        tokens, since = self.left.get(key.name, (size, now))
        tokens = min(size, tokens + (now - since) * per_second)
        if tokens < 1:
            self.left[key.name] = (tokens, now)
            wait = math.ceil((1 - tokens) / per_second - 1e-6)
            raise ApiError(
                429, f"this key may ask {key.requests_per_minute} times a minute; ask again in {wait} s",
                "rate_limit_error", "rate_limit_exceeded", retry_after_s=wait,
            )  # fmt: skip
        self.left[key.name] = (tokens - 1, now)
