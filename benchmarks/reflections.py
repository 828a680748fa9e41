"""Reflections of real documents by a real generator: pairs by step, what was lost and why; prints one JSON line.

    python benchmarks/reflections.py MODEL DATA --out DIR [--part tuning|musique|book] [--questions 40] [--skip 0]
        [--book TITLE] [--prompts chunk|sentence] [--temperature 0.5] [--eager] [--gpu-memory 0.9] [--read 100]

`tuning`: evidence of MuSiQue questions that no result is reported on, for work on prompts. `musique`: evidence and
negative paragraphs of the questions that the paper also takes. `book`: one NarrativeQA story in windows of 700 words.
DATA: a folder with `musique/` (`dev200_full.jsonl.gz`, `paper1000_ids_and_negative_paras.json`) and `narrativeqa/`
(`documents.jsonl.gz`). Runs `memo run --until synthesis`, then writes into DIR:

    PART.jsonl.xz    every reflection: question, answer, step, kind, split, documents, licence
    PART-read.jsonl  `--read` of them drawn over the steps, each with its text, to be read by a person
    PART-lost.jsonl  `--read` of the pairs that were lost, with the reason
    PART.json        what is printed
"""

from __future__ import annotations

import argparse
import gzip
import json
import lzma
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from memo_ray.artifacts.store import Artifact, Store
from memo_ray.rows import Chunk, LedgerEntry, Reflection, Reject

LICENCES = {"tuning": "CC-BY-4.0", "musique": "CC-BY-4.0", "book": "public domain in the USA"}
BOOK_WORDS, BOOK_OVERLAP = 700, 70


def questions(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of MuSiQue's dev file."""
    with gzip.open(folder / "musique" / "dev200_full.jsonl.gz", "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def corpus_of(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The `corpora` entry of the part, its files written into `folder` where they are not in DATA."""
    entry: dict[str, Any] = {"name": options.part, "licence": LICENCES[options.part]}
    if options.part == "book":
        with gzip.open(options.data / "narrativeqa" / "documents.jsonl.gz", "rt", encoding="utf-8") as file:
            rows = [json.loads(line) for line in file]
        (book,) = [row for row in rows if row["title"] == options.book]
        (folder / "book.jsonl").write_text(json.dumps({"title": book["title"], "text": book["text"]}) + "\n")
        chunking = {"kind": "window", "words": BOOK_WORDS, "overlap": BOOK_OVERLAP, "boundary": "sentence"}
        paths = [str(folder / "book.jsonl")]
        return entry | {"paths": paths, "title_column": "title", "chunking": chunking, "groups": "all"}
    ids = folder / "ids.json"
    paper = json.loads((options.data / "musique" / "paper1000_ids_and_negative_paras.json").read_text())
    here = [row["id"] for row in questions(options.data)]
    if options.part == "tuning":
        ids.write_text(json.dumps([name for name in here if name not in paper][options.skip :][: options.questions]))
        noise: dict[str, Any] = {"noise": 0}
    else:
        ids.write_text(json.dumps([name for name in here if name in paper]))
        negatives = options.data / "musique" / "paper1000_ids_and_negative_paras.json"
        noise = {"noise": 1, "negative_ids": str(negatives)}
    path = str(options.data / "musique" / "dev200_full.jsonl.gz")
    return entry | {"benchmark": {"kind": "musique", "path": path, "question_ids": str(ids)} | noise}


def config_of(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The run: the paper's steps, with the checks that a small generator needs."""
    generator = {
        "engine": "vllm", "model": str(options.model), "max_model_len": options.max_model_len,
        "max_num_seqs": options.max_seqs, "enforce_eager": options.eager,
        "gpu_memory_utilization": options.gpu_memory,
    }  # fmt: skip
    if options.kv_cache_gb:
        generator["kv_cache_gb"] = options.kv_cache_gb
    return {
        "name": options.part,
        "corpora": [corpus_of(options, folder)],
        "synthesis": {
            "generator": generator,
            "sampling": {"temperature": options.temperature, "top_p": 0.95, "max_tokens": 2000},
            "prompts": options.prompts,
            "answers": "generated" if options.prompts == "chunk" else "spans",
            "connections": {"candidates": "shared_entities", "batch_size": 10},
            "grounding": {"lexical": True, "round_trip": True, "strict_questions": True},
            "quality": {"self_contained_rules": True, "near_duplicates": 0.9},
            "held_out": {"share": 0.1, "max_questions": 200},
            "max_reject_share": 0.9,
            "chunks_in_flight": options.in_flight,
        },
        "training": {"base": "embedded"},
    }


def first_try(steps: dict[str, dict[str, Any]]) -> float:
    """The share of prompts whose first reply was the JSON asked for."""
    asked = sum(step["prompts"] + step["checks"] for step in steps.values())
    return 1 - sum(sum(step["retried"].values()) for step in steps.values()) / asked


def drawn(rows: list[Reflection], ledger: dict[str, LedgerEntry], number: int) -> list[Reflection]:
    """`number` of the rows: half over all, half evenly over the steps, so that rare ones are read too."""
    rng = random.Random(0)
    pools = {step: [row for row in rows if row.step == step] for step in sorted({row.step for row in rows})}
    chosen = {row.reflection_id: row for row in rng.sample(rows, min(len(rows), number // 2))}
    while len(chosen) < min(number, len(rows)):
        for pool in pools.values():
            left = [row for row in pool if row.reflection_id not in chosen]
            if left and len(chosen) < number:
                row = rng.choice(left)
                chosen[row.reflection_id] = row
    return sorted(chosen.values(), key=lambda row: (ledger[row.reflection_id].chunk_ids[0], row.step))


def write(corpus: Artifact, synthesis: Artifact, options: argparse.Namespace) -> dict[str, Any]:
    """The files of the part; what is printed, less the times."""
    rows = synthesis.rows("reflections", Reflection)
    ledger = {entry.reflection_id: entry for entry in synthesis.rows("ledger", LedgerEntry)}
    chunks = {chunk.chunk_id: chunk for chunk in corpus.rows("chunks", Chunk)}
    titles = {chunk.document_id: chunk.title for chunk in chunks.values()}
    with lzma.open(options.out / f"{options.part}.jsonl.xz", "w") as file:
        for row in rows:
            entry = ledger[row.reflection_id]
            named = sorted({titles[name] or name for name in entry.document_ids})
            line = {
                "question": row.question, "answer": row.answer, "step": row.step, "kind": entry.kind,
                "split": row.split, "documents": named, "licence": entry.licence,
            }  # fmt: skip
            file.write(f"{json.dumps(line, ensure_ascii=False)}\n".encode())
    with (options.out / f"{options.part}-read.jsonl").open("w", encoding="utf-8") as file:
        shown: set[str] = set()
        for row in drawn(rows, ledger, options.read):
            entry = ledger[row.reflection_id]
            new = [chunk_id for chunk_id in entry.chunk_ids if chunk_id not in shown]
            shown.update(new)
            texts = {chunks[name].title or name: chunks[name].text for name in new}
            line = {"step": row.step, "kind": entry.kind, "q": row.question, "a": row.answer, "texts": texts}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    lost = synthesis.rows("rejects", Reject)
    with (options.out / f"{options.part}-lost.jsonl").open("w", encoding="utf-8") as file:
        for row in random.Random(0).sample(lost, min(len(lost), options.read)):
            line = {"step": row.step, "reason": row.reason, "detail": row.detail, "reply": row.reply}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
    rejects = Counter(f"{row.step}/{row.reason}" for row in lost)
    details = Counter(row.detail for row in lost if row.reason == "malformed")
    return {
        "documents": len(titles),
        "chunks": len(chunks),
        "kept": dict(Counter(row.step for row in rows if row.split == "train")),
        "held_out": sum(row.split == "held_out" for row in rows),
        "lost": dict(rejects.most_common(40)),
        "malformed": dict(details.most_common(20)),
        "first_try": round(first_try(synthesis.record.facts["by_step"]), 4),
        "by_step": synthesis.record.facts["by_step"],
        "cost": synthesis.record.cost,
    }


def main() -> None:
    """Run the part and print its table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--part", choices=sorted(LICENCES), default="tuning")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--skip", type=int, default=0, help="so many tuning questions before those that are taken")
    parser.add_argument("--prompts", choices=("chunk", "sentence"), default="chunk")
    parser.add_argument("--book", default="The Princess and the Goblin", help="its title")
    parser.add_argument("--read", type=int, default=100)
    parser.add_argument("--temperature", type=float, default=0.5)
    parser.add_argument("--max-model-len", type=int, default=8192)
    parser.add_argument("--max-seqs", type=int, default=256)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--kv-cache-gb", type=float)
    parser.add_argument("--gpu-memory", type=float, default=0.9, help="share of the GPU that the engine takes")
    parser.add_argument("--eager", action="store_true")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.data, options.model = options.data.resolve(), options.model.resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "run.yaml").write_text(yaml.safe_dump(config_of(options, folder)))
        command = [sys.executable, "-m", "memo_ray.cli", "run", "run.yaml", "--until", "synthesis"]
        root = Path(__file__).resolve().parents[1]
        path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
        begun = time.perf_counter()
        subprocess.run(command, cwd=folder, env=os.environ | {"PYTHONPATH": path}, check=True)
        seconds = time.perf_counter() - begun
        store = Store(folder / "runs" / options.part / "artifacts")
        corpus, synthesis = (store.latest(f"{stage}-{options.part}") for stage in ("corpus", "synthesis"))
        assert corpus is not None, "a finished run has a corpus"
        assert synthesis is not None, "a finished run has a synthesis"
        found = write(corpus, synthesis, options)
    told = {"part": options.part, "seconds": round(seconds, 1)} | found
    (options.out / f"{options.part}.json").write_text(json.dumps(told, indent=1))
    print(json.dumps(told))


if __name__ == "__main__":
    main()
