"""The page: complete in itself, well formed, escaped, and saying what the summary says."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

from memo_ray.evaluation.report.highlights import charts, cost_of_merging, headline, loss_points
from memo_ray.evaluation.report.report import render_report, write_answers, write_report
from memo_ray.evaluation.report.tables import documents, figures, questions
from memo_ray.evaluation.summary import build_summary
from memo_ray.rows import Answer, Document, Reflection, SweepRow
from tests.unit.evaluation.conftest import HOSTILE, SWEEP, Make, SmallRun

VOID = {"meta", "br", "link", "img", "input", "hr"}
CONFIG = {"name": "small", "corpora": [{"paths": ["<docs>"]}]}


class Page(HTMLParser):
    """Text, tags, ids and addresses of a page; fails on a tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.addresses += [values[name] for name in ("href", "src", "xlink:href", "action") if name in values]
        assert not [name for name in values if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def render(run: SmallRun) -> str:
    return render_report(run.summary(), run.artefacts, run.answers, run.transcripts, CONFIG)


def test_page_is_well_formed_and_loads_nothing(small_run: SmallRun) -> None:
    html = render(small_run)
    page = Page(html)
    assert len(page.ids) == len(set(page.ids))
    assert all(address.startswith("#") and address[1:] in page.ids for address in page.addresses)
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "img", "form"}
    assert not re.search(r"https?://|@import|url\((?!#)", html)
    assert "Content-Security-Policy" in html


def test_texts_of_documents_and_models_are_only_text(small_run: SmallRun) -> None:
    html = render(small_run)
    assert "<script>" not in html
    assert "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt; &amp; \ufffdgnirts\ufffd {{ 7 * 7 }}" in html
    assert "\u202e" not in html
    assert "\x07" not in html
    assert "&lt;docs&gt;" in html


def test_page_says_what_the_summary_says(small_run: SmallRun) -> None:
    text = Page(render(small_run)).text
    for part in (
        "Asked alone, the memory recalls 100% of the questions it was trained on (the base model: 0%), "
        "50% of trained questions put in other words (0%)",
        "Through the protocol, 1 of 1 questions came out right.",
        "2 ungrounded, 1 duplicate ; replies: 4 unparsed",
        "3 model folders",
        "Measured costs of the artefacts by stage stage input tokens output tokens synthesis 900 80 evaluation 100 –",
        "Stage 1: grounding",
        "It was red granite",
        "What was asked for and not kept: 3 ungrounded, 1 generation error",
        "Which year is number 0?",
    ):
        assert part.replace(" ;", ";") in text.replace(" ;", ";"), part


def test_same_run_same_page(small_run: SmallRun) -> None:
    assert render(small_run) == render(small_run)


def test_a_run_of_nothing_has_a_page(make: Make) -> None:
    made = [make("corpus", "isles", {}, seconds=1.0)]
    summary = build_summary("bare", made, [], {}, {})
    page = Page(render_report(summary, [], [], [], {}))
    assert "No system was asked anything yet." in page.text
    assert "Protocol" not in page.text


def test_best_of_a_column_is_marked(small_run: SmallRun) -> None:
    base, memory = figures(small_run.summary(), "recall")
    assert [cell.best for cell in base.cells] == [False] * 4
    assert [cell.best for cell in memory.cells] == [True, True, False, False]


def test_recall_by_document_goes_through_the_ledger(small_run: SmallRun) -> None:
    # Of r0 to r7, even ones came from both documents; epoch 1 knows r0 and r1.
    small_run.systems = {"base": "base", "memory": "epoch-1"}
    systems, rows, total = documents(small_run.summary(), small_run.artefacts, small_run.answers)
    assert systems == ["base", "memory"]
    assert total == 2
    found = {row.label: ([cell.value for cell in row.cells], row.note) for row in rows}
    assert found == {"Harbour": ([0, 2 / 8], "8"), HOSTILE: ([0, 1 / 4], "4")}


def test_a_merge_that_is_the_memory_is_shown_once(small_run: SmallRun) -> None:
    small_run.systems |= {"ties": "epoch-3"}
    asked = questions(small_run.summary(), small_run.answers)
    assert [said.system for said in asked["one_hop"][0].said] == ["base", "memory"]


def test_sweep_is_shown_best_first(small_run: SmallRun, make: Make) -> None:
    made = make("merging", "", {"sweep": (SWEEP, SweepRow)}, {"best": "ties-0.3"}, seconds=4.0)
    small_run.artefacts.append(made)
    text = Page(render(small_run)).text
    assert "Best: ties-0.3 ." in text
    assert re.search(r"ties-0.3 best ties density 0.3 0.75 isles 1, other 0.5 0.80 14 1.50 yes", text)
    assert text.index("ties-0.3 best") < text.index("linear linear – 0.25")


def test_loss_points_are_steps_or_means_of_many() -> None:
    assert loss_points({"loss_by_step": [2.0, 1.0]}) == [(1, 2.0), (2, 1.0)]
    assert loss_points({}) == []
    many = loss_points({"loss_by_step": [float(step) for step in range(1, 302)]})
    assert many[:2] == [(3, 2.0), (6, 5.0)]
    assert many[-1] == (301, 301.0)


def test_charts_need_two_points(small_run: SmallRun) -> None:
    summary = small_run.summary()
    assert [chart.caption for chart in charts(summary)] == [
        "Recall by epoch of training: memory",
        "Training loss over answer tokens, by optimiser step",
    ]
    summary["epochs"] = {"memory": {"trained": {"3": 1.0}}}
    summary["training"] = {"memories": {"isles": {"loss_by_step": [1.0]}}}
    assert charts(summary) == []


def test_merges_are_drawn_against_what_retraining_would_have_cost() -> None:
    rows = [
        {"recipe_id": "ties-d0.5", "method": "ties", "recall": 0.5, "merge_seconds": 2.0},
        {"recipe_id": "ties-d0.3", "method": "ties", "recall": 0.4, "merge_seconds": 3.0},
        {"recipe_id": "dare-linear-d0.5", "method": "dare_linear", "recall": 0.2, "merge_seconds": 1.0},
    ]
    memories = {name: {"training_seconds": seconds} for name, seconds in (("a", 100.0), ("b", 50.0), ("c", 30.0))}
    summary = {"training": {"memories": memories}, "merging": {"table": rows}}
    (chart,) = cost_of_merging(summary)
    # 100, then 100 + 50, then 100 + 50 + 30.
    assert "3 corpora" in chart.caption and chart.caption.endswith("would have taken 430 s")
    assert chart.series == ["ties", "dare linear"]
    assert chart.rows == [(181.0, [None, 0.2]), (182.0, [0.5, None]), (183.0, [0.4, None])]
    assert "retraining" in chart.svg
    assert cost_of_merging(summary | {"merging": {}}) == []


def test_merges_stand_beside_retraining_and_routing_that_were_measured() -> None:
    rows = [
        {"recipe_id": "linear", "method": "linear", "recall": 0.4, "merge_seconds": 2.0},
        {"recipe_id": "ties-d0.5", "method": "ties", "recall": 0.5, "merge_seconds": 3.0},
    ]
    ways = {"union": (0.9, 270.0), "routed-all": (0.8, 160.0), "memory-a": (0.45, 105.0),
            "linear": (0.4, 162.0), "ties-d0.5": (0.5, 163.0)}  # fmt: skip
    memories = {name: {"training_seconds": seconds} for name, seconds in (("a", 100.0), ("b", 50.0), ("union", 108.0))}
    summary = {
        "training": {"memories": memories},
        "merging": {
            "table": rows,
            "ways": [{"way": way, "recall": recall, "seconds": cost} for way, (recall, cost) in ways.items()],
        },
    }
    (chart,) = cost_of_merging(summary)
    assert chart.caption.endswith("the cost of 2 corpora that arrive one after the other")
    assert chart.series == ["linear", "ties", "union, retrained", "routed, to all"]
    assert chart.rows == [
        (160.0, [None, None, None, 0.8]),
        (162.0, [0.4, None, None, None]),
        (163.0, [None, 0.5, None, None]),
        (270.0, [None, None, 0.9, None]),
    ]
    assert "union, retrained" in chart.svg and ">retraining<" not in chart.svg


def test_headline_names_the_last_system_without_a_memory(small_run: SmallRun) -> None:
    small_run.systems = {"base": "base"}
    assert headline(small_run.summary()).startswith("Asked alone, base recalls 0% of the questions it was trained on")


def test_files_beside_the_page(small_run: SmallRun, tmp_path: Path) -> None:
    run = small_run
    page = write_report(tmp_path, run.summary(), run.artefacts, run.answers, run.transcripts, CONFIG)
    links = [address for address in Page(page.read_text()).addresses if not address.startswith("#")]
    assert links == ["report/answers.csv", "report/tables.json"]
    rows = list(csv.DictReader((tmp_path / links[0]).open(newline="")))
    assert len(rows) == len(run.answers)
    assert rows[0]["question"] == run.answers[0].question
    tables = json.loads((tmp_path / links[1]).read_text())
    assert tables["recall"] == run.summary()["recall"]
    assert {row["document"] for row in tables["documents"]} == {"Harbour", HOSTILE}


def test_no_cell_is_a_formula(tmp_path: Path) -> None:
    row = Answer("=1+1", "base", "one_hop", "@SUM(A1)", ["-1"], "+1", False, 0.0, False, -0.5, 1, 1)
    write_answers(tmp_path / "answers.csv", [row])
    (cells,) = csv.DictReader((tmp_path / "answers.csv").open(newline=""))
    assert cells["question_id"] == "'=1+1"
    assert (cells["question"], cells["references"], cells["answer"]) == ("'@SUM(A1)", "'-1", "'+1")
    assert cells["seconds"] == "-0.5"


def test_corpora_and_reflections_are_shown_before_anything_was_asked(make: Make) -> None:
    sizes = {"groups": 2, "min": 2, "median": 2.5, "mean": 2.5, "max": 3, "chunks_in_no_group": 1}
    lengths = {"min": 90, "median": 300, "p90": 700, "max": 700, "histogram": {"<=512": 4, "<=1024": 2}}
    by_step = {
        "consolidation": {
            "prompts": 3, "checks": 1, "made": 5, "kept": 3, "input_tokens": 1000, "output_tokens": 234,
            "failed": {}, "lost": {"duplicate": 2}, "kinds": {"entity": 2, "event_sequence": 1},
        }
    }  # fmt: skip
    facts = {"by_step": by_step, "train": 3, "held_out": 0, "with_a_span": 2, "left_without": {"consolidation": 0.25}}
    made = [
        make(
            "corpus",
            "isles",
            {"documents": ([], Document)},
            {"chunks": 6, "chunk_tokens": lengths, "groups_by_kind": {"discovered": sizes}},
        ),
        make("synthesis", "isles", {"reflections": ([], Reflection)}, facts),
    ]
    summary = build_summary("half", made, [], {}, {})
    summary["synthesis"]["isles"]["data_ratio"] = 0.195
    page = Page(render_report(summary, made, [], [], {}))
    for part in (
        "consolidation 4 1,234 0 5 3 2 2 entity, 1 event sequence 2 duplicate",
        "isles 3 0 2 – 0.20",
        "isles 0.25",
        "isles 6 90 300 700 700 4 2",
        "isles discovered 2 2 2.50 2.50 3 1",
    ):
        assert part in page.text, part
    assert "recall" not in page.ids and page.addresses[0] == "#pipeline"
