from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memo_ray.artifacts.store import Artifact
from memo_ray.config.comparison import ComparisonConfig
from memo_ray.config.models import OpenAIModel
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.errors import ConfigError, GenerationError
from memo_ray.evaluation.comparison import Compared, compare, corpora_of, pooled
from memo_ray.evaluation.report.exports import as_csv, as_json, as_latex
from memo_ray.evaluation.report.side_by_side import browse, by_kind, listed, losses, write_comparison
from memo_ray.evaluation.systems.opening import Models
from memo_ray.models.openai import OpenAIChatModel
from memo_ray.rows import Chunk, Document, Question
from tests.unit.evaluation.conftest import HOSTILE, Make
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


@pytest.fixture
def isles(make: Make) -> Artifact:
    documents = [Document(name, name.title(), text, "", name) for name, (_, text) in FACTS.items()]
    chunks = [Chunk(row.document_id, row.document_id, 0, row.title, row.text, 6, 0, 9, "") for row in documents]
    questions = [Question(f"q-{name}", text, [FACTS[name][0]], 1, [name]) for name, text in ASKED.items()]
    tables: Any = {"documents": (documents, Document), "chunks": (chunks, Chunk), "questions": (questions, Question)}
    return make("corpus", "musique", tables)


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
    **settings: Any,
) -> Compared:
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
        return compare(config, models, corpora_of({"musique": isles}, None), folder, lambda *_: None)


def accuracy(compared: Compared) -> dict[str, float]:
    assert compared.table is not None
    return {
        name: cells["musique"].figures["accuracy"].mean
        for name, cells in compared.table.cells.items()
        if "accuracy" in cells["musique"].figures
    }


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


def test_a_judge_that_answers_nonsense_counts_as_nothing(isles: Artifact, tmp_path: Path) -> None:
    def nonsense(prompt: str) -> str:
        return "looks fine to me" if ASKED["wall"] in prompt or "cannot be used" in prompt else judge(prompt)

    compared = run(isles, tmp_path, judge=nonsense)
    assert compared.table is not None
    assert compared.table.cells["no_context"]["musique"].unjudged == 2
    assert accuracy(compared)["bm25"] == 1.0  # of three questions, not of four
    assert compared.table.cells["bm25"]["musique"].figures["accuracy"].questions == 3
    rejects = [row for row in compared.rejects if row.reason == "unjudged"]
    assert len(rejects) == 4 * 2 and "not valid JSON" in rejects[0].detail


def test_what_was_not_judged_still_has_the_scores_that_need_no_judge(isles: Artifact, tmp_path: Path) -> None:
    def shy(prompt: str) -> str:
        return "no" if ASKED["wall"] in prompt or "cannot be used" in prompt else judge(prompt)

    table = run(isles, tmp_path, judge=shy).table
    assert table is not None
    figures = table.cells["bm25"]["musique"].figures
    assert {name: figure.questions for name, figure in figures.items()} == {
        "accuracy": 3, "token_f1": 4, "exact_match": 4, "contained": 4,
    }  # fmt: skip


def test_a_judge_that_never_replies_is_an_outage_and_not_a_result(isles: Artifact, tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(prompt: str) -> str:
        asked.append(prompt)
        return executive(prompt)

    with pytest.raises(GenerationError, match=r"comparison\.judge: judged nothing: endpoint .* answered status 503"):
        run(isles, tmp_path, executive=counted, judge=lambda prompt: 503)
    before = len(asked)
    assert accuracy(run(isles, tmp_path, executive=counted))["bm25"] == 1.0 and len(asked) == before


def test_verdicts_are_kept_as_answers_are(isles: Artifact, tmp_path: Path) -> None:
    asked: list[str] = []

    def counted(prompt: str) -> str:
        asked.append(prompt)
        return judge(prompt)

    first = run(isles, tmp_path, judge=counted)
    before = len(asked)
    again = run(isles, tmp_path, judge=counted)
    assert before and len(asked) == before and again.answers == first.answers


def test_half_a_surrogate_pair_in_a_verdict_is_no_crash(isles: Artifact, tmp_path: Path) -> None:
    compared = run(isles, tmp_path, judge=lambda prompt: '{"reason": "\\ud800x\ud800", "score": 1}', seeds=[0])
    assert {row.reason for row in compared.answers} == {"x?"}


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


def test_exports_hold_the_same_figures(isles: Artifact, tmp_path: Path) -> None:
    table = run(isles, tmp_path).table
    assert table is not None
    rows = list(csv.DictReader(io.StringIO(as_csv(table))))
    assert [(row["system"], float(row["accuracy_mean"]), row["paper_accuracy"]) for row in rows[:2]] == [
        ("perfect_retrieval", 1.0, "0.6283"), ("bm25", 1.0, "0.2"),
    ]  # fmt: skip
    assert (rows[0]["questions"], rows[0]["seeds"], rows[0]["answers"]) == ("4", "2", "8")
    assert json.loads(as_json(table))["systems"][1]["accuracy_mean"] == 1.0
    latex = as_latex(table)
    assert r"perfect\_retrieval & 100.00 $\pm$ 0.00 & 62.83 \\" in latex
    assert r"bm25 & \textbf{100.00 $\pm$ 0.00} & 20.00 \\" in latex
    assert latex.count(r"\\") == 2 + 4


def test_the_page_is_complete_and_escapes_what_models_say(isles: Artifact, tmp_path: Path) -> None:
    compared = run(isles, tmp_path, executive=lambda prompt: HOSTILE)
    assert compared.table is not None
    facts = {**compared.facts, "private": "publish no text"}
    page = write_comparison(tmp_path / "report", "small", compared.table, compared.answers, compared.rejects, facts)
    html = page.read_text()
    assert "<script" not in html and "{{ 7 * 7 }}" in html and "\u202e" not in html
    assert "publish no text" in html and "62.83" in html
    assert not re.search(r'(?:src|href)="(?!#|comparison)', html)
    assert {path.name for path in page.parent.iterdir()} == {
        "comparison.html", "comparison.csv", "comparison.json", "comparison.tex",
    }  # fmt: skip


def test_the_page_shows_transcripts_and_what_lost_each_answer(isles: Artifact, tmp_path: Path) -> None:
    def speaks(prompt: str) -> str:
        if '"justification"' in prompt:
            return json.dumps({"justification": "so it is", "evidence": [], "answer": "Gildwick"})
        if '"decision"' in prompt:
            return json.dumps({"decision": "answer", "questions": []})
        return json.dumps({"questions": [ASKED["wall"]]})

    memo = {"kind": "memo", "protocol": {"kind": "multi_turn"}}
    with endpoint(lambda prompt: FACTS["wall"][1]) as memory:
        memo["memory"] = {"engine": "openai", "base_url": memory, "model": "memory"}
        systems = [memo, {"kind": "bm25", "top_k": 1}]
        compared = run(isles, tmp_path, executive=speaks, systems=systems, judge=None, seeds=[0])
    assert {(row.system, row.kind, row.lost) for row in compared.answers} >= {
        ("memo", "one_hop", "answering"), ("bm25", "one_hop", "reading"),
    }  # fmt: skip
    (asked,) = [row for row in compared.answers if (row.system, row.question_id) == ("memo", "q-wall")]
    assert asked.lost == "synthesis" and asked.transcript
    counted = losses(compared.answers)["musique"]
    assert counted.columns == ["reading", "answering", "synthesis"]
    assert counted.rows == {"memo": [None, 3, 1], "bm25": [4, None, None]}
    assert compared.table is not None
    page = write_comparison(tmp_path / "report", "small", compared.table, compared.answers, [], compared.facts)
    html = page.read_text()
    assert "Final synthesis" in html and "lost: synthesis" in html and 'id="lost"' in html


def test_accuracy_by_kind_of_question(isles: Artifact, tmp_path: Path) -> None:
    rows = run(isles, tmp_path).answers
    assert by_kind(rows) == {}  # all of one kind
    mixed = [replace(row, kind="two_hop") if row.question_id == "q-wall" else row for row in rows]
    counted = by_kind(mixed)["musique"]
    assert counted.columns == ["one_hop", "two_hop"] and counted.notes == ["3 questions", "1 questions"]
    assert counted.rows["bm25"] == [1.0, 1.0] and counted.rows["no_context"] == [0.0, 0.0]


def test_questions_that_set_systems_apart_are_browsed_first(isles: Artifact, tmp_path: Path) -> None:
    def half(prompt: str) -> str:
        return executive(prompt) if ASKED["ferry"] in prompt else "no"

    shown = browse(run(isles, tmp_path, executive=half).answers)["musique"]
    assert len(shown) == 4 and shown[0].question == ASKED["ferry"]
    assert [(voice.system, voice.right, voice.judged) for voice in shown[0].voices][2] == ("no_context", 0, 2)


def test_at_most_so_many_questions(isles: Artifact) -> None:
    ((_, queries),) = corpora_of({"musique": isles}, 2)
    assert [query.question_id for query in queries] == ["q-wall", "q-ferry"]
    assert queries[0].evidence == ["wall"] and queries[0].kind == "one_hop"
