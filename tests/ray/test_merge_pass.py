"""One pass of merges as a task of the cluster: on S3, refused, and when its worker is lost."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import psutil
import pytest

from memo_ray.artifacts.place import drop_copy, local_folder, open_place
from memo_ray.config.merging import Linear, MergeRecipe, MergingConfig, Slerp
from memo_ray.errors import MergeError
from memo_ray.merging.checks import Inputs, check
from memo_ray.merging.ray_trials import LOST, merge_all
from memo_ray.merging.scores import SweepProgress
from memo_ray.quiet import json_alone, print_json
from tests.unit.merging.tiny import read

pytestmark = pytest.mark.usefixtures("ray_cluster")

LINEAR = Linear(method="linear")


class Large(Inputs):
    """Inputs of whose merges this machine's disk holds one at a time."""

    @property
    def folder_bytes(self) -> int:
        return int(0.6 * shutil.disk_usage(tempfile.gettempdir()).free)


def test_on_s3_a_trial_makes_as_many_merges_at_once_as_its_nodes_disk_holds(
    models: Path, bucket: str, capfd: pytest.CaptureFixture[str]
) -> None:
    memories = {"north": models / "a", "south": models / "b"}
    inputs = Large(**vars(check(models / "base", memories)))
    progress, said = SweepProgress(open_place(bucket), "questions"), []
    pair: dict[str, MergeRecipe] = {"linear": LINEAR, "slerp-t0.5": Slerp(method="slerp", t=0.5)}
    with json_alone():
        merge_all(pair, models / "base", memories, progress, inputs, MergingConfig(), said.append)
        print_json(said)
    assert json.loads(capfd.readouterr().out) == said == list(pair)  # Tune prints a banner before it
    shares = {progress.merge_seconds(name) for name in pair}
    assert len(shares) == 2, "merges of one pass share its seconds"
    for name in pair:
        location = progress.merged(name)
        assert location is not None
        assert read(local_folder(location))["model.norm.weight"].shape == (32,)
        drop_copy(location)


def test_a_merge_that_is_refused_says_so_in_the_driver(models: Path, tmp_path: Path) -> None:
    inputs = check(models / "base", {"north": models / "a", "south": models / "b"})
    gone = {"north": models / "a", "south": tmp_path / "gone"}
    progress = SweepProgress(open_place(tmp_path / "progress"), "questions")
    with pytest.raises(MergeError, match=r"/gone: holds no model\.safetensors"):
        merge_all({"linear": LINEAR}, models / "base", gone, progress, inputs, MergingConfig(), lambda name: None)
    assert progress.merged("linear") is None
    assert list(progress.merges.names()) == []


@pytest.mark.parametrize("times", [1, LOST + 1])
def test_a_pass_that_loses_its_worker_is_made_again_a_few_times(models: Path, tmp_path: Path, times: int) -> None:
    memories = {"north": models / "a", "south": models / "b"}
    inputs = check(models / "base", memories)
    progress = SweepProgress(open_place(tmp_path / "progress"), "questions")
    killed: set[int] = set()

    def kill() -> None:
        while len(killed) < times:
            for process in psutil.Process().children(recursive=True):  # of this test's own cluster
                with suppress(psutil.NoSuchProcess):
                    worker = process.parent() if "memo_ray.merging.merge" in process.cmdline() else None
                    if worker and worker.pid not in killed and "ray::" in worker.cmdline()[0] and len(killed) < times:
                        worker.kill()
                        killed.add(worker.pid)
            time.sleep(0.02)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    told = nullcontext() if times <= LOST else pytest.raises(MergeError, match=rf"lost its machine {times} times")
    with told:
        merge_all({"linear": LINEAR}, models / "base", memories, progress, inputs, MergingConfig(), lambda name: None)
    thread.join(1)
    assert len(killed) == times
    assert (progress.merged("linear") is not None) == (times <= LOST)
    if times <= LOST:
        left = [path.name for path in (tmp_path / "progress" / "merges").iterdir()]
        assert sorted(left) == ["linear", "linear.seconds.json"], "nothing of the lost pass"
