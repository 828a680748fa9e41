from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.store import Artifact
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.evaluation.comparison import corpora_of, pooled
from memo_ray.evaluation.report.side_by_side import listed
from memo_ray.rows import Chunk, Document, Question
from tests.unit.evaluation.conftest import Make
from tests.unit.evaluation.side_by_side import ASKED, FACTS, accuracy, executive, run


def test_systems_side_by_side_judged_with_the_papers_values(isles: Artifact, tmp_path: Path) -> None:
    compared = run(isles, tmp_path)
    assert accuracy(compared) == {"perfect_retrieval": 1.0, "bm25": 1.0, "no_context": 0.0, "in_context": 1.0}
    assert compared.table is not None and len(compared.answers) == 4 * 4 * 2 and not compared.rejects
    cells = {name: row["musique"] for name, row in compared.table.cells.items()}
    assert (cells["perfect_retrieval"].paper, cells["bm25"].paper, cells["in_context"].paper) == (62.83, 20.0, None)
    # The upper bound is never the best, though nothing beats it.
    assert [name for name, cell in cells.items() if cell.best] == ["bm25", "in_context"]
    assert cells["bm25"].retrieval_recall == 1.0 and cells["no_context"].retrieval_recall is None
    assert cells["bm25"].cost.input_tokens == 100 and cells["bm25"].cost.calls == 1
    (apart,) = [row for row in compared.table.differences["musique"] if {row.one, row.other} == {"bm25", "no_context"}]
    assert (apart.mean, apart.questions) == (1.0, 4) and apart.p == pytest.approx(2 / 16)
    assert {row.verdict for row in compared.answers} == {"right", "wrong"}


def test_without_a_judge_a_held_reference_counts(isles: Artifact, tmp_path: Path) -> None:
    compared = run(isles, tmp_path, judge=None)
    assert accuracy(compared)["bm25"] == 1.0 and {row.verdict for row in compared.answers} == {""}


def test_two_names_that_look_alike_as_folders_are_two_systems(isles: Artifact, tmp_path: Path) -> None:
    systems = [{"kind": "no_context", "name": "a b"}, {"kind": "bm25", "name": "a_b"}]
    assert accuracy(run(isles, tmp_path, systems=systems, seeds=[0])) == {"a b": 0.0, "a_b": 1.0}


def test_a_question_for_which_nothing_is_found_counts_in_the_recall_of_retrieval(make: Make, tmp_path: Path) -> None:
    documents = [Document("wall", "Wall", FACTS["wall"][1], "", "wall")]
    chunks = [Chunk("c", "wall", 0, "Wall", FACTS["wall"][1], 6, 0, 9, "")]
    asked = [(name, text) for name, text in (("q-wall", ASKED["wall"]), ("q-odd", "Zzyzx?"))]
    questions = [Question(name, text, ["Rolf Anstick"], 1, ["wall"]) for name, text in asked]
    tables: Any = {"documents": (documents, Document), "chunks": (chunks, Chunk), "questions": (questions, Question)}
    table = run(make("corpus", "musique", tables), tmp_path, seeds=[0], judge=None).table
    assert table is not None and table.cells["bm25"]["musique"].retrieval_recall == 0.5
    assert table.cells["no_context"]["musique"].retrieval_recall is None


def test_all_that_was_shown_counts_in_the_recall_of_retrieval(make: Make, tmp_path: Path) -> None:
    names = [f"d{number:02}" for number in range(12)]
    documents = [Document(name, name, f"Wall {name}.", "", name) for name in names]
    chunks = [Chunk(name, name, 0, name, f"Wall {name}.", 2, 0, 9, "") for name in names]
    questions = [Question("q", "Which wall?", ["x"], 1, names)]
    tables: Any = {"documents": (documents, Document), "chunks": (chunks, Chunk), "questions": (questions, Question)}
    table = run(make("corpus", "musique", tables), tmp_path, seeds=[0], judge=None).table
    assert table is not None and table.cells["perfect_retrieval"]["musique"].retrieval_recall == 1.0
    assert listed(names) == [*names[:9], "3 more"] and listed(names[:9]) == names[:9]


def test_two_corpora_asked_as_one(isles: Artifact, tmp_path: Path) -> None:
    (corpus, queries) = corpora_of({"a": isles}, None)[0]
    halves = [
        (replace(corpus, name=name, documents=corpus.documents[part], chunks=corpus.chunks[part]), queries[part])
        for name, part in (("a", slice(0, 2)), ("b", slice(2, 4)))
    ]
    whole, asked = pooled("musique", halves)
    assert (whole.name, whole.documents, whole.chunks) == ("musique", corpus.documents, corpus.chunks)
    assert asked == queries and whole.digest not in (corpus.digest, pooled("x", halves[:1])[0].digest)
    with pytest.raises(ConfigError, match=r"together: two corpora have a question q-wall"):
        pooled("musique", [halves[0], halves[0]])
    table = run(isles, tmp_path, together="whole", seeds=[0]).table
    assert table is not None and table.corpora == ["whole"]


def test_corpora_without_a_question_are_said_at_once(make: Make, tmp_path: Path) -> None:
    tables: Any = {"documents": ([], Document), "chunks": ([], Chunk), "questions": ([], Question)}
    with pytest.raises(ConfigError, match=r"there is no question to compare systems on; name a file in corpora\.NAME"):
        run(make("corpus", "musique", tables), tmp_path)


def test_an_endpoint_that_stalls_or_fails_for_one_question(isles: Artifact, tmp_path: Path) -> None:
    def sick(prompt: str) -> str | int | float:
        if ASKED["wall"] in prompt:
            return 2.0
        return 500 if ASKED["salt"] in prompt else executive(prompt)

    compared = run(isles, tmp_path, executive=sick, question_timeout_s=0.5, seeds=[0])
    assert {(row.row_id, row.reason) for row in compared.rejects} == {
        ("q-wall", "stalled"), ("q-salt", "generation_error"),
    }  # fmt: skip
    assert accuracy(compared)["bm25"] == 1.0
    assert compared.table is not None and compared.table.cells["bm25"]["musique"].failed == 2
    # The next try asks what is missing and nothing else.
    asked: list[str] = []

    def well(prompt: str) -> str:
        asked.append(prompt)
        return executive(prompt)

    again = run(isles, tmp_path, executive=well, seeds=[0])
    assert len(asked) == 4 * 2 and not again.rejects and len(again.answers) == 16


def test_no_answer_at_all_is_an_outage(isles: Artifact, tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"no system answered: endpoint http.* answered status 500"):
        run(isles, tmp_path, executive=lambda prompt: 500)


def test_a_price_table_makes_money_of_tokens(isles: Artifact, tmp_path: Path) -> None:
    prices = {"currency": "EUR", "models": {"qwen": {"input": 2.0, "output": 10.0}}}
    compared = run(isles, tmp_path, prices=prices)
    assert compared.table is not None
    assert compared.table.cells["bm25"]["musique"].cost.money == pytest.approx((100 * 2 + 10 * 10) / 1e6)


def test_agreement_with_people_is_in_the_facts(isles: Artifact, tmp_path: Path) -> None:
    labelled = tmp_path / "labels.jsonl"
    rows = [("x", "x", True), ("x", "y", False), ("x", "z", True)]
    labelled.write_text(
        "\n".join(json.dumps({"question": "Q", "references": [r], "answer": a, "label": label}) for r, a, label in rows)
    )
    compared = run(isles, tmp_path, labelled=str(labelled))
    assert compared.facts["judge"]["accuracy"] == pytest.approx(2 / 3)
    assert compared.facts["judge"]["called_wrong_wrongly"] == 1
    # Two answers to each of four questions are different, and three are labelled.
    assert compared.facts["judge"]["replies"] == 11 and compared.facts["judge"]["tokens"] == [1100, 110]


def test_at_most_so_many_questions(isles: Artifact) -> None:
    ((_, queries),) = corpora_of({"musique": isles}, 2)
    assert [query.question_id for query in queries] == ["q-wall", "q-ferry"]
    assert queries[0].evidence == ["wall"] and queries[0].kind == "one_hop"
