import pytest

from memo_ray.artifacts.registry import Registry
from memo_ray.continual.registering import part_name, register
from memo_ray.errors import ConfigError
from memo_ray.results import last_epoch, memory_of, stored_results
from memo_ray.workspace import Workspace


def test_nothing_is_registered_before_an_epoch_is_chosen(run: Workspace) -> None:
    assert register(run, stored_results(run)) == []


def test_the_memory_of_one_corpus_is_the_runs_own(run: Workspace) -> None:
    (memory,) = register(run, stored_results(run), epoch=last_epoch(run))
    training = run.finished("training-law")
    assert training is not None
    assert memory.reference == "isles@1" and memory.corpora == ("law",)
    assert (memory.artifact, memory.lineage.done, memory.lineage.parent) == (training.record.digest, "trained", "")
    assert Registry(run.place).location(memory) == training.location("epoch-2")
    assert register(run, stored_results(run), epoch="epoch-2") == [memory]
    (second,) = register(run, stored_results(run), done="forgot bell", epoch="epoch-1")
    assert (second.reference, second.lineage.done, second.lineage.parent) == ("isles@2", "forgot bell", "isles@1")


def test_the_registered_memory_is_served_until_a_new_one_is_made(run: Workspace) -> None:
    register(run, stored_results(run), epoch="epoch-1")
    assert str(memory_of(run)[0]).endswith("epoch-1")
    run.unnote(["training-law"])
    assert memory_of(run)[1] == "registered as isles@1"
    Registry(run.place).withdraw("isles", 1)
    with pytest.raises(ConfigError, match="holds no memory yet"):
        memory_of(run)


def test_a_part_has_its_corpuss_name_unless_the_run_has_it() -> None:
    assert (part_name("isles", "law"), part_name("law", "law")) == ("law", "law-alone")
