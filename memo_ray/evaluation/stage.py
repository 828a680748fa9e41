"""The evaluation stage: which systems are asked what, which memory is the run's, and its protocol questions.

Base, memories by epoch and merges are asked alone on one engine; then the chosen memory is served beside the
executive and a handful of questions goes through the gateway, as a user's would.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from memo_ray.artifacts.place import Location
from memo_ray.artifacts.store import Artifact, Attempt
from memo_ray.config.run import RunConfig
from memo_ray.config.serving import ServingConfig
from memo_ray.errors import GenerationError
from memo_ray.evaluation.alone import Evaluated, ask_systems
from memo_ray.evaluation.asked import (
    ALONE,
    Asked,
    corpus_questions,
    fixed_questions,
    held_out_questions,
    protocol_questions,
    trained_questions,
)
from memo_ray.evaluation.overlap import overlap_facts
from memo_ray.evaluation.protocol_rows import SYSTEM, executive_tokens, protocol_rows
from memo_ray.evaluation.recall import choice_facts, given_epoch, is_study
from memo_ray.models.ray_engine import Engine
from memo_ray.progress import Progress
from memo_ray.rows import Answer, Question, Reflection, Reject, Transcript

QUESTIONS_AT_ONCE = 4
"""Protocol questions under way together: a few users' load, so that the seconds a question takes mean something."""

if TYPE_CHECKING:
    from memo_ray.citations.files import LedgerFiles
    from memo_ray.pipeline import Results


def evaluate(
    config: RunConfig,
    base: Location,
    executive: Location | None,
    results: Results,
    attempt: Attempt,
    progress: Progress,
) -> None:
    """Write `answers`, `transcripts` and `rejects`; facts: `systems` (the summary's names to those of `answers`)
    and `memory` (which folder of which artefact is the run's memory, and how it was chosen)."""
    from memo_ray.asking import ledgers_of

    asked = [*asked_of(results, config.evaluation.max_trained), *fixed_questions()]
    if results.merging is not None:
        earlier = results.merging.rows("answers", Answer)
        if "compared" in results.merging.record.rows:
            earlier += results.merging.rows("compared", Answer)
        known = {row.system for row in earlier}
        systems, chosen = {name: path for name, path in merged_systems(results).items() if name not in known}, None
    else:
        systems, chosen, earlier = epoch_systems(results, every=config.evaluation.epochs), "", []
    found = ask_systems(config, base, {"base": base, **systems}, asked, attempt.progress.child("alone"), progress)
    answers = [*found.answers, *earlier]
    reflections = {name: made.rows("reflections", Reflection) for name, made in results.synthesis.items()}
    if results.merging is not None:
        memory = merged_memory(results.merging)
        names = {"base": "base", "memory": memory["folder"].removeprefix("merged/")}
        names |= {name: name for name in [*systems, *dict.fromkeys(row.system for row in earlier)]}
    else:
        every = [row for rows in reflections.values() for row in rows]
        choice = given_epoch(config.evaluation.epoch, list(systems)) or choice_facts(answers, list(systems), every)
        chosen = str(choice["epoch"])
        (training,) = results.training.values()
        memory = reference(training, chosen, str(choice["chosen_by"]))
        names = {"base": "base", "memory": chosen}
        attempt.facts["choice"] = choice | {"study": is_study(chosen, training.record.facts)}
    overlaps = {name: overlap_facts(rows) for name, rows in reflections.items()}
    attempt.facts |= {"systems": names, "memory": memory, "overlap": overlaps}
    where = (results.merging or next(iter(results.training.values()))).location(str(memory["folder"]))
    spoken = ask_protocol(
        config.serving,
        where,
        executive,
        asked,
        config.evaluation.protocol_questions,
        ledgers_of(results),
        progress,
    )
    compared, starts = [], 0
    if config.evaluation.comparison is not None:
        from memo_ray.evaluation.memory_cost import memory_costs
        from memo_ray.evaluation.served_comparison import compare_systems

        made = memory_costs(config.synthesis.generator, results)
        side_by_side, starts = compare_systems(config, where, executive, results.corpora, made, attempt, progress)
        compared = side_by_side.rejects
    starts += found.engine_starts + spoken.engine_starts
    told = [*found.answers, *spoken.answers]
    tokens = {kind: sum(getattr(row, kind) for row in told) for kind in ("input_tokens", "output_tokens")}
    attempt.add_cost(engine_starts=starts, **tokens, **executive_tokens(spoken.transcripts))
    attempt.write("answers", [*answers, *spoken.answers], Answer)
    attempt.write("transcripts", spoken.transcripts, Transcript)
    attempt.write("rejects", [*found.rejects, *spoken.rejects, *compared], Reject)


def merge_memories(config: RunConfig, base: Location, results: Results, attempt: Attempt, progress: Progress) -> None:
    """Choose every corpus's epoch on its own held-out questions, then sweep the merges of those memories.

    Every merge is also asked what the evaluation asks, while its weights are there; that chooses nothing.
    """
    from memo_ray.evaluation.selection import choose_epochs
    from memo_ray.evaluation.ways import compare_ways, union_memory
    from memo_ray.merging.ray_merging import sweep
    from memo_ray.merging.stage import check_trained

    assert config.merging is not None  # run_stages asks for this stage only when the section is there
    check_trained(config, base, results)
    reflections = {name: made.rows("reflections", Reflection) for name, made in results.synthesis.items()}
    epochs = {name: epochs_of(made) for name, made in results.training.items()}
    engine, max_tokens = config.evaluation.engine, config.evaluation.max_tokens
    progress(0, 1, "choosing epochs")
    attempt.add_cost(engine_starts=1)
    with Engine.start(engine, base) as started:
        chosen = choose_epochs(started, epochs, reflections, max_tokens)
        union = union_memory(started, results, max_tokens)
    memories = {name: epochs[name][epoch] for name, epoch in chosen.items()}
    asked = asked_of(results, config.evaluation.max_trained)
    sweep(config.merging, base, memories, reflections, engine, max_tokens, attempt, asked, progress)
    attempt.facts["chosen_epochs"] = chosen
    if config.merging.compare:
        compare_ways(config, base, results, memories, union, asked, attempt, progress)


def epoch_systems(results: Results, *, every: bool) -> dict[str, Location]:
    """The epochs of the only memory; the last one alone unless `every`."""
    (training,) = results.training.values()
    epochs = epochs_of(training)
    return epochs if every else dict([list(epochs.items())[-1]])


def merged_systems(results: Results) -> dict[str, Location]:
    """Every corpus's own memory at its chosen epoch, beside which the merges are judged."""
    assert results.merging is not None  # the caller has checked
    chosen = results.merging.record.facts["chosen_epochs"]
    return {f"memory-{corpus}": results.training[corpus].location(epoch) for corpus, epoch in chosen.items()}


def merged_memory(merging: Artifact) -> dict[str, str]:
    """The best merge, as the run's memory."""
    return reference(merging, f"merged/{merging.record.facts['best']}", "recall of the merge on held-out questions")


def reference(artifact: Artifact, folder: str, chosen_by: str) -> dict[str, str]:
    """How a later command finds the memory again."""
    record = artifact.record
    return {"artifact": record.name, "digest": record.digest, "folder": folder, "chosen_by": chosen_by}


def asked_of(results: Results, max_trained: int) -> list[Asked]:
    """The question sets of a run's artefacts."""
    reflections = {name: made.rows("reflections", Reflection) for name, made in results.synthesis.items()}
    questions = {name: made.rows("questions", Question) for name, made in results.corpora.items()}
    return question_sets(reflections, questions, max_trained)


def epochs_of(training: Artifact) -> dict[str, Location]:
    """Epoch name → folder, in order."""
    names = sorted({entry.path.split("/")[0] for entry in training.record.files}, key=lambda name: int(name[6:]))
    return {name: training.location(name) for name in names}


def question_sets(
    reflections: Mapping[str, Sequence[Reflection]], questions: Mapping[str, Sequence[Question]], max_trained: int
) -> list[Asked]:
    """Everything that is asked, over all corpora: trained and held-out reflections, then the corpora's questions."""
    share = max(1, max_trained // max(1, len(reflections)))
    trained = [row for rows in reflections.values() for row in trained_questions(rows, share)]
    held_out = [row for rows in reflections.values() for row in held_out_questions(rows)]
    corpus = [row for rows in questions.values() for row in corpus_questions(rows)]
    return [*trained, *held_out, *corpus]


def ask_protocol(
    serving: ServingConfig,
    memory: Location,
    executive: Location | None,
    asked: Sequence[Asked],
    count: int,
    ledgers: Sequence[LedgerFiles],
    progress: Progress,
) -> Evaluated:
    """Serve `memory` and the executive, and put `count` of the corpora's questions through the gateway.

    `ledgers`: the tables that citations come from.

    A question that the gateway cannot answer becomes a reject: neither right nor wrong. Raises GenerationError when
    none was answered: that is an outage and no result.
    """
    from memo_ray.serving.client import ask
    from memo_ray.serving.ray_serving import deploy

    chosen = protocol_questions([row for row in asked if row.kind not in ALONE], count)
    found = Evaluated(engine_starts=2 if executive else 1)
    if not chosen:
        return Evaluated()
    progress(0, len(chosen), "starting the gateway")
    key = os.environ.get(serving.api_key_env) if serving.api_key_env else None
    # For these questions alone: nobody else should find the gateway, and the configured port may be serving.
    alone = {"host": "127.0.0.1", "port": free_port(), "keys_file": "", "memories": (), "routing": None}
    local = serving.model_copy(update=alone)
    served = deploy(local, str(memory), str(executive) if executive else None, ledgers=tuple(ledgers))

    def put(row: Asked) -> tuple[Answer, Transcript] | Reject:
        clock = time.perf_counter()
        try:
            reply = ask(served.url, row.question, api_key=key, timeout_s=serving.request_timeout_s)
        except GenerationError as error:
            return Reject(row.question_id, "evaluation", f"{SYSTEM}/{row.kind}", "generation_error", str(error),
                          prompt=row.question)  # fmt: skip
        return protocol_rows(row, reply, time.perf_counter() - clock)

    try:
        with ThreadPoolExecutor(max_workers=min(len(chosen), QUESTIONS_AT_ONCE)) as pool:
            for done, outcome in enumerate(pool.map(put, chosen), start=1):
                progress(done, len(chosen), "through the protocol")
                if isinstance(outcome, Reject):
                    found.rejects.append(outcome)
                else:
                    found.answers.append(outcome[0])
                    found.transcripts.append(outcome[1])
    finally:
        served.close()
    if not found.answers:
        raise GenerationError(f"evaluation: no question came through the protocol: {found.rejects[0].detail}")
    return found


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
