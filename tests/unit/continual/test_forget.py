from collections.abc import Callable, Mapping, Sequence

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from memo_ray.artifacts.registry import Entry, Lineage, Registry
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.merging import Linear, MergingConfig
from memo_ray.continual import forget as module
from memo_ray.continual.finding import find
from memo_ray.continual.forget import begun, body_of, chosen_epoch, forget, version_of, without
from memo_ray.continual.forgotten import FILE, Forgotten
from memo_ray.continual.probes import RULE, recall
from memo_ray.continual.registering import found, register
from memo_ray.errors import ConfigError, StoreError
from memo_ray.evaluation.asked import Asked
from memo_ray.evaluation.ray_evaluation import Asking
from memo_ray.results import stored_results
from memo_ray.rows import Answer
from memo_ray.workspace import Workspace

KEY = Ed25519PrivateKey.generate()
ENTRY = Forgotten(corpus="law", document_id="bell", digest="a" * 64, how="retrain")


def with_wiki(run: Workspace, number: int = 1) -> Workspace:
    """The run with further corpora, none of which is finished."""
    corpora = tuple(CorpusConfig(name=f"wiki-{n}", paths=("w",)) for n in range(number))
    merging = MergingConfig(recipes=(Linear(method="linear"),))
    config = run.config.model_copy(update={"corpora": (*run.config.corpora, *corpora), "merging": merging})
    return Workspace(config, run.console)


def test_it_begins_with_what_knows_the_document_and_where_it_is(run: Workspace) -> None:
    entry = begun(run, find(run, "bell"), "retrain")
    assert entry.before == ("isles@1",)
    assert entry.fingerprints == {"corpus-law": "1" * 64, "synthesis-law": "1" * 64}
    assert Registry(run.place).get("isles").path.endswith("epoch-2")


@pytest.mark.parametrize(
    ("wanted", "how", "told"),
    [("bell", "subtract", "--how subtract: the run has one corpus"), ("bel", "retrain", "no such document")],
)
def test_what_cannot_be_done_changes_nothing(run: Workspace, wanted: str, how: str, told: str) -> None:
    before = run.place.get("run.yaml")
    with pytest.raises(ConfigError, match=told) as error:
        forget(run, wanted, None, how, KEY)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert run.place.get(FILE) is None and run.place.get("run.yaml") == before


def test_it_begins_with_the_epoch_that_stands_before_an_evaluation_has_said_it_again(run: Workspace) -> None:
    """As after a first document, whose forgetting chose an epoch that is not the last."""
    register(run, stored_results(run), done="forgot oars", epoch="epoch-1")
    assert begun(run, find(run, "bell"), "retrain").before == ("isles@1",)
    assert [memory.reference for memory in Registry(run.place).versions("isles")] == ["isles@1"]


def test_a_run_without_a_memory_is_refused(run: Workspace) -> None:
    run.unnote(["training-law"])
    with pytest.raises(ConfigError, match="has no finished memory"):
        forget(run, "bell", None, "retrain", KEY)
    assert run.place.get(FILE) is None


def test_an_artefact_that_was_removed_is_named(run: Workspace) -> None:
    entry = begun(run, find(run, "bell"), "retrain")
    run.store.place.remove("synthesis-law")
    with pytest.raises(StoreError, match="the artefact synthesis-law that holds bell is gone"):
        forget(run, "bell", None, entry.how, KEY)


def test_the_config_leaves_out_the_document_or_its_corpus(run: Workspace) -> None:
    grown = with_wiki(run, 2)
    assert without(grown, ENTRY).corpora[0].forget == ("bell", f"sha256:{'a' * 64}")
    subtracted = without(grown, ENTRY.model_copy(update={"how": "subtract"}))
    assert [corpus.name for corpus in subtracted.corpora] == ["wiki-0", "wiki-1"]
    assert subtracted.merging == grown.config.merging
    alone = without(with_wiki(run), ENTRY.model_copy(update={"how": "subtract"}))
    assert [corpus.name for corpus in alone.corpora] == ["wiki-0"] and alone.merging is None


def test_the_verdict_is_about_the_runs_own_memory(run: Workspace) -> None:
    (before,) = register(run, stored_results(run), epoch="epoch-1")
    (after,) = register(run, stored_results(run), done="forgot bell", epoch="epoch-2")
    none = recall(0, 0)
    figures = {
        "base": {"own": recall(0, 10), "shared": none, "rest": recall(0, 20), "others": none},
        before.reference: {"own": recall(9, 10), "shared": none, "rest": recall(20, 20), "others": none},
        after.reference: {"own": recall(1, 10), "shared": none, "rest": recall(19, 20), "others": none},
    }
    body = body_of(run, ENTRY, [before], [after], figures)
    verdict = body["verdict"]
    assert verdict == {"at_base_level": None, "rule": RULE, "n": 10, "rest_kept": 0.95, "others_kept": None}
    assert body["before"] == {"isles@1": before.artifact} and list(body["after"]) == ["isles@2"]
    Registry(run.place).withdraw("isles", 1)
    assert version_of(Registry(run.place), "isles@1").withdrawn


def answering(best: str, asked_of: list[str]) -> Callable[..., Asking]:
    """In place of an engine: the epoch `best` recalls every question, the others none."""

    def ask(engine: object, systems: Mapping[str, object], asked: Sequence[Asked], max_tokens: int) -> Asking:
        asked_of.extend(systems)
        rows = [
            Answer(
                row.question_id, name, row.kind, row.question, row.references, "", name == best, 0.0, False, 0.1, 1, 1
            )
            for name in systems
            for row in asked
        ]
        return Asking(rows)

    return ask


def test_the_epoch_of_an_only_memory_is_the_one_that_recalls_most(
    run: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_of: list[str] = []
    monkeypatch.setattr(module, "ask_alone", answering("epoch-1", asked_of))
    registry, results = Registry(run.place), stored_results(run)
    assert chosen_epoch(run, registry, results, None) == "epoch-1"  # type: ignore[arg-type]
    assert asked_of == ["epoch-1", "epoch-2"]


def test_a_memory_that_is_left_of_a_merge_keeps_its_epoch(run: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    asked_of: list[str] = []
    monkeypatch.setattr(module, "ask_alone", answering("epoch-2", asked_of))
    registry, results = Registry(run.place), stored_results(run)
    (values,) = found(run, results, "epoch-1")
    lineage = Lineage(done="trained", parent="")
    registry.add(Entry.model_validate(values | {"name": "law", "lineage": lineage}))
    assert chosen_epoch(run, registry, results, None) == "epoch-1"  # type: ignore[arg-type]
    assert asked_of == []
