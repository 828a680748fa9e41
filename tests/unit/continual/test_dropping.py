from memo_ray.artifacts.store import Artifact
from memo_ray.continual.dropping import drop, write_without
from memo_ray.rows import LedgerEntry, Reflection, Reject
from memo_ray.workspace import Workspace


def artefact(run: Workspace, name: str) -> Artifact:
    found = run.finished(name)
    assert found is not None
    return found


def test_children_go_with_their_parents_also_with_lost_ones(run: Workspace) -> None:
    dropped = drop("bell", artefact(run, "corpus-law"), artefact(run, "synthesis-law"))
    assert {row.reflection_id for row in dropped.own} == {"bell", "bell-again"}
    assert {row.reflection_id for row in dropped.shared} == {"both", "child", "orphan"}
    assert {row.reflection_id for row in dropped.kept} == {"salt", "salt-2", "salt-again"}


def test_no_table_of_the_new_synthesis_holds_the_document(run: Workspace) -> None:
    corpus, synthesis = artefact(run, "corpus-law"), artefact(run, "synthesis-law")
    with run.store.attempt("synthesis-law", "synthesis", "2" * 64, {}, {}) as attempt:
        write_without("bell", corpus, synthesis, attempt)
    made = run.store.find("synthesis-law", "2" * 64)
    assert made is not None
    reflections, ledger = made.rows("reflections", Reflection), made.rows("ledger", LedgerEntry)
    assert [row.reflection_id for row in reflections] == [row.reflection_id for row in ledger]
    assert not any("bell" in entry.document_ids for entry in ledger)
    # A connection's reject names one chunk and quotes others, so all of them go.
    assert [row.row_id for row in made.rows("rejects", Reject)] == ["r2"]
    assert (made.record.facts["train"], made.record.facts["held_out"]) == (2, 1)
    counts = made.record.facts["by_step"]["direct"]
    assert (counts["made"], counts["kept"], counts["lost"]) == (5, 2, {"ambiguous": 2, "forgotten": 1})
    assert made.record.facts["forgot"] == {"from": synthesis.record.digest, "reflections": 5}
