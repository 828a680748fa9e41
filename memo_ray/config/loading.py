"""Reads run.yaml and `--set key=value` into a RunConfig; every mistake becomes one line with key and remedy."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from memo_ray.config.run import RunConfig
from memo_ray.errors import ConfigError


def load_run(path: str | Path, overrides: tuple[str, ...] = ()) -> RunConfig:
    """The run described by the YAML file at `path`, with `overrides` (dotted `key=value`) applied last.

    Raises ConfigError with one line a mistake.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; `memo init DOCS` writes one") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; give the run's YAML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    return read_run(content, str(path), overrides)


def read_run(content: bytes, where: str, overrides: tuple[str, ...] = ()) -> RunConfig:
    """The run described by the YAML text `content`; `where` it came from is named in errors. Raises ConfigError."""
    try:
        data = yaml.load(content.decode("utf-8"), OnceLoader)
    except UnicodeDecodeError:
        raise ConfigError(f"{where}: is not UTF-8 text; save it as UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: is not valid YAML ({getattr(error, 'problem', None) or error})") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: must be a mapping of keys such as `name:` and `corpora:`")
    for override in overrides:
        set_key(data, override)
    return validate(data, where)


class OnceLoader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """The mapping. Raises ConstructorError naming the key and its line."""
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value} stands twice", key.start_mark)
            if isinstance(key.value, str) and key.value != "<<":
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def validate(data: dict[str, Any], where: str) -> RunConfig:
    """`data` as a RunConfig. JSON mode keeps validation strict while YAML lists become tuples."""
    try:
        text = json.dumps(data)
    except (TypeError, ValueError, RecursionError):
        raise ConfigError(f"{where}: holds a value that is not text, a number, a list or a mapping; quote it") from None
    try:
        return RunConfig.model_validate_json(text)
    except ValidationError as error:
        found = error.errors(include_url=False)
        # A default that follows from another key waits for that key to be right.
        found = [item for item in found if item["type"] != "default_factory_not_called"]
        # A list with a bad item is also reported as too short; only the item's own mistake helps.
        found = [item for item in found if item["type"] != "too_short" or item["input"] in ([], {})]
        # Of a value that may be one word or a list, what is wrong with the word says enough.
        words = {item["loc"][:-1] for item in found if str(item["loc"][-1:]).startswith('("literal[')}
        found = [item for item in found if item["loc"][:-1] not in words or item["type"] == "literal_error"]
        lines = [explain(item, where) for item in found]
        raise ConfigError("\n".join(dict.fromkeys(lines))) from None


def set_key(data: dict[str, Any], override: str) -> None:
    """Apply `a.b.0.c=value` to `data` in place; the value is read as YAML."""
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"--set {override}: write it as key=value, for example training.epochs=2")
    *parents, last = dotted.split(".")
    place: Any = data
    try:
        value = yaml.safe_load(text)
        for key in parents:
            place = place[int(key)] if isinstance(place, list) else place.setdefault(key, {})
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    except (ValueError, IndexError, TypeError, AttributeError, yaml.YAMLError):
        raise ConfigError(f"--set {override}: there is no such key in the file") from None


def explain(item: Any, where: str) -> str:
    """One line for one pydantic error: the file, the key, what is wrong, and the nearest known key if any."""
    tags = {
        "vllm",
        "openai",
        "document",
        "window",
        "transformers",
        *("musique", "browsecomp_plus", "narrativeqa"),
        *(
            "no_context",
            "memory_alone",
            "perfect_retrieval",
            "in_context",
            "bm25",
            "dense",
            "hipporag",
            "cartridge",
            "memo",
        ),
        *("linear", "task_arithmetic", "slerp", "ties", "dare_linear", "dare_ties"),
    }
    # Where a value may be of several types, pydantic names the one it tried; users know only their keys.
    loc = [str(part) for part in item["loc"] if not re.match(r"(literal|tuple)\[|list$", str(part))]
    key = ".".join(part for n, part in enumerate(loc) if not (n and part in tags and n < len(loc) - 1)) or "(top level)"
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        known = known_keys(item["loc"][:-1])
        near = difflib.get_close_matches(loc[-1], known, n=1)
        remedy = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(sorted(known))}"
        # Known to another choice of the same place: as `density` to other methods than `linear`.
        message = f"{item['loc'][-2]} takes no {loc[-1]}" if loc[-1] in known else f"unknown key; {remedy}"
    elif item["type"] == "missing":
        message = "is required"
    elif item["type"] == "union_tag_not_found":
        message = f"needs the key {item['ctx']['discriminator'].strip(chr(39))}, which says what the others mean"
    elif not isinstance(item.get("input"), (dict, list)):
        message = f"{message}, got {json.dumps(item.get('input'))}{instead(item)}"
    return f"{where}: {key}: {message}"


def instead(item: Any) -> str:
    """What to write instead of a plain value that is of the wrong type or form; empty when the message says it."""
    given, kind = str(item.get("input")), item["type"]
    if re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", given):
        return "; YAML reads this as text, write it out" if kind.startswith("int") else (
            "; YAML reads this as text, write it with a dot, as 1.0e-4"
        )  # fmt: skip
    if re.fullmatch(r"\d+(\.\d+)?%", given):
        return f"; write it as a share, {float(given[:-1]) / 100:g}"
    if kind == "string_pattern_mismatch" and item["ctx"]["pattern"].startswith("^https?://"):
        return "; write an address, as https://host/v1"
    return {
        "tuple_type": f"; write a list, [{given}]",
        "dict_type": "; write its keys below it, or as {key: value}",
        "model_attributes_type": "; write its keys below it, or as {key: value}",
        "model_type": "; write its keys below it, or as {key: value}",
    }.get(kind, "")


def known_keys(loc: tuple[Any, ...]) -> list[str]:
    """The field names of the settings class that stands at `loc` in a RunConfig."""
    kinds: list[Any] = [RunConfig]
    for part in loc:
        if isinstance(part, int):
            continue
        below = [kind.model_fields[part].annotation for kind in kinds if part in kind.model_fields]
        kinds = [kind for annotation in below for kind in settings_in(annotation)] or kinds
    return sorted({name for kind in kinds for name in kind.model_fields})


def settings_in(annotation: Any) -> list[type[BaseModel]]:
    """Every settings class that `annotation` mentions, through unions, tuples and Annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [kind for argument in getattr(annotation, "__args__", ()) for kind in settings_in(argument)]
