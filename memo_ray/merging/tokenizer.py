"""Whether memories kept their base's tokenizer and chat template, which the merged memory gets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from memo_ray.errors import MergeError

TOKENIZER = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
    "spiece.model", "vocab.json", "merges.txt", "chat_template.jinja", "chat_template.json",
)  # fmt: skip
"""Files that a tokenizer and its chat template are stored in."""
HOW_FOUND = "local_files_only"
"""A key of tokenizer_config.json that says nothing of the tokenizer."""


def same_tokenizers(base: Path, memories: Iterable[Path]) -> None:
    """Raise MergeError for a folder whose tokenizer cannot be read, or splits or formats text unlike the base's."""
    # One of every set of files that are alike: to load a tokenizer may take a second.
    seen, of_base = {tokenizer_files(base)}, _load_tokenizer(base)
    for memory in memories:
        files = tokenizer_files(memory)
        if files not in seen:
            seen.add(files)
            _same_tokenizer(base, of_base, memory)


def tokenizer_files(folder: Path) -> tuple[tuple[str, str], ...]:
    """Names and digests; of a folder without `tokenizer.json`, which may have files of its own, its path.

    How transformers was told to find a tokenizer, which it stores with it, does not count.
    """
    if not (folder / "tokenizer.json").is_file() or (folder / "additional_chat_templates").exists():
        return ((str(folder), ""),)
    found = (folder / name for name in TOKENIZER)
    return tuple((path.name, sha256(_content(path)).hexdigest()) for path in found if path.is_file())


def _content(file: Path) -> bytes:
    content = file.read_bytes()
    if file.name == "tokenizer_config.json":
        with suppress(ValueError, AttributeError, TypeError, RecursionError):
            settings = json.loads(content)
            settings.pop(HOW_FOUND, None)
            return json.dumps(settings, sort_keys=True).encode()
    return content


def _same_tokenizer(base: Path, of_base: Any, memory: Path) -> None:
    of_memory, what = _load_tokenizer(memory), ""
    if of_base.get_vocab() != of_memory.get_vocab():
        what = "vocabulary"
    elif _splitting(of_base) != _splitting(of_memory):
        what = "way of splitting text"
    elif of_base.chat_template != of_memory.chat_template:
        what = "chat template"
    if what:
        raise MergeError(
            f"{memory}: its tokenizer has another {what} than that of its base {base}, which the merged memory gets; "
            "merge only memories that kept the base's tokenizer"
        )


def _splitting(tokenizer: Any) -> str:
    """Everything that decides how a text is split; nothing for a tokenizer that is not of the tokenizers library."""
    if not tokenizer.is_fast:
        return ""
    stated = json.loads(tokenizer.backend_tokenizer.to_str()) | {"padding": None, "truncation": None}
    return json.dumps(stated, sort_keys=True)


def _load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001  # the tokenizers library raises nothing narrower
        raise MergeError(
            f"{folder}: holds no tokenizer that can be read ({first_line(error)}); "
            "copy the base's tokenizer files into it"
        ) from None


def first_line(error: Exception) -> str:
    """What an error says, short enough for a message of ours."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
