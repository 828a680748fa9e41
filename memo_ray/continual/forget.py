"""`memo forget`: a document leaves a run: its reflections, the memory that learnt them, and the corpus.

    find ─ corpus without it ─ note in forgotten.json ─ synthesis without it ─ memory trained anew (or left out) ─ merge
         ─ probe before and after ─ register ─ certificate ─ withdraw what knew it

Every step leaves artefacts or objects that the same command finds again, so it may be killed anywhere. The synthesis
without the document stands where `memo run` will look for it, also after the document's file was deleted.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from memo_ray.artifacts.registry import FOLDER, Memory, Registry, parse
from memo_ray.artifacts.store import Artifact
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.loading import validate
from memo_ray.config.run import RunConfig
from memo_ray.continual.certificate import sign
from memo_ray.continual.dropping import chunks_of, drop, write_without
from memo_ray.continual.finding import copies_of, find
from memo_ray.continual.forgotten import Forgotten, How, left_out, read_forgotten, write_forgotten
from memo_ray.continual.probes import RULE, at_base_level, kept_share, probe, probes_of
from memo_ray.continual.recipes import merging_for
from memo_ray.continual.registering import part_name, register, standing_epoch
from memo_ray.errors import ConfigError, StoreError
from memo_ray.evaluation.asked import held_out_questions
from memo_ray.evaluation.ray_evaluation import ask_alone
from memo_ray.evaluation.recall import choose_epoch, given_epoch
from memo_ray.evaluation.stage import epoch_systems
from memo_ray.models.ray_engine import Engine
from memo_ray.pipeline import Results, base_model, make_corpus, make_synthesis, run_stages
from memo_ray.results import stored_results
from memo_ray.rows import Chunk, Reflection
from memo_ray.workspace import Workspace

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SCHEMA = "memo-ray/forgotten/1"
QUOTING = ("summary.json", "report.html", "report")
"""Files of the run that show questions and answers about the document; `memo run` writes them again without."""


def forget(run: Workspace, wanted: str, corpus: str | None, how: How, key: Ed25519PrivateKey) -> str:
    """Forget the document `wanted` (an id, a title or a source); returns the certificate's name in the run's folder.

    Raises ConfigError for a document that is not there or cannot be forgotten so, before anything is changed.
    """
    entry = find(run, wanted, corpus)
    if entry.done:
        return entry.certificate
    refuse_another(run, entry)
    if not entry.before:
        entry = begun(run, entry, how)
    elif entry.how != how:
        run.console.say(f"{entry.document_id}: goes on as it was begun, with --how {entry.how}")
    config = without(run, entry)
    old_corpus, old_synthesis = (
        artifact_of(run, f"{stage}-{entry.corpus}", entry) for stage in ("corpus", "synthesis")
    )
    with Workspace(config, run.console) as new:
        if entry.how == "retrain":
            refuse_changes(new, entry, old_corpus)
        write_forgotten(run.place, entry)
        new.remember_config()
        if entry.how == "retrain":
            derive(new, entry, old_corpus, old_synthesis)
        else:
            new.unnote(["training", "advice", "merging", "evaluation"])
        results = run_stages(new, until="merging")
        return finish(new, entry, results, old_corpus, old_synthesis, key)


def begun(run: Workspace, entry: Forgotten, how: How) -> Forgotten:
    """`entry` with what the rest needs: the memories that know the document and the artefacts that hold it."""
    if corpus_of(run, entry).reflections:
        raise ConfigError(
            f"corpus {entry.corpus}: learns question-answer sets, whose ledger names no document; take the pairs out "
            "of its files and run `memo run`"
        )
    if how == "subtract" and len(run.config.corpora) < 2:
        raise ConfigError("--how subtract: the run has one corpus, without which no memory is left; use retrain")
    results = stored_results(run)
    memories = register(run, results, epoch=standing_epoch(run))
    if not memories:
        raise ConfigError(f"{run.where}: has no finished memory; `memo run {run.where}/run.yaml` makes it first")
    corpus = results.corpora[entry.corpus]
    if how == "retrain" and corpus.record.rows.get("documents") == 1:
        raise ConfigError(f"corpus {entry.corpus}: {entry.document_id} is its only document; use --how subtract")
    knew = {run.config.name, part_name(run.config.name, entry.corpus)}
    found = {f"{stage}-{entry.corpus}" for stage in ("corpus", "synthesis")}
    return entry.model_copy(
        update={
            "how": how,
            "before": tuple(memory.reference for memory in memories if memory.name in knew),
            "fingerprints": {name: value for name, value in run.current().items() if name in found},
        }
    )


def without(run: Workspace, entry: Forgotten) -> RunConfig:
    """The run's config without the document, or with `subtract` without its corpus; merged by the best recipe."""
    config = left_out(run.config, [entry])
    data = config.model_dump(mode="json")
    if entry.how == "subtract":
        data["corpora"] = [corpus for corpus in data["corpora"] if corpus["name"] != entry.corpus]
    data["merging"] = merging_for(config.merging, stored_results(run).merging, len(data["corpora"]))
    return validate(data, f"{run.where}/run.yaml")


def artifact_of(run: Workspace, name: str, entry: Forgotten) -> Artifact:
    """An artefact that holds the document. Raises StoreError when it is gone."""
    found = run.store.find(name, entry.fingerprints.get(name, "none"))
    if found is None:
        raise StoreError(
            f"{run.where}: the artefact {name} that holds {entry.document_id} is gone; run `memo run` again"
        )
    return found


def refuse_another(run: Workspace, entry: Forgotten) -> None:
    """Raise ConfigError while another document is being forgotten: what each starts from would lack the other's."""
    for row in read_forgotten(run.place):
        if not row.done and (row.corpus, row.document_id) != (entry.corpus, entry.document_id):
            raise ConfigError(
                f"{row.document_id} of corpus {row.corpus}: is being forgotten and has no certificate yet; finish it "
                f"first: memo forget {run.where} {row.document_id} --corpus {row.corpus}"
            )


def refuse_changes(run: Workspace, entry: Forgotten, old_corpus: Artifact) -> None:
    """Make the corpus without the document, and note nothing of it.

    Raises ConfigError when the corpus's files have changed otherwise too: what is new would never be learnt.
    """
    with run.trying():
        corpus = make_corpus(run, corpus_of(run, entry), may_run=True)
    left = {chunk.chunk_id for chunk in old_corpus.rows("chunks", Chunk)} - chunks_of(entry.document_id, old_corpus)
    if {chunk.chunk_id for chunk in corpus.rows("chunks", Chunk)} != left:
        raise ConfigError(
            f"corpus {entry.corpus}: its files are no longer those that were learnt; put them back, and after this "
            "`memo run` learns the new ones"
        )


def derive(run: Workspace, entry: Forgotten, old_corpus: Artifact, old_synthesis: Artifact) -> None:
    """Note the corpus without the document, and make its synthesis out of the old one, without a generator."""
    corpus = make_corpus(run, corpus_of(run, entry), may_run=True)
    make_synthesis(
        run, entry.corpus, corpus, may_run=True,
        derive=lambda attempt: write_without(entry.document_id, old_corpus, old_synthesis, attempt),
    )  # fmt: skip


def corpus_of(run: Workspace, entry: Forgotten) -> CorpusConfig:
    """The settings of the corpus that the document is in."""
    return next(corpus for corpus in run.config.corpora if corpus.name == entry.corpus)


def finish(
    run: Workspace,
    entry: Forgotten,
    results: Results,
    old_corpus: Artifact,
    old_synthesis: Artifact,
    key: Ed25519PrivateKey,
) -> str:
    """Probe, register, certify, withdraw. Gives the certificate's name."""
    registry, asking = Registry(run.place), run.config.evaluation
    dropped = drop(entry.document_id, old_corpus, old_synthesis)
    others = [(results.corpora[name], made) for name, made in results.synthesis.items() if name != entry.corpus]
    probes = probes_of(entry.document_id, dropped, old_corpus, others, asking.max_trained)
    base = base_model(run.config.training)
    with (
        run.console.stage("probes"),
        run.ray(),
        Engine.start(asking.engine, base.location) as engine,
    ):
        epoch = chosen_epoch(run, registry, results, engine)
        after = register(run, results, done=f"forgot {entry.document_id}", epoch=epoch)
        after = [memory for memory in after if memory.name in {parse(reference)[0] for reference in entry.before}]
        before = [version_of(registry, reference) for reference in entry.before]
        systems = {"base": base.location}
        systems |= {memory.reference: registry.location(memory) for memory in [*before, *after]}
        recall = probe(engine, systems, probes, asking.max_tokens, progress=run.console.progress)
    body = body_of(run, entry, before, after, recall)
    body["base"] = {"name": run.config.training.base, "digest": base.digest}
    body["copies"] = copies_of(entry.digest, results.corpora)
    body["dropped"] = {"own": len(dropped.own), "shared": len(dropped.shared)}
    body["questions"] = {group: [row.question_id for row in probes[group]] for group in ("own", "shared")}
    name = f"{FOLDER}/{after[0].name}/{after[0].version}.certificate.json"
    run.place.put(name, sign(body, key))
    stand = {memory.reference for memory in after}
    for memory in (memory for known in registry.names() for memory in registry.versions(known)):
        if entry.corpus in memory.corpora and memory.reference not in stand:
            registry.withdraw(memory.name, memory.version)
    for stale in QUOTING:
        run.place.remove(stale)
    write_forgotten(run.place, entry.finished(name))
    return name


def chosen_epoch(run: Workspace, registry: Registry, results: Results, engine: Engine) -> str:
    """The epoch of a single corpus's memory, chosen as evaluation chooses it; empty where a merge is the memory."""
    if results.merging is not None:
        return ""
    (name,) = results.training
    part = registry.newest(part_name(run.config.name, name))
    if part is not None and part.artifact == results.training[name].record.digest:
        return part.path.rpartition("/")[2]  # it was part of a merge, for which its epoch was chosen
    asking = run.config.evaluation
    systems = epoch_systems(results, every=asking.epochs)
    choice = given_epoch(asking.epoch, list(systems))
    if choice is not None:
        return str(choice["epoch"])
    reflections = results.synthesis[name].rows("reflections", Reflection)
    asked = held_out_questions(reflections)
    answers = ask_alone(engine, systems, asked, asking.max_tokens).answers if asked and len(systems) > 1 else []
    return choose_epoch(answers, list(systems), reflections)


def version_of(registry: Registry, reference: str) -> Memory:
    """A version, withdrawn or not."""
    name, version = parse(reference)
    return next(memory for memory in registry.versions(name) if memory.version == version)


def body_of(
    run: Workspace, entry: Forgotten, before: list[Memory], after: list[Memory], recall: dict[str, Any]
) -> dict[str, Any]:
    """What is certified of the memories; figures are of the run's own memory, the first."""
    own, was, is_now = recall["base"], recall[before[0].reference], recall[after[0].reference]
    return {
        "schema": SCHEMA,
        "run": run.config.name,
        "corpus": entry.corpus,
        "document": {"id": entry.document_id, "sha256": entry.digest},
        "how": entry.how,
        "before": {memory.reference: memory.artifact for memory in before},
        "after": {memory.reference: memory.artifact for memory in after},
        "recall": recall,
        "verdict": {
            "at_base_level": at_base_level(own["own"], is_now["own"]),
            "rule": RULE,
            "n": is_now["own"]["n"],
            "rest_kept": kept_share(was["rest"], is_now["rest"]),
            "others_kept": kept_share(was["others"], is_now["others"]),
        },
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }
