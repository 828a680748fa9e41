import hashlib

import pytest

from memo_ray.continual.finding import copies_of, find
from memo_ray.continual.forgotten import Forgotten, write_forgotten
from memo_ray.errors import ConfigError
from memo_ray.workspace import Workspace


@pytest.mark.parametrize("wanted", ["bell", "the bell law", "laws/bell.md", "bell.md"])
def test_a_document_is_found_by_id_title_and_file(run: Workspace, wanted: str) -> None:
    found = find(run, wanted)
    assert (found.corpus, found.document_id) == ("law", "bell")
    assert found.digest == hashlib.sha256(b"The bell rings.").hexdigest()


def test_an_id_counts_before_a_title(run: Workspace) -> None:
    assert find(run, "salt").document_id == "salt"


@pytest.mark.parametrize(
    ("wanted", "corpus", "told"),
    [
        ("Salt", None, "could be salt of corpus law (salt.md); salt-2 of corpus law (more/salt.md); give the id"),
        ("bel", None, "the run has no such document; did you mean bell"),
        ("xyzzy", None, "the run has no such document; ids look like bell"),
        ("bell", "wiki", "--corpus wiki: the run has no such corpus; it has law"),
    ],
)
def test_what_cannot_be_found_is_one_line(run: Workspace, wanted: str, corpus: str | None, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        find(run, wanted, corpus)
    assert told in str(error.value) and "\n" not in str(error.value)


def test_one_that_is_being_forgotten_is_found_in_the_list(run: Workspace) -> None:
    row = Forgotten(corpus="old", document_id="x", digest="0" * 64, how="retrain", title="Ex", source="x.md")
    write_forgotten(run.place, row)
    assert find(run, "Ex") == row
    write_forgotten(run.place, row.finished("registry/isles/2.certificate.json"))
    assert find(run, "x").done
    with pytest.raises(ConfigError):
        find(run, "Ex")  # its title is no longer known


def test_a_document_of_a_corpus_is_not_taken_for_one_that_was_forgotten_elsewhere(run: Workspace) -> None:
    row = Forgotten(corpus="wiki", document_id="bell", digest="0" * 64, how="retrain", certificate="c.json")
    write_forgotten(run.place, row)
    assert (find(run, "bell").corpus, find(run, "bell").done) == ("law", False)
    assert find(run, "bell", "wiki") == row
    write_forgotten(run.place, row.model_copy(update={"corpus": "law", "document_id": "gone"}))
    write_forgotten(run.place, row.model_copy(update={"corpus": "old", "document_id": "gone"}))
    with pytest.raises(ConfigError, match="was forgotten in several corpora, law, old; give --corpus"):
        find(run, "gone")
    run.unnote(["corpus-law"])
    assert find(run, "bell") == row
    with pytest.raises(ConfigError, match="has no finished corpus"):
        find(run, "salt")


def test_copies_of_its_text_are_found_in_every_corpus(run: Workspace) -> None:
    law = run.finished("corpus-law")
    assert law is not None
    digest = hashlib.sha256(b"The bell rings.").hexdigest()
    assert copies_of(digest, {"wiki": law}) == [{"corpus": "wiki", "id": "bell"}]
    assert copies_of("0" * 64, {"wiki": law}) == []
