"""What is to come, against a recipe that was really walked through with a scripted generator."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from memo_ray import cli
from memo_ray.config.models import OpenAIModel, Prices, VllmModel
from memo_ray.config.synthesis import Connections, HeldOut, SynthesisConfig
from memo_ray.models.chat import ChatReply, ChatRequest
from memo_ray.models.tokens import estimated_tokens
from memo_ray.planning.plan import Rates, make_plan, read_step, size_of
from memo_ray.planning.ratios import READING_STEPS, measured, stated
from memo_ray.rows import Chunk, Group
from memo_ray.synthesis import assembly
from memo_ray.synthesis.candidates import proposals
from memo_ray.synthesis.pairs import Source
from memo_ray.synthesis.recipe import Unit, UnitResult, connect, synthesise_unit
from memo_ray.synthesis.settings import StepSettings
from tests.unit.synthesis.conftest import Scripted, make_chunk
from tests.unit.synthesis.test_recipe import chunk_reply

CONFIG = SynthesisConfig(
    min_pairs_to_consolidate=2, held_out=HeldOut(share=0.5), connections=Connections(batch_size=3), max_rewrites=1
)


def chunks_of(count: int) -> list[Chunk]:
    return [make_chunk(f"Rolf Anstick built wall {n} of Esk. " * 20, f"d{n}") for n in range(count)]


def grouped(chunks: list[Chunk], size: int = 3) -> list[Group]:
    ids = [chunk.chunk_id for chunk in chunks]
    return [Group(f"g{at}", "document", ids[at : at + size]) for at in range(0, len(ids), size)]


def reply(request: Any) -> Any:
    if "converging_clues" in str(request.schema):
        return {"pairs": []}
    return chunk_reply(request)


class Counting(Scripted):
    """Says how many tokens its prompts have, by another vocabulary than the plan's estimate."""

    async def chat(self, request: ChatRequest) -> ChatReply:
        shown = sum(estimated_tokens(message["content"]) for message in request.messages)
        return replace(await super().chat(request), input_tokens=round(1.3 * shown))


def walked(chunks: list[Chunk], groups: list[Group]) -> tuple[dict[str, Any], dict[str, int]]:
    """The facts and costs of a synthesis of these chunks, as the stage would write them."""
    settings, model = StepSettings.load(CONFIG), Counting(reply)

    async def run() -> list[UnitResult]:
        made = [
            await synthesise_unit(Unit(c.chunk_id, [Source(c)], held_out=1), model, settings) for c in chunks
        ]  # fmt: skip
        offered = {c.chunk_id: [p for p in r.pairs if p.split == "train"] for c, r in zip(chunks, made, strict=True)}
        for candidate in proposals(groups, offered, CONFIG.connections, 3):
            made.append(await connect(candidate, (), model, settings))
        return made

    results = asyncio.run(run())
    facts = assembly.assemble(results, CONFIG).facts
    return {**facts, "candidates": len(results) - len(chunks)}, assembly.total_cost(results)


def test_a_measured_run_predicts_prompts_within_10_and_tokens_within_25_percent():
    small, large = chunks_of(6), chunks_of(30)
    facts, _ = walked(small, grouped(small))
    settings = StepSettings.load(CONFIG)
    read = {step: read_step(step, small, settings, stated(CONFIG)).input_tokens for step in READING_STEPS}
    ratios = measured(facts, size_of(small, settings), CONFIG, read, "measured")
    predicted = make_plan("c", large, grouped(large), CONFIG, ratios)
    real, cost = walked(large, grouped(large))
    asked = {step: count["prompts"] + count["checks"] for step, count in real["by_step"].items()}
    assert predicted.prompts == pytest.approx(sum(asked.values()), rel=0.1)
    told = {step.step: step.prompts for step in predicted.steps}
    assert (told["direct"], told["indirect"]) == (asked["direct"], asked["indirect"]) == (30, 30)
    for column in ("input_tokens", "output_tokens"):
        assert predicted.total(column) == pytest.approx(cost[column], rel=0.25)


def test_step_1_is_exact_and_later_steps_say_that_they_are_not():
    chunks = chunks_of(4)
    found = make_plan("c", chunks, grouped(chunks), CONFIG, stated(CONFIG))
    assert {step.step for step in found.steps if step.exact} == {"direct", "indirect"}
    direct, indirect = found.steps[:2]
    assert direct.prompts == indirect.prompts == 4 and direct.cached_tokens == 0 < indirect.cached_tokens
    assert direct.input_tokens > sum(len(chunk.text) / 4 for chunk in chunks)


def test_a_step_that_is_left_out_costs_nothing():
    chunks = chunks_of(4)
    for without in ("indirect", "consolidation", "verification", "entities", "connections"):
        config = CONFIG.model_copy(update={"without": (without,)})
        steps = {step.step for step in make_plan("c", chunks, grouped(chunks), config, stated(config)).steps}
        assert without not in steps and "direct" in steps


def test_all_pairs_grow_with_the_square_of_a_group_and_a_cap_ends_that():
    def connections(size: int, **changes: Any) -> int:
        chunks = chunks_of(size)
        config = SynthesisConfig(connections=Connections(**changes))
        steps = make_plan("c", chunks, grouped(chunks, size), config, stated(config)).steps
        return next(step.prompts for step in steps if step.step == "connections")

    assert connections(2) == 25 * 2
    assert connections(40) / connections(20) == pytest.approx(4, rel=0.1)
    assert connections(40, max_prompts=100) == 100
    related = [connections(size, candidates="shared_entities") for size in (200, 400)]
    assert related[1] == pytest.approx(2 * related[0], rel=0.01) and related[0] < 0.1 * connections(200)
    assert connections(2, candidates="shared_entities") == connections(2)


def test_held_out_questions_are_no_more_than_their_number_allows():
    def rephrase(count: int, **changes: Any) -> int:
        config = SynthesisConfig(held_out=HeldOut(**changes))
        chunks = chunks_of(count)
        steps = make_plan("c", chunks, [], config, stated(config)).steps
        return next((step.prompts for step in steps if step.step == "rephrase"), 0)

    assert rephrase(4, share=0.1) == 4 * 2 * 25 * 0.1
    assert rephrase(100, share=0.1, max_questions=100) == 2 * 100
    assert rephrase(4, share=0.0) == rephrase(4, max_questions=0) == 0


def test_a_long_chunk_of_sentences_has_few_joins_and_many_other_prompts():
    config = SynthesisConfig(prompts="sentence")
    ratios = stated(config)

    def prompts(sentences: int) -> dict[str, int]:
        chunk = make_chunk(" ".join(f"Rolf Anstick built wall {n} of Esk." for n in range(sentences)))
        return {step.step: step.prompts for step in make_plan("c", [chunk], [], config, ratios).steps}

    assert prompts(400)["consolidation"] == prompts(200)["consolidation"] == 4
    assert prompts(400)["entities"] == 2 * prompts(200)["entities"] > 0


def test_hours_money_and_disk_come_only_from_what_is_stated():
    chunks = chunks_of(4)
    plain = make_plan("c", chunks, grouped(chunks), CONFIG, stated(CONFIG))
    assert (plain.gpu_hours, plain.money) == (None, None) and plain.disk_bytes > 0
    double = CONFIG.model_copy(update={"generator": VllmModel(engine="vllm", tensor_parallel_size=2)})
    rates = Rates(prefill=1000, decode=100)
    one, two = (make_plan("c", chunks, grouped(chunks), c, stated(c), rates).gpu_hours for c in (CONFIG, double))
    fresh = plain.total("input_tokens") - plain.total("cached_tokens")
    assert one == pytest.approx((fresh / 1000 + plain.total("output_tokens") / 100) / 3600, abs=1e-3)
    assert two == pytest.approx(2 * (one or 0), abs=2e-3)  # both are rounded to a thousandth
    endpoint = OpenAIModel(engine="openai", base_url="http://x/v1", model="m", prices=Prices(input=10, output=40))
    paid = make_plan("c", chunks, grouped(chunks), CONFIG.model_copy(update={"generator": endpoint}), stated(CONFIG))
    total = plain.total("input_tokens") * 10 + plain.total("output_tokens") * 40
    assert paid.money == pytest.approx(total / 1e6, abs=0.01) and paid.currency == "USD" and paid.gpu_hours is None


@pytest.fixture
def run_file(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for n in range(3):
        (tmp_path / "docs" / f"{n}.md").write_text(f"# Wall {n}\n\nThe mason Rolf Anstick built wall {n} of Esk.\n")
    path = tmp_path / "run.yaml"
    path.write_text(f"name: r\nroot: {tmp_path}/runs\ncorpora: [{{paths: [{tmp_path}/docs], groups: all}}]\n")
    return path


def test_the_command_runs_nothing_and_prints_json(run_file: Path, capsys: pytest.CaptureFixture[str]):
    rates = ["--prefill-rate", "5000", "--decode-rate", "900", "--price-input", "1", "--price-output", "2"]
    assert cli.main(["plan", str(run_file), "--json", *rates]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["chunks"], found["groups"]) == (3, 1)
    assert found["totals"]["prompts"] == sum(step["prompts"] for step in found["steps"])
    assert found["gpu_hours"] is not None and found["money"] is not None
    assert not (run_file.parent / "runs").exists()
    assert cli.main(["plan", str(run_file)]) == 0
    said = capsys.readouterr().out
    assert "3 chunks in 1 groups" in said and "~" in said and "reflections" in said


def test_half_a_rate_and_a_run_without_a_synthesis_are_refused(run_file: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.main(["plan", str(run_file), "--prefill-rate", "5"]) == 2
    assert "--prefill-rate and --decode-rate: give both" in capsys.readouterr().err
    for size in ("0", "-3", "nan"):
        assert cli.main(["plan", str(run_file), "--gpu-memory", size]) == 2
        assert "--gpu-memory: give the GiB of one GPU" in capsys.readouterr().err
    assert cli.main(["plan", str(run_file), "--measured", str(run_file)]) == 2
    assert "has no finished synthesis" in capsys.readouterr().err


def test_discovered_groups_are_planned_and_texts_that_are_trained_as_they_are_cost_nothing(
    run_file: Path, capsys: pytest.CaptureFixture[str]
):
    text = run_file.read_text()
    run_file.write_text(text.replace("groups: all", "groups: discovered"))
    assert cli.main(["plan", str(run_file)]) == 0
    assert "3 chunks in 1 groups" in capsys.readouterr().out
    run_file.write_text(text + "synthesis: {source: documents}\n")
    assert cli.main(["plan", str(run_file)]) == 0
    assert "no generator runs" in capsys.readouterr().out
