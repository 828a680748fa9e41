"""Output tokens per second of the synthesis over those of plain vLLM on the same prompts; prints one JSON line.

    python benchmarks/synthesis_engine.py [--model FOLDER] [--device cpu|cuda] [--shape qwen2.5-14b] [--documents 4]
        [--words 150] [--pairs 2 3] [--runs 5] [--in-flight 4] [--max-seqs 16] [--max-seconds 480]

`pipeline` is the stage itself, Steps 1 to 4: Ray Data, its actor, the recipe, parsing, checks, Parquet. `plain` is one
AsyncLLM in a process without Ray, given every prompt as soon as the prompts that it depends on are answered, as many
documents at once. Both engines are alive and warm, and take turns on windows of `--documents` documents, the one that
begins changing. Replies are made up (`_replayed.py`): in both arms the engine generates, under the same schema, as
many tokens as the made-up reply has, so that sampling makes no difference between them.

A run's value is the ratio of the arms' output tokens per second between 20% and 80% of a window's tokens (`whole`:
from its first prompt to its last reply). `pipeline_over_engine` is the geometric mean of the runs, `interval` its 95%
bootstrap interval. `--shape`: random weights of that shape with the tokenizer of `--model`. The profile says
where the arms' event loops spend their time, how late they are, and how many prompts the engine had on average.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import random
import shutil
import statistics
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from _made_up import ENGLISH, Writer, corpus
from _replayed import LOOK_S, Entry, Tape, open_replayed, run_plain

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.config.models import VllmModel
from memo_ray.config.synthesis import Sampling, SynthesisConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.sources import TOKENIZER_FILES, resolve
from memo_ray.progress import unheard
from memo_ray.rows import Chunk, Document
from memo_ray.synthesis.recipe import synthesise_unit
from memo_ray.synthesis.settings import StepSettings
from memo_ray.synthesis.units import read_unit, unit_rows

ARMS = ("plain", "pipeline")
STEADY = (0.2, 0.8)
ROUNDS = 10
"""Turns of the loop that a recorded reply takes: until then all prompts that are asked together are asked."""


class Recorder:
    """A ChatModel for one document that makes up its replies and puts every prompt on the tape."""

    name = "made up"

    def __init__(self, tape: Tape, window: int, document: int, pairs: tuple[int, int], tokenizer: Any) -> None:
        self._tape, self._window, self._document = tape, window, document
        self._writer = Writer(random.Random(document), 0.15, ENGLISH, pairs)
        self._tokenizer, self._answered = tokenizer, []

    async def chat(self, request: ChatRequest) -> ChatReply:
        """A made-up reply, after all prompts that are asked at the same time."""
        text = json.dumps(self._writer.reply(request), separators=(",", ":"))
        tokens = len(self._tokenizer.encode(text, add_special_tokens=False))
        needs = tuple(self._answered)
        assert request.request_id not in self._tape.entries, "a prompt was asked twice"
        self._tape.entries[request.request_id] = Entry(request, self._window, self._document, needs, text, tokens)
        for _ in range(ROUNDS):
            await asyncio.sleep(0)
        self._answered.append(request.request_id)
        return ChatReply(text, "stop", 0, tokens)


async def record(
    made: Artifact, settings: StepSettings, options: argparse.Namespace, folder: Path, model: Path
) -> Tape:
    """What the synthesis of the corpus will ask, by windows of `--documents` in its order."""
    from transformers import AutoTokenizer

    tape, tokenizer = Tape(folder), AutoTokenizer.from_pretrained(str(model))
    rows = unit_rows(made.rows("chunks", Chunk), made.rows("documents", Document), settings.config)
    for number, row in enumerate(rows):
        recorder: Any = Recorder(tape, number // options.documents, number, tuple(options.pairs), tokenizer)
        await synthesise_unit(read_unit(row["row_id"], row["payload"]), recorder, settings)
    return tape


def shaped(shape: str, model: Path, folder: Path) -> Path:
    """A model folder with the config of `shape`, no weights, and the tokenizer of `model`."""
    from memo_ray.training.shapes import config_of

    made = folder / "model"
    made.mkdir()
    for name in (*TOKENIZER_FILES, "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json"):
        if (model / name).is_file():
            shutil.copy(model / name, made)
    config = config_of(shape)
    config.architectures = ["Qwen2ForCausalLM"]
    config.dtype = "bfloat16"
    config.save_pretrained(made)
    return made


class TimeIsUp(Exception):
    """No time is left for the window under way."""


class Turns(threading.Thread):
    """Lets the arms work in turns; ends when all windows are done or the time is up, then without a half one."""

    def __init__(self, folder: Path, runs: int, deadline: float, plain: Any) -> None:
        super().__init__(daemon=True)
        self.folder, self.runs, self.deadline, self.plain = folder, runs, deadline, plain
        self.seen: dict[str, list[dict[str, Any]]] = {arm: [] for arm in ARMS}

    def run(self) -> None:
        """Window 0 warms both arms up; then each window is a run."""
        try:
            self.wait("pipeline.ready")
            longest = 0.0
            for window in range(self.runs + 1):
                begun = time.monotonic()
                if begun + longest > self.deadline:
                    break
                for arm in ARMS if window % 2 else ARMS[::-1]:
                    (self.folder / f"{arm}-{window}.go").touch()
                    self.wait(f"{arm}-{window}.json")
                    self.seen[arm].append(json.loads((self.folder / f"{arm}-{window}.json").read_text()))
                    print(f"window {window}: {arm} {summary(self.seen[arm][-1])}", file=sys.stderr, flush=True)
                longest = max(longest, time.monotonic() - begun)
        except TimeIsUp:
            print("the time is up in a window, which does not count", file=sys.stderr, flush=True)
        finally:
            (self.folder / "stop").touch()

    def wait(self, name: str) -> None:
        """Until the file is there. Raises TimeIsUp, and RuntimeError when the plain arm has died."""
        while not (self.folder / name).exists():
            if time.monotonic() > self.deadline:
                raise TimeIsUp
            if not self.plain.is_alive():
                raise RuntimeError("the plain arm ended before its time; its error is above")
            time.sleep(LOOK_S)


def rates(told: dict[str, Any]) -> tuple[float, float]:
    """Output tokens per second of one window: in its steady part, and of the whole."""
    replies = sorted(told["replies"], key=lambda reply: reply[1])
    total = sum(reply[2] for reply in replies)
    ends, done = [], 0
    for _, finished, tokens, _ in replies:
        done += tokens
        ends.append((done, finished))
    (first, begin), (last, end) = (next(at for at in ends if at[0] >= share * total) for share in STEADY)
    whole = total / (replies[-1][1] - min(reply[0] for reply in replies))
    return (last - first) / (end - begin) if end > begin else whole, whole


def summary(told: dict[str, Any]) -> dict[str, Any]:
    """One window in numbers."""
    steady, whole = rates(told)
    replies = told["replies"]
    begin, end = min(reply[0] for reply in replies), max(reply[1] for reply in replies)
    busy, free, at = 0.0, 0.0, begin
    for asked, finished, *_ in sorted(replies):
        free += max(0.0, asked - at)
        at = max(at, finished)
        busy += finished - asked
    return {
        "steady": round(steady, 1), "whole": round(whole, 1), "seconds": round(end - begin, 2),
        "tokens": sum(reply[2] for reply in replies), "cached_tokens": sum(reply[3] for reply in replies),
        "prompts_in_engine": round(busy / (end - begin), 2), "engine_idle_share": round(free / (end - begin), 4),
    }  # fmt: skip


def interval(values: list[float]) -> tuple[float, list[float]]:
    """The geometric mean of `values` and its 95% interval by 10,000 resamples."""
    draw, logs = random.Random(0), [math.log(value) for value in values]
    means = sorted(statistics.fmean(draw.choices(logs, k=len(logs))) for _ in range(10_000))
    low, high = (math.exp(means[round(share * 9_999)]) for share in (0.025, 0.975))
    return round(math.exp(statistics.fmean(logs)), 4), [round(low, 4), round(high, 4)]


def main() -> None:
    """Record, start both arms, let them take turns, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--shape", default="")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--documents", type=int, default=4, help="in one run")
    parser.add_argument("--words", type=int, default=150, help="of a document")
    parser.add_argument("--pairs", type=int, nargs=2, default=(2, 3), help="fewest and most of a Step-1 reply")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--in-flight", type=int, default=4, help="documents at once (chunks_in_flight)")
    parser.add_argument("--max-seqs", type=int, default=16, help="prompts at once in an engine (max_num_seqs)")
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument("--max-seconds", type=float, default=480)
    options = parser.parse_args()
    deadline = time.monotonic() + options.max_seconds - 20  # what ending takes
    with tempfile.TemporaryDirectory(prefix="engine-", dir="/tmp") as name:
        print(json.dumps(measure(options, Path(name), deadline)))


def measure(options: argparse.Namespace, folder: Path, deadline: float) -> dict[str, Any]:
    """The benchmark in an empty folder."""
    model = resolve(options.model).path
    model = shaped(options.shape, model, folder) if options.shape else model
    generator = VllmModel(
        engine="vllm", model=str(model), max_num_seqs=options.max_seqs, max_model_len=options.max_model_len,
        gpu_memory_utilization=0.45, kv_cache_gb=0.5, enforce_eager=options.device == "cpu",
        engine_args={"load_format": "dummy"} if options.shape else {},
    )  # fmt: skip
    config = SynthesisConfig(
        generator=generator, chunks_in_flight=options.in_flight, without=("connections",),
        sampling=Sampling(max_tokens=options.max_model_len),
    )  # fmt: skip
    made = corpus(folder, options.documents * (options.runs + 1), options.words)
    tape = asyncio.run(record(made, StepSettings.load(config), options, folder, model))
    tape.save()
    spawn = multiprocessing.get_context("spawn")
    arguments = (folder, generator, model, options.runs + 1, options.in_flight)
    plain = spawn.Process(target=run_plain, args=arguments)
    plain.start()
    # The second engine is started when the first has taken its memory, or each would count the other's as its own.
    turns = Turns(folder, options.runs, deadline, plain)
    try:
        turns.wait("plain.ready")
        turns.start()
        after = replay(config, made, model, folder)
        turns.join()
    except TimeIsUp:
        raise SystemExit("no engine was ready in --max-seconds; give more time") from None
    finally:
        (folder / "stop").touch()
        plain.join()
    return told(options, tape, turns.seen) | {"seconds_after_the_last_reply": round(after, 2)}


def replay(config: SynthesisConfig, made: Artifact, model: Path, folder: Path) -> float:
    """The stage on the tape; seconds from its last reply until its tables are written."""
    import ray.data

    from memo_ray.ray_session import session
    from memo_ray.synthesis.ray_synthesis import synthesise

    with session(folder / "logs"), Store(folder).attempt("synthesis", "synthesis", "1" * 64, {}, {}) as attempt:
        assert ray.is_initialized()
        # A window's documents must come before the next window's, whichever file of the input they are in: with all
        # places in flight taken by documents whose turn has not come, neither would.
        ray.data.DataContext.get_current().execution_options.preserve_order = True
        synthesise(config, made, model, attempt, unheard, opener=partial(open_replayed, folder))
        stopped = folder / "stop"
        return time.time() - stopped.stat().st_mtime if stopped.exists() else 0.0


def told(options: argparse.Namespace, tape: Tape, seen: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """What is printed."""
    whole_runs = min(len(seen[arm]) for arm in ARMS)
    runs = [[summary(one) for one in seen[arm][1:whole_runs]] for arm in ARMS]
    if not runs[0]:
        raise SystemExit("no run was finished in --max-seconds; give fewer --documents or more time")
    values: dict[str, list[float]] = {
        name: [pipeline[name] / plain[name] for plain, pipeline in zip(*runs, strict=True)]
        for name in ("steady", "whole")
    }
    (ratio, bounds), (whole, whole_bounds) = interval(values["steady"]), interval(values["whole"])
    entries = tape.window(1)
    return {
        "pipeline_over_engine": ratio, "interval": bounds, "runs": [round(value, 4) for value in values["steady"]],
        "whole": whole, "whole_interval": whole_bounds, "device": options.device,
        "model": options.shape or options.model, "documents": options.documents, "in_flight": options.in_flight,
        "max_num_seqs": options.max_seqs, "prompts_a_run": len(entries),
        "tokens_a_run": sum(entry.tokens for entry in entries),
        **{f"{arm}_runs": rows for arm, rows in zip(ARMS, runs, strict=True)},
        "profile": {arm: seen[arm][-1]["profile"] for arm in ARMS},
    }  # fmt: skip


if __name__ == "__main__":
    main()
