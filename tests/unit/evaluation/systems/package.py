"""Stands for the package `hipporag` where its environment is not: its names and the shape of its calls."""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = {
    "__init__.py": "from .HippoRAG import HippoRAG",
    "HippoRAG.py": """
import os, sys, vllm, gritlm
from . import rerank
from .information_extraction import openie_openai
def _get_llm_class(config): raise AssertionError("the worker puts its own here")
_get_embedding_model_class = _get_llm_class
class Store:
    def __init__(self): self.ids = []
    def get_all_ids(self): return self.ids
class Solution:
    def __init__(self, docs): self.docs = docs
class HippoRAG:
    def __init__(self, save_dir, llm_model_name, embedding_model_name):
        if not os.path.isdir(save_dir) or any("KEY" in name for name in os.environ): raise RuntimeError("a key")
        self.llm_model = _get_llm_class(None)
        self.embedding_model = _get_embedding_model_class(embedding_model_name="e")(global_config=None)
        self.fact_embedding_store, self.openie_results_path = Store(), save_dir + "/openie.json"
    def index(self, docs):
        print("x" * 200_000)
        os.write(1, b"not for the parent")
        self.docs = docs
        for doc in docs:
            try:
                text, spent, hit = self.llm_model.infer(messages=[{"role": "user", "content": doc}])
                self.fact_embedding_store.ids += openie_openai.facts(text)
            except Exception: pass
        open(self.openie_results_path, "w").write("{}")
        self.vectors = self.embedding_model.batch_encode(docs)
    def retrieve(self, queries, num_to_retrieve):
        if "boom" in queries[0]: raise ValueError("no facts")
        assert "unweighted" not in queries[0]
        if "die" in queries[0]: os._exit(3)
        asked = self.embedding_model.batch_encode(queries, instruction="find", norm=True)
        if asked.shape[1] != self.vectors.shape[1]: raise ValueError("other vectors")
        shared = lambda doc: sum(word in doc for word in queries[0].split())
        return [Solution(sorted(self.docs, key=shared, reverse=True)[:num_to_retrieve])]
""",
    "rerank.py": "",
    "information_extraction/__init__.py": "",
    "information_extraction/openie_openai.py": "def facts(text): return eval(text)",
    "llm/__init__.py": "",
    "llm/openai_gpt.py": """
import json, os
def cache_response(infer):
    def wrapper(self, messages, **options):
        kept = self.cache_file_name + str(abs(hash(json.dumps([messages, options["model"]]))))
        if os.path.exists(kept): return (*json.load(open(kept)), True)
        text, spent = infer(self, messages, **options)
        json.dump([text, spent], open(kept, "w"))
        return text, spent, False
    return wrapper
""",
}


def stand_in(folder: Path) -> str:
    """A launcher of this interpreter in which `hipporag` can be imported."""
    for name, text in PACKAGE.items():
        path = folder / "site" / "hipporag" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    launcher = folder / "python"
    launcher.write_text(f'#!/bin/sh\nPYTHONHASHSEED=0 PYTHONPATH={folder}/site exec {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    return str(launcher)
