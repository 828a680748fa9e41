"""Runs in HippoRAG2's own interpreter: requests as JSON lines on stdin, one JSON line back for each on stdout.

It imports the standard library and what `requirements/hipporag.txt` holds, nothing of memo-ray. Wherever the package
would ask a model it asks the process that started it, which holds the endpoints and their keys.
"""

from __future__ import annotations

import ast
import base64
import importlib
import itertools
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

NOT_INSTALLED = {"vllm": ("LLM", "SamplingParams"), "gritlm": ("GritLM",)}
"""Engines that the package imports whether they are used or not, and the names that it takes from them."""
TEXTS_AT_ONCE = 256


class AskedInVain(Exception):
    """A model did not answer; `refused`: it will never answer this prompt."""

    def __init__(self, reason: str, refused: bool) -> None:
        super().__init__(reason)
        self.refused = refused


class Parent:
    """The process that started this one. `requests`: what it wants; `ask` may be called from any thread."""

    def __init__(self, out: TextIO) -> None:
        self.requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._out = out
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: dict[int, Future[dict[str, Any]]] = {}

    def listen(self, lines: Iterable[str]) -> None:
        """Sort what comes into requests and replies; without a parent there is nothing left to do."""
        for line in lines:
            message = json.loads(line)
            if "reply" in message:
                self._waiting.pop(message["reply"]).set_result(message)
            else:
                self.requests.put(message)
        os.killpg(0, signal.SIGKILL)  # the package's own processes, too

    def tell(self, message: dict[str, Any]) -> None:
        """One line."""
        with self._lock:
            self._out.write(json.dumps(message) + "\n")
            self._out.flush()

    def ask(self, what: dict[str, Any]) -> dict[str, Any]:
        """What a model says to `what`. Raises AskedInVain."""
        number, future = next(self._numbers), Future[dict[str, Any]]()
        self._waiting[number] = future
        self.tell({"ask": number, **what})
        told = future.result()
        if "error" in told:
            raise AskedInVain(told["error"], told.get("refused", False))
        return told


class Tally:
    """What one request of the parent's cost, replies from the package's own cache included, and what failed."""

    def __init__(self) -> None:
        self.calls = self.input_tokens = self.output_tokens = self.refused = 0
        self.failures: list[str] = []

    def facts(self) -> dict[str, int]:
        """As the parent wants it."""
        return {name: getattr(self, name) for name in ("calls", "input_tokens", "output_tokens", "refused")}


class Worker:
    """One index, and the requests about it."""

    def __init__(self, parent: Parent) -> None:
        self._parent = parent
        self._tally = Tally()
        self._rag: Any = None

    def open(self, save_dir: str, llm: str, embedding: str, max_tokens: int, instruct: bool) -> dict[str, Any]:
        """Load the package and what an earlier try has left in `save_dir`."""
        for name, taken in NOT_INSTALLED.items():
            module = sys.modules[name] = ModuleType(name)
            for attribute in taken:
                setattr(module, attribute, None)
        package = importlib.import_module("hipporag")
        home = sys.modules["hipporag.HippoRAG"]
        for name in ("hipporag.HippoRAG", "hipporag.rerank", "hipporag.information_extraction.openie_openai"):
            # The package evaluates what a model writes, which may be what a document told it to; literals are enough.
            vars(sys.modules[name])["eval"] = ast.literal_eval
        vars(home)["_get_llm_class"] = lambda config: self.llm(Path(save_dir), llm, max_tokens)
        vars(home)["_get_embedding_model_class"] = lambda embedding_model_name: (
            lambda **_: Embedder(self._parent, instruct)
        )
        self._rag = package.HippoRAG(save_dir=save_dir, llm_model_name=llm, embedding_model_name=embedding)
        return {}

    def index(self, documents: list[str]) -> dict[str, Any]:
        """Extract facts and build the graph. What failed on the way is asked again by the next try."""
        self._rag.index(docs=documents)
        if self._tally.failures:
            # The package takes an outage for a passage without facts, and would keep it as that.
            Path(self._rag.openie_results_path).unlink(missing_ok=True)
            raise RuntimeError(f"{len(self._tally.failures)} requests failed: {self._tally.failures[0]}")
        return {"facts": len(self._rag.fact_embedding_store.get_all_ids())}

    def retrieve(self, query: str, top_k: int) -> dict[str, Any]:
        """The best passages' texts."""
        (solution,) = self._rag.retrieve(queries=[query], num_to_retrieve=top_k)
        if self._tally.failures:
            raise RuntimeError(self._tally.failures[0])
        return {"documents": list(solution.docs)}

    def llm(self, folder: Path, name: str, max_tokens: int) -> Any:
        """What the package takes for its client: `infer`, behind its own cache, so that a killed index goes on."""
        cache_response = importlib.import_module("hipporag.llm.openai_gpt").cache_response
        worker = self

        class Llm:
            cache_file_name = str(folder / "llm_cache.sqlite")

            def infer(self, messages: list[dict[str, str]], **options: Any) -> tuple[str, dict[str, Any], bool]:
                """The reply's text, what it cost, and whether it came from the cache."""
                most = min(max_tokens, options.get("max_completion_tokens", max_tokens))
                tally = worker._tally
                try:
                    text, spent, cached = self.kept(messages, model=name, max_tokens=most)
                except AskedInVain as error:
                    if error.refused:
                        tally.refused += 1
                    else:
                        tally.failures.append(str(error))
                    raise
                tally.calls += 1
                tally.input_tokens += spent["prompt_tokens"]
                tally.output_tokens += spent["completion_tokens"]
                return text, spent, cached

            @cache_response
            def kept(self, messages: list[dict[str, str]], model: str, max_tokens: int) -> tuple[str, dict[str, Any]]:
                # The cache tells replies apart by their prompt and model.
                told = worker._parent.ask({"chat": messages, "max_tokens": max_tokens})
                return told["text"], told["spent"]

        return Llm()

    def serve(self) -> None:
        """Answer the parent's requests until it is gone."""
        known: dict[str, Callable[..., dict[str, Any]]] = {
            "open": self.open, "index": self.index, "retrieve": self.retrieve,
        }  # fmt: skip
        while True:
            request = self._parent.requests.get()
            self._tally = Tally()
            try:
                told = known[request.pop("do")](**request)
            except Exception as error:  # noqa: BLE001 - whatever another package raises is told, not hidden
                told = {"error": f"{type(error).__name__}: {error}"}
            self._parent.tell(told | self._tally.facts())


class Embedder:
    """What the package takes for its embedding model. `instruct`: its instructions stand before a question."""

    def __init__(self, parent: Parent, instruct: bool) -> None:
        self._parent, self._instruct = parent, instruct

    def batch_encode(self, texts: str | Sequence[str], instruction: str = "", norm: bool = True) -> Any:
        """Vectors of length 1, float32: (texts, dimensions)."""
        import numpy as np

        texts = [texts] if isinstance(texts, str) else list(texts)
        if self._instruct and instruction:
            texts = [f"Instruct: {instruction}\nQuery: {text}" for text in texts]
        rows = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            told = self._parent.ask({"embed": texts[start : start + TEXTS_AT_ONCE]})
            raw = np.frombuffer(base64.b64decode(told["vectors"]), np.float32)
            rows.append(raw.reshape(-1, told["dimensions"]))
        return np.concatenate(rows)


def main() -> None:
    """Keep stdin and stdout for the parent: what the package and its libraries print goes to stderr.

    A process that the package forks closes `sys.stdin`, which must not be the file that a thread waits on: its lock
    would be held for ever there.
    """
    parent = Parent(os.fdopen(os.dup(1), "w", encoding="utf-8"))
    os.dup2(2, 1)
    lines = os.fdopen(os.dup(0), encoding="utf-8")
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=parent.listen, args=(lines,), daemon=True).start()
    Worker(parent).serve()


if __name__ == "__main__":
    del sys.path[0]  # this file's folder, whose modules would stand before that environment's packages
    main()
