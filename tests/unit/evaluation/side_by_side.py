"""Systems side by side on a small corpus, with scripts behind real endpoints."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from memo_ray.artifacts.store import Artifact
from memo_ray.config.comparison import ComparisonConfig
from memo_ray.config.models import OpenAIModel
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.evaluation.comparison import Compared, compare, corpora_of
from memo_ray.evaluation.systems.opening import Models
from memo_ray.models.openai import OpenAIChatModel
from tests.unit.evaluation.endpoint import Write, endpoint

FACTS = {
    "wall": ("Rolf Anstick", "Rolf Anstick built the harbour wall."),
    "school": ("Ida Pask", "Ida Pask opened the school of Nessock."),
    "ferry": ("the Badger", "The ferry that crosses the sound is the Badger."),
    "salt": ("a flood", "The salt works closed after a flood."),
}
ASKED = {
    "wall": "Who built the harbour wall?",
    "school": "Who opened the school?",
    "ferry": "Which ferry crosses the sound?",
    "salt": "Why did the salt works close?",
}


def executive(prompt: str) -> str:
    """Knows what it is shown: the answer whose sentence stands in the prompt for its question, else a guess."""
    topic = next((name for name, question in ASKED.items() if question in prompt), "")
    if topic and FACTS[topic][1] in prompt:
        return FACTS[topic][0]
    return "Somebody else"


def judge(prompt: str) -> str:
    """Right when the answer is the first reference."""
    reference = re.search(r"<references>\n1\. (.*)\n", prompt)
    answer = re.search(r"<answer>\n(.*)\n</answer>", prompt)
    assert reference and answer
    return json.dumps({"reason": "as the reference says", "score": int(reference[1] == answer[1])})


SYSTEMS: list[dict[str, Any]] = [
    {"kind": "perfect_retrieval"},
    {"kind": "bm25", "top_k": 1},
    {"kind": "no_context"},
    {"kind": "in_context"},
]


def run(
    isles: Artifact,
    folder: Path,
    executive: Write = executive,
    judge: Write | None = judge,
    labelled: str | None = None,
    question: str | None = None,
    **settings: Any,
) -> Compared:
    """The comparison of SYSTEMS; `question`: asked in the place of each of the corpus's own."""
    with endpoint(executive) as url, endpoint(judge or executive) as judge_url:
        model = {"engine": "openai", "base_url": url, "model": "qwen", "max_retries": 0, "timeout_s": 5}
        data = {"systems": SYSTEMS, "seeds": [0, 1], "paper": "2/qwen", **settings}
        if judge is not None:
            data["judge"] = {
                "model": {**model, "base_url": judge_url, "model": "grader"},
                "attempts": 2,
                "labelled": labelled,
            }
        config = ComparisonConfig.model_validate_json(json.dumps(data))
        shared = OpenAIChatModel(OpenAIModel.model_validate(model))
        models = Models(shared, None, ProtocolConfig())
        ((corpus, queries),) = corpora_of({"musique": isles}, None)
        queries = [replace(query, question=question or query.question) for query in queries]
        return compare(config, models, [(corpus, queries)], folder, lambda *_: None)


def accuracy(compared: Compared) -> dict[str, float]:
    assert compared.table is not None
    return {
        name: cells["musique"].figures["accuracy"].mean
        for name, cells in compared.table.cells.items()
        if "accuracy" in cells["musique"].figures
    }
