"""The synthesis stage on a local cluster, with its generator behind a scripted endpoint; killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from memo_ray import json_log
from memo_ray.artifacts.place import Place, open_place
from memo_ray.artifacts.store import Artifact
from memo_ray.config.synthesis import Calibration, Connections, SynthesisConfig
from memo_ray.errors import GenerationError
from memo_ray.rows import LedgerEntry, Reflection, Reject
from memo_ray.synthesis.ray_engines import Engines
from memo_ray.synthesis.ray_pass import Pass
from tests.ray.synthesis_run import run, settings
from tests.ray.writing_endpoint import Endpoint


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    written = Endpoint()
    written.start()
    yield written
    written.stop()


def tables(artifact: Artifact) -> tuple[list[Reflection], list[LedgerEntry], list[Reject]]:
    return (
        artifact.rows("reflections", Reflection),
        artifact.rows("ledger", LedgerEntry),
        artifact.rows("rejects", Reject),
    )


def test_a_corpus_becomes_reflections_with_a_ledger(ray_cluster: None, endpoint: Endpoint, tmp_path: Path):
    made = run(tmp_path, settings(endpoint.port))
    reflections, ledger, rejects = tables(made)
    steps = {reflection.step for reflection in reflections}
    assert {"direct", "indirect", "consolidation", "entities", "connections", "rephrase"} <= steps
    assert len({reflection.reflection_id for reflection in reflections}) == len(reflections)
    assert [entry.reflection_id for entry in ledger] == [reflection.reflection_id for reflection in reflections]
    by_id = {reflection.reflection_id: reflection for reflection in reflections}
    for entry in ledger:
        assert entry.model == "writer" and entry.prompt_id and entry.chunk_ids and entry.document_ids
        if by_id[entry.reflection_id].split == "held_out":
            assert by_id[entry.parents[0]].split == "train"
            assert by_id[entry.parents[0]].answer == by_id[entry.reflection_id].answer
        if entry.step == "connections":
            assert len(entry.document_ids) > 1 and entry.group_id == "all"
    assert not any("doc-" in text for r in reflections for text in (r.question, r.answer))
    by_step = made.record.facts["by_step"]
    assert all(count["made"] == count["kept"] + sum(count["lost"].values()) for count in by_step.values())
    assert sum(count["kept"] for count in by_step.values()) == len(reflections)
    lost = sum(sum(count["lost"].values()) + sum(count["failed"].values()) for count in by_step.values())
    assert lost == len(rejects)
    assert made.record.cost["engine_starts"] == 0, "an endpoint has no engine"
    assert made.record.cost["prompts"] == endpoint.asked.total()


def test_each_finished_row_is_a_json_line_of_its_worker(
    ray_cluster: None, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    labels = {"run": "isles", "stage": "synthesis", "corpus": "law"}
    monkeypatch.setenv("MEMO_LOG", "json")
    monkeypatch.setattr(json_log, "labels", labels)
    made = run(tmp_path, settings(endpoint.port), documents=4)
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())  # type: ignore[attr-defined]
    written = [line for log in logs.glob("worker-*.err") for line in log.read_text().splitlines()]
    rows = [json.loads(line) for line in written if line.startswith("{") and "row finished" in line]
    assert len({row["row"] for row in rows}) == len(rows) >= 4
    assert all(labels.items() <= row.items() and row["level"] == "info" for row in rows)
    assert sum(row["input_tokens"] for row in rows) <= made.record.cost["input_tokens"]
    assert sum(row["kept"] for row in rows) > 0


def test_a_calibration_says_what_the_candidates_keep(ray_cluster: None, endpoint: Endpoint, tmp_path: Path):
    connecting = Connections(candidates="shared_entities", max_prompts=20, calibration=Calibration(groups=1))
    made = run(tmp_path, settings(endpoint.port, connections=connecting), documents=6)
    facts = made.record.facts["calibration"]
    assert facts["groups"] == 1 and facts["prompts"] > made.record.facts["candidates"] > 0
    assert facts["connections"] >= facts["kept"] > 0
    assert 0 <= facts["low"] <= facts["share"] <= facts["high"] <= 1
    trained = [row for row in made.rows("reflections", Reflection) if row.step == "connections"]
    assert len(trained) == made.record.facts["by_step"]["connections"]["kept"], "the sample is not trained on"


def test_steps_1_to_4_kept_in_one_place_serve_two_kinds_of_step_5(
    ray_cluster: None, endpoint: Endpoint, tmp_path: Path
):
    def passes(kind: str, config: SynthesisConfig, engines: Engines, progress: Place) -> Pass:
        return Pass(kind, config, engines, open_place(tmp_path / "shared") if kind == "units" else progress)

    some = run(tmp_path / "some", settings(endpoint.port), 3, passes)
    asked = endpoint.asked.total()
    every = run(tmp_path / "all", settings(endpoint.port, connections=Connections()), 3, passes)
    count = every.record.facts["by_step"]["connections"]
    assert endpoint.asked.total() - asked == count["prompts"] + count["checks"] > 0
    one, other = ([row for row in tables(made)[0] if row.step != "connections"] for made in (some, every))
    assert one == other


@pytest.mark.slow
@pytest.mark.parametrize("where", ["disk", "s3"])
def test_a_killed_run_goes_on_where_it_was(
    ray_cluster: None, endpoint: Endpoint, tmp_path: Path, where: str, request: pytest.FixtureRequest
):
    whole = run(tmp_path / "whole", settings(endpoint.port))
    once = dict(endpoint.asked)
    endpoint.asked.clear()
    endpoint.delay_s = 0.2
    root = str(tmp_path / "killed") if where == "disk" else f"{request.getfixturevalue('bucket')}/killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ray.synthesis_run", root, str(endpoint.port)],
        env=os.environ | {"PYTHONPATH": os.environ["PYTHONPATH"]},
        start_new_session=True,
    )
    progress = open_place(root).child(f"synthesis/{'1' * 16}/progress/units")

    def finished() -> int:
        return len([name for name in progress.names("output/") if name.endswith(".parquet")])

    waited = time.monotonic() + 120
    while finished() < 3 and time.monotonic() < waited:
        assert process.poll() is None, "the run ended before it could be killed"
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = finished()
    assert 3 <= kept < 10
    time.sleep(1)  # what was in flight reaches the endpoint before it is counted

    before = dict(endpoint.asked)
    endpoint.delay_s = 0.0
    resumed = run(root, settings(endpoint.port))
    assert tables(resumed) == tables(whole)
    assert set(endpoint.asked) == set(once)
    twice = [prompt for prompt, times in endpoint.asked.items() if times > 1]
    assert len(twice) < len(before), "finished chunks were asked again"
    assert {prompt: (times, once[prompt]) for prompt, times in endpoint.asked.items() if times > 2 * once[prompt]} == {}


def test_useless_replies_end_the_stage_with_the_reasons(ray_cluster: None, endpoint: Endpoint, tmp_path: Path):
    endpoint.nonsense = True
    with pytest.raises(GenerationError, match=r"100% of \d+ prompts got no usable reply \(\d+ unparsed"):
        run(tmp_path, settings(endpoint.port), documents=2)


def test_a_generator_that_cannot_be_reached_is_named(ray_cluster: None, endpoint: Endpoint, tmp_path: Path):
    port = endpoint.port
    endpoint.stop()
    with pytest.raises(GenerationError, match=r"answers nothing: endpoint .* cannot be reached; check base_url"):
        run(tmp_path, settings(port), documents=2)
    endpoint.start()
