from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from memo_ray.artifacts.place import Place, open_place
from memo_ray.artifacts.registry import Entry, Lineage, Registry, parse
from memo_ray.errors import StoreError


def entry(**changes: Any) -> Entry:
    values: dict[str, Any] = {
        "name": "law", "path": "artifacts/training-law/ab/attempts/cd/epoch-3", "artifact": "a" * 64,
        "base": "embedded", "base_digest": "b" * 64, "corpora": ("law",), "recall": 0.5,
        "lineage": Lineage(done="trained"),
    }  # fmt: skip
    return Entry(**(values | changes))


@pytest.fixture(params=["disk", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return open_place(tmp_path if request.param == "disk" else f"{request.getfixturevalue('bucket')}/run")


def test_versions_count_up_and_the_newest_is_got(place: Place) -> None:
    registry = Registry(place)
    first = registry.add(entry())
    second = registry.add(entry(artifact="c" * 64, lineage=Lineage(done="forgot x", parent=first.reference)))
    assert (first.version, second.version) == (1, 2)
    assert registry.get("law") == second
    assert registry.get("law", 1) == first
    assert registry.names() == ["law"]
    assert list(place.names("registry/")) == ["registry/law/1.json", "registry/law/2.json"]
    assert str(registry.location(second)) == f"{place.url}/{second.path}"


def test_the_same_memory_is_registered_once(tmp_path: Path) -> None:
    registry = Registry(open_place(tmp_path))
    assert registry.add(entry()) == registry.add(entry(lineage=Lineage(done="merged")))
    assert registry.add(entry(path="artifacts/x/epoch-2")).version == 2


def test_two_writers_get_different_versions(tmp_path: Path) -> None:
    def write(number: int) -> int:
        return Registry(open_place(tmp_path)).add(entry(artifact=f"{number:064d}")).version

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(write, range(8))) == list(range(1, 9))


def test_a_withdrawn_version_stays_in_the_list_and_is_not_given_out(tmp_path: Path) -> None:
    registry = Registry(open_place(tmp_path))
    registry.add(entry())
    registry.add(entry(artifact="c" * 64))
    registry.withdraw("law", 2)
    once = registry.versions("law")
    registry.withdraw("law", 2)
    assert registry.versions("law") == once
    assert [bool(memory.withdrawn) for memory in once] == [False, True]
    assert registry.get("law").version == 1
    with pytest.raises(StoreError, match="law@2: was withdrawn"):
        registry.get("law", 2)
    registry.withdraw("law", 1)
    with pytest.raises(StoreError, match="every version was withdrawn"):
        registry.get("law")
    assert registry.add(entry()).version == 3, "a number is never given again"


def test_other_objects_beside_an_entry_are_no_versions(tmp_path: Path) -> None:
    registry = Registry(open_place(tmp_path))
    registry.add(entry())
    (tmp_path / "registry" / "law" / "1.certificate.json").write_text("{}")
    assert len(registry.versions("law")) == 1


def test_what_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    registry = Registry(open_place(tmp_path))
    with pytest.raises(StoreError, match="wiki: no memory of that name is registered; there are none yet"):
        registry.get("wiki")
    registry.add(entry())
    with pytest.raises(StoreError, match="law@7: there is no such version; the newest is law@1"):
        registry.get("law", 7)
    (tmp_path / "registry" / "law" / "1.json").write_text("{}")
    with pytest.raises(StoreError, match=r"law/1\.json: is damaged"):
        registry.get("law")


@pytest.mark.parametrize("path", ["/etc/model", "../other", "artifacts/../../x", ""])
def test_a_memory_lies_in_its_run(path: str) -> None:
    with pytest.raises(ValidationError):
        entry(path=path)


@pytest.mark.parametrize(("text", "parsed"), [("law", ("law", None)), ("law@12", ("law", 12))])
def test_references_are_read(text: str, parsed: tuple[str, int | None]) -> None:
    assert parse(text) == parsed


@pytest.mark.parametrize("text", ["", "@1", "Law", "law@", "law@0", "law@x", "../law", "law@1@2"])
def test_a_bad_reference_is_one_line(text: str) -> None:
    with pytest.raises(StoreError, match=r"write a memory as NAME or NAME@VERSION") as error:
        parse(text)
    assert "\n" not in str(error.value)
