from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from memo_ray.config.comparison import SystemConfig
from memo_ray.config.loading import load_run
from memo_ray.config.protocol import ProtocolConfig
from memo_ray.config.training import TrainingConfig
from memo_ray.console import Console
from memo_ray.errors import ConfigError
from memo_ray.evaluation.experiments.experiment import gather, is_experiment, load_experiment, merged, names, write_rows
from memo_ray.evaluation.paper import BENCHMARKS, paper_value, rows
from memo_ray.evaluation.report.experiment_page import curves, pivot, render_experiment
from memo_ray.workspace import Workspace

NEEDS = {"table16": (ProtocolConfig, "kind"), "table20": (TrainingConfig, "lora")}
"""Experiments on what another part of the platform must know first."""
RUNS = {
    "table2": 6, "table3": 4, "table4": 12, "table5": 18, "table6": 4, "table7_8": 4, "table9": 14, "table12": 14,
    "table13": 6, "table16": 3, "table17": 6, "table20": 24, "figure3": 24, "figure4": 24, "figure5": 24,
    "appendix_k": 3, "growth": 3, "raw_documents": 4, "side_by_side": 2, "growth_laptop": 3,
}  # fmt: skip


def test_every_experiment_has_its_row_here() -> None:
    assert sorted(RUNS) == names()


@pytest.mark.parametrize("name", RUNS)
def test_every_run_of_every_experiment_is_a_valid_config(name: str) -> None:
    settings, field = NEEDS.get(name, (None, ""))
    if settings is not None and field not in settings.model_fields:
        pytest.skip(f"{settings.__name__} does not know {field} yet")
    experiment = load_experiment(name)
    assert len(experiment.runs) == RUNS[name] and experiment.title
    assert len({run.config.name for run in experiment.runs}) == len(experiment.runs)
    for run in experiment.runs:
        comparison = run.config.evaluation.comparison
        assert comparison is not None
        if name not in {"side_by_side", "growth_laptop"}:  # nothing of the paper's: no judge, and the demo's articles
            assert comparison.judge is not None
            assert all(corpus.benchmark is not None for corpus in run.config.corpora)


def test_what_a_cell_stands_for() -> None:
    by_label = {tuple(run.labels.values()): run.config for run in load_experiment("table3").runs}
    clean, noisy = by_label["0n", "musique"], by_label["1n", "musique"]
    assert clean.corpora[0].benchmark.noise == 0 and noisy.corpora[0].benchmark.noise == 1  # type: ignore[union-attr]
    assert clean.evaluation.comparison is not None and clean.evaluation.comparison.paper == "3/qwen/0n"
    assert [system.kind for system in clean.evaluation.comparison.systems] == ["dense", "hipporag", "memo"]
    assert clean.training.reflections_per_step == 256
    runs = {tuple(run.labels.values()): run.config for run in load_experiment("table2").runs}
    assert runs["gemini", "narrativeqa"].evaluation.comparison.seeds == (0,)  # type: ignore[union-attr]
    kinds = [system.kind for system in runs["qwen", "musique"].evaluation.comparison.systems]  # type: ignore[union-attr]
    assert kinds == ["perfect_retrieval", "bm25", "dense", "hipporag", "cartridge", "memo"]


def test_side_by_side_has_every_kind_of_system_and_the_demos_settings() -> None:
    demo = load_run("demo.yaml")
    kinds = {get_args(settings.model_fields["kind"].annotation)[0] for settings in get_args(get_args(SystemConfig)[0])}
    for run in load_experiment("side_by_side").runs:
        comparison = run.config.evaluation.comparison
        assert comparison is not None and {system.kind for system in comparison.systems} == kinds
        assert run.config.training == demo.training and run.config.serving.protocol == demo.serving.protocol
        generator = demo.synthesis.generator.model_copy(update={"max_model_len": 4096})
        assert run.config.synthesis == demo.synthesis.model_copy(update={"generator": generator})


def test_every_paper_row_that_is_asked_for_is_published() -> None:
    for name in RUNS:
        settings, field = NEEDS.get(name, (None, ""))
        if settings is not None and field not in settings.model_fields:
            continue
        for run in load_experiment(name).runs:
            comparison = run.config.evaluation.comparison
            assert comparison is not None
            for wanted in {comparison.paper, *(system.paper for system in comparison.systems)} - {None}:
                assert any(paper_value(str(wanted), row["system"], b) is not None for row in rows() for b in BENCHMARKS)


def test_merges_of_two_halves_stand_beside_the_papers_values_of_the_whole() -> None:
    for name in ("table6", "table12"):
        for run in load_experiment(name).runs:
            comparison = run.config.evaluation.comparison
            assert comparison is not None and comparison.paper is not None
            (asked,) = {comparison.together or corpus.name for corpus in run.config.corpora}
            assert paper_value(comparison.paper, "memo", asked) is not None


def test_each_executive_is_shown_what_its_own_context_holds() -> None:
    for name in ("table2", "table4", "table6", "table13"):
        for run in load_experiment(name).runs:
            comparison = run.config.evaluation.comparison
            assert comparison is not None
            expected = {"qwen": 32_768, "gemini": 1_048_576}[run.labels["executive"]]
            assert comparison.reader.context_tokens == expected


def test_overrides_reach_every_run() -> None:
    experiment = load_experiment("table13", ("training.base=embedded", "evaluation.comparison.questions=5"))
    assert {run.config.training.base for run in experiment.runs} == {"embedded"}
    assert {run.config.evaluation.comparison.questions for run in experiment.runs} == {5}  # type: ignore[union-attr]


def test_another_engine_replaces_the_whole_model() -> None:
    below = {"executive": {"engine": "vllm", "tensor_parallel_size": 2}, "a": {"b": 1}}
    assert merged(below, {"executive": {"engine": "openai", "model": "m"}, "a": {"c": 2}}) == {
        "executive": {"engine": "openai", "model": "m"},
        "a": {"b": 1, "c": 2},
    }


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("axes: {a: {x: {use: [nothing]}}}", "use: there is no fragment nothing"),
        ("use: [paper]", "axes: is required"),
        ("axis: {}", "unknown key axis"),
        ("axes: {a: {x: {training: {epochs: 0}}}}\nuse: [musique]", r"mine\.yaml x: training\.epochs: "),
        ("- a", "must be a mapping"),
        ("axes: {a: 1, a: 2}", "is not valid YAML .*stands twice"),
    ],
)
def test_a_wrong_file_is_named_with_its_mistake(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError, match=says):
        load_experiment(str(tmp_path / "mine.yaml"))


def test_an_experiment_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match=r"table99: cannot be read .*; experiments: appendix_k, .*table2"):
        load_experiment("table99")
    assert is_experiment("table99") and not is_experiment("table99.yaml")


def test_rows_are_gathered_and_missing_ones_are_said(tmp_path: Path) -> None:
    experiment = load_experiment("table13", (f"root={tmp_path}",))
    done = experiment.runs[1].config
    report = tmp_path / done.name / "report"
    report.mkdir(parents=True)
    row = {"system": "no_context", "corpus": "narrativeqa", "accuracy_mean": 0.5, "best": True}
    (report / "comparison.json").write_text(json.dumps({"systems": [row]}))
    found = list(gather(experiment))
    assert len(found) == 6
    assert found[1] == {
        "executive": "qwen", "benchmark": "narrativeqa", "system": "no_context", "corpus": "narrativeqa",
        "accuracy_mean": 0.5, "best": True,
    }  # fmt: skip
    assert "memo run has not finished table13-qwen-browsecomp_plus" in found[0]["missing"]
    table, page = write_rows(experiment).splitlines()
    lines = Path(table).read_text().splitlines()
    assert lines[0].startswith("executive,benchmark,missing,system") and len(lines) == 7
    html = Path(page).read_text()
    assert "<script" not in html and '<td class="best">50.00</td>' in html and html.count("has not finished") == 5
    assert f'href="{done.name}/report/comparison.html"' in html


def test_a_report_of_earlier_settings_is_not_among_the_rows(tmp_path: Path) -> None:
    experiment = load_experiment("table13", (f"root={tmp_path}",))
    with Workspace(experiment.runs[0].config, Console(quiet=True)) as run:
        run.keep("report/comparison.json", '{"systems": [{"system": "no_context", "corpus": "browsecomp_plus"}]}')
        with run.store.attempt("evaluation", "evaluation", "0" * 64, {}, {}):
            pass
        run.note("evaluation", "0" * 64)
        assert "missing" not in next(gather(experiment))
        # Other documents: the corpus is made anew, and the evaluation has not come to it so far.
        run.note("corpus-browsecomp_plus", "1" * 64)
        assert "has not finished table13-qwen-browsecomp_plus" in next(gather(experiment))["missing"]
        run.note("evaluation", "2" * 64)
        assert "missing" in next(gather(experiment))
    _, page = write_rows(experiment).splitlines()
    html = Path(page).read_text()
    assert html.count("has not finished") == 6 and "comparison.html" not in html


def result(system: str, corpus: str, accuracy: float, best: bool = False, **labels: str) -> dict[str, Any]:
    spread = {"accuracy_std": 0.01, "paper_accuracy": 0.4, "input_tokens": 100.0, "output_tokens": 10.0}
    return {**labels, "system": system, "corpus": corpus, "accuracy_mean": accuracy, "best": best, **spread}


def test_the_page_has_a_row_for_what_was_varied_and_a_curve_over_what_is_a_number() -> None:
    rows = [
        result(system, corpus, 0.5 - 0.1 * place, place == 0, noise=noise, benchmark=corpus)
        for noise in ("0n", "1n", "2n")
        for corpus in ("musique", "bcp")
        for place, system in enumerate(("memo", "bm25"))
    ]
    table = pivot(["noise", "benchmark"], rows)
    # The benchmark is the corpus, so it is no row of its own.
    assert table.heads == ["noise", "system"] and table.corpora == ["musique", "bcp"]
    assert [labels for labels, _ in table.rows][:3] == [["0n", "memo"], ["0n", "bm25"], ["1n", "memo"]]
    assert [[spot is not None and spot.best for spot in spots] for _, spots in table.rows] == [
        [True] * 2,
        [False] * 2,
    ] * 3
    drawn = curves(["noise", "benchmark"], rows)
    assert [chart.caption for chart in drawn] == ["Accuracy by noise on musique", "Accuracy by noise on bcp"]
    assert drawn[0].series == ["memo", "bm25"] and [x for x, _ in drawn[0].rows] == [0.0, 1.0, 2.0]


def test_of_one_system_the_best_run_is_in_bold() -> None:
    rows = [result("memo", "narrativeqa", share, True, merge=f"ties-{share}") for share in (0.3, 0.5)]
    table = pivot(["merge"], rows)
    assert [spot.best for _, (spot,) in table.rows if spot is not None] == [False, True]
    assert curves(["merge"], rows) == []


def test_a_figure_that_rests_on_few_questions_says_so() -> None:
    whole, few = (
        result("memo", "a", 0.5),
        result("cartridge", "a", 0.25) | {"questions": 4, "failed": 16, "unjudged": 0},
    )
    page = render_experiment("Title", [], [whole, few], {})
    assert page.count("<br><small>") == 1 and "of 4 questions; 16 failed" in page


def test_over_the_size_of_a_corpus_the_cost_of_a_question_is_drawn_too() -> None:
    rows = [result("memo", "musique", 0.5, True, size=size) for size in ("16x", "1x", "4x")]
    accuracy, tokens = curves(["size"], rows)
    assert [x for x, _ in tokens.rows] == [1.0, 4.0, 16.0] and tokens.rows[0][1] == [110.0]
    assert accuracy.series == ["memo"]


def test_a_step_left_out_is_put_beside_the_full_recipe(tmp_path: Path) -> None:
    experiment = load_experiment("table9", (f"root={tmp_path}",))
    kept = {("all", "musique"): 40, ("without-direct", "musique"): 30, ("without-entities", "narrativeqa"): 9}
    for run in experiment.runs:
        pairs = kept.get((run.labels["steps"], run.labels["benchmark"]))
        if pairs is not None:
            (tmp_path / run.config.name / "report").mkdir(parents=True)
            (tmp_path / run.config.name / "report" / "comparison.json").write_text('{"systems": [{"system": "memo"}]}')
            steps = {"indirect": {"kept": pairs}, "rephrase": {"kept": 5}}
            (tmp_path / run.config.name / "summary.json").write_text(json.dumps({"steps": steps}))
    ratios = [(row["benchmark"], row.get("data_ratio")) for row in gather(experiment) if "missing" not in row]
    assert ratios == [("musique", None), ("musique", 0.75), ("narrativeqa", None)]


def test_what_is_an_experiment(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("axes: {}")
    (tmp_path / "run.yaml").write_text("name: x\ncorpora: [{paths: [axes]}]")
    assert is_experiment("table2") and is_experiment(str(tmp_path / "mine.yaml"))
    assert not is_experiment(str(tmp_path / "run.yaml")) and not is_experiment("nowhere.yaml")


def test_the_papers_values() -> None:
    assert paper_value("2/gemini", "memo", "musique") == 60.20
    assert paper_value("12/qwen/ties-0.3", "memo", "narrativeqa") == 15.81
    assert paper_value("2/qwen", "no_context", "musique") is None
    # Published changes from 0N to 1N, added back.
    for system, changes in (("dense", (-6.22, -4.83)), ("hipporag", (-6.22, -5.16)), ("memo", (0.55, -1.77))):
        for benchmark, change in zip(("browsecomp_plus", "musique"), changes, strict=True):
            clean, noisy = (paper_value(f"3/qwen/{noise}", system, benchmark) for noise in ("0n", "1n"))
            assert clean is not None and noisy is not None and noisy - clean == pytest.approx(change, abs=0.006)
