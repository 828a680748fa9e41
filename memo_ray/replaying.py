"""`memo replay` and `memo blame`: a stored question again, without a model or with others, and who lost it."""

from __future__ import annotations

import asyncio
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from memo_ray.errors import ConfigError

if TYPE_CHECKING:
    from memo_ray.config.protocol import ProtocolConfig
    from memo_ray.models.chat import ChatModel
    from memo_ray.protocol.blame import Blame
    from memo_ray.protocol.driver import Memories
    from memo_ray.rows import LedgerEntry, Reflection


def transcript_lines(path: Path) -> list[str]:
    """The lines of a transcript: of a file of JSON lines, or of an answer as `memo ask --json` prints it.

    Raises ConfigError naming the file.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise ConfigError(
            f"{path}: cannot be read ({reason}); name a transcript or an answer of `memo ask --json`"
        ) from None
    try:
        body = json.loads(text)
    except json.JSONDecodeError:
        return text.splitlines()
    if isinstance(body, dict) and isinstance(body.get("transcript"), list):
        return [line if isinstance(line, str) else json.dumps(line) for line in body["transcript"]]
    return text.splitlines()


def replay(options: Namespace) -> dict[str, Any]:
    """The question of `options.transcript` again: from its log alone, or with the executive that is named."""
    from memo_ray.protocol.protocol import replay as from_log
    from memo_ray.protocol.transcript import question_of, read_transcript

    lines = transcript_lines(Path(options.transcript))
    config, _, _ = read_transcript(lines)
    if not options.executive:
        if options.memory:
            raise ConfigError("--memory: a replay without --executive asks no model; leave it out or name an executive")
        done = from_log(lines)
        return {
            "question": question_of(lines),
            "answer": done.answer,
            "stop_reason": done.stop_reason,
            "transcript": lines,
        }
    warn_of_new_prompts(lines, config)

    async def again() -> dict[str, Any]:
        from memo_ray.protocol.driver import run_protocol

        executive = endpoint(options, "executive")
        live = endpoint(options, "memory") if options.memory else None
        memory, unrecorded = recorded(lines, without_corpus(config), live)
        outcome = await run_protocol(
            question_of(lines), executive, memory, without_corpus(config), schema_enforced=not options.no_schema
        )
        return {
            "question": question_of(lines),
            "answer": outcome.answer,
            "stop_reason": outcome.done.stop_reason,
            "transcript": list(outcome.transcript),
            "not_in_the_transcript": unrecorded(),
        }

    return asyncio.run(again())


def find_blame(options: Namespace, tables: tuple[list[Reflection], list[LedgerEntry]] | None) -> Blame:
    """Who lost the question of `options.transcript`. `tables`: reflections and ledger of a run, if one is named."""
    from memo_ray.citations.oracle import ReflectionMemory, of_documents, states
    from memo_ray.evaluation.metrics import score
    from memo_ray.protocol.blame import Suspects, blame
    from memo_ray.protocol.transcript import question_of, read_transcript

    lines = transcript_lines(Path(options.transcript))
    config, _, _ = read_transcript(lines)
    warn_of_new_prompts(lines, config)
    gold = of_documents(*tables, options.document) if tables else None

    async def trials() -> Blame:
        memory, _ = recorded(lines, without_corpus(config), endpoint(options, "memory") if options.memory else None)
        suspects = Suspects(
            executive=endpoint(options, "executive"),
            memory=memory,
            gold=ReflectionMemory(gold) if gold is not None else None,
            entity=options.entity,
            other=endpoint(options, "other") if options.other else None,
            schema_enforced=not options.no_schema,
            other_schema_enforced=not options.no_schema,
        )
        return await blame(
            question_of(lines),
            suspects,
            without_corpus(config),
            lambda answer: score(answer, options.answer).recalled,
            stated=None if gold is None else states(gold, options.answer),
            tries=options.tries,
        )

    return asyncio.run(trials())


def endpoint(options: Namespace, which: str) -> ChatModel:
    """The client of an endpoint that the options name: `--WHICH URL`, its model and its key's variable."""
    from memo_ray.config.models import OpenAIModel
    from memo_ray.models.openai import OpenAIChatModel

    values = vars(options)
    try:
        return OpenAIChatModel(
            OpenAIModel(
                engine="openai",
                base_url=values[which],
                model=values[f"{which}_model"],
                api_key_env=values[f"{which}_key_env"] or "",
                structured_outputs=not options.no_schema,
            )
        )
    except ValidationError as error:
        found = error.errors(include_url=False)[0]
        raise ConfigError(
            f"--{which}: {found['loc'][0]}: {found['msg']}; give a URL such as http://host:8000/v1"
        ) from None


def recorded(
    lines: Sequence[str], config: ProtocolConfig, live: ChatModel | None
) -> tuple[Memories, Callable[[], list[str]]]:
    """The transcript's memories, and afterwards what they were asked that the transcript does not have."""
    from memo_ray.protocol.recorded import RecordedMemory, memory_replies

    said = memory_replies(lines)
    memories = {name: RecordedMemory(said.get(name, {}), live) for name in config.memories or ("",)}

    def unrecorded() -> list[str]:
        return [asked for memory in memories.values() for asked in memory.unrecorded]

    return memories, unrecorded


def without_corpus(config: ProtocolConfig) -> ProtocolConfig:
    """The settings without `hybrid` and `routing`: a replay has no documents or reflections to look into.

    Memories that a router chose among are one memory here, which says what the chosen one said.
    """
    routed = {"routing": None, "memories": ()} if config.routing is not None else {}
    return config.model_copy(update={"hybrid": None, **routed})


def warn_of_new_prompts(lines: Sequence[str], config: ProtocolConfig) -> None:
    """Say on standard error when the prompts have changed since the transcript was written."""
    from memo_ray.protocol.executive import digest

    if json.loads(next(line for line in lines if line.strip())).get("prompts") != digest(config):
        print(
            "the prompts have changed since this transcript was written; the executive sees the new ones",
            file=sys.stderr,
        )


def run_tables(name: str) -> tuple[list[Reflection], list[LedgerEntry]]:
    """The reflections and the ledger of a run, of all its corpora. Raises ConfigError when it has none yet."""
    from memo_ray.console import Console
    from memo_ray.results import stored_results
    from memo_ray.rows import LedgerEntry, Reflection
    from memo_ray.workspace import open_run

    synthesis = stored_results(open_run(name, Console(quiet=True))).synthesis.values()
    if not synthesis:
        raise ConfigError(f"{name}: has no reflections yet; finish its synthesis, or leave out --run")
    reflections = [row for artifact in synthesis for row in artifact.rows("reflections", Reflection)]
    return reflections, [row for artifact in synthesis for row in artifact.rows("ledger", LedgerEntry)]


def blame_lines(found: Blame) -> list[str]:
    """The verdict and its trials for a terminal."""
    lines = [
        f"{trial.name}: right {trial.right} of {trial.tries} ({'; '.join(trial.answers)})" for trial in found.trials
    ]
    return [*lines, f"lost by: {found.verdict} ({found.why})"]
