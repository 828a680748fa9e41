"""What a comparison's fingerprint holds: its settings without those that say where and how fast, and the contents of
the models, cartridges and labelled answers that it names.

Prices stay out: they are in the table that was written, and change no answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memo_ray.artifacts.fingerprint import file_digest, files_digest
from memo_ray.artifacts.place import local_copy
from memo_ray.config.comparison import Cartridge, ComparisonConfig, Dense, Encoder, HippoRag, Memo
from memo_ray.evaluation.judging import judge
from memo_ray.evaluation.judging.agreement import existing
from memo_ray.evaluation.systems import reading
from memo_ray.models.sources import resolve
from memo_ray.protocol.executive import digest

NOT_SEMANTIC = {
    *("base_url", "api_key_env", "concurrency", "timeout_s", "max_retries", "rate", "prices", "spending", "batch"),
    *("batch_size", "questions_at_once", "python", "parallel_sub_questions", "training"),
}
"""Settings, by their name at any depth, that say where, for how much and how fast a comparison is made; how
cartridges are trained is in their contents."""
BY_CONTENT = {"adapters", "base", "labelled", "revision"}
"""Settings that name files, which count by their content."""


def semantics(comparison: ComparisonConfig) -> dict[str, Any]:
    """The settings and digests that change what a comparison finds. Raises MemoError for a file that is not there."""
    contents: dict[str, Any] = {}
    if comparison.judge is not None and comparison.judge.labelled is not None:
        contents["labelled"] = file_digest(existing(comparison.judge.labelled))
    for place, system in enumerate(comparison.systems):
        key = f"evaluation.comparison.systems.{place}"
        if isinstance(system, Dense | HippoRag) and isinstance(system.embedding, Encoder):
            encoder = system.embedding
            source = resolve(encoder.model, encoder.revision, f"{key}.embedding.model", chat=False)
            contents[f"{place}.embedding"] = source.digest
        if isinstance(system, Cartridge):
            assert system.base and system.adapters  # with_cartridges has named them
            contents[f"{place}.base"] = resolve(system.base, None, f"{key}.base").digest
            contents[f"{place}.adapters"] = folder_digest(local_copy(system.adapters))
        if isinstance(system, Memo) and system.protocol is not None:
            contents[f"{place}.prompts"] = digest(system.protocol)
    settings = without(comparison.model_dump(mode="json"))
    if comparison.together is None:
        del settings["together"]  # so that it is the same comparison as before there was such a setting
    for row in settings["systems"]:
        if row.get("embedding", {}).get("engine") == "transformers":
            del row["embedding"]["model"]
    return {"settings": settings, "contents": contents, "prompts": [reading.digest(), judge.digest()]}


def without(settings: Any) -> Any:
    """`settings` without what does not count, at any depth."""
    if isinstance(settings, dict):
        left_out = NOT_SEMANTIC | BY_CONTENT
        return {name: without(value) for name, value in settings.items() if name not in left_out}
    return [without(value) for value in settings] if isinstance(settings, list) else settings


def folder_digest(folder: Path) -> str:
    """A digest over the names and contents of all files below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return files_digest({path.relative_to(folder).as_posix(): file_digest(path) for path in files})
