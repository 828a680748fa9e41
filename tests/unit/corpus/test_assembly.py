"""Duplicates, the share of rejects, and the facts of a corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from memo_ray.config.corpus import CorpusConfig, SlidingWindow
from memo_ray.corpus.assembly import Assembly, distribution, prepare
from memo_ray.corpus.loaders import Listing, SourceFile
from memo_ray.corpus.reading import BROKEN_TABLE
from memo_ray.errors import CorpusError
from memo_ray.rows import Chunk, Document, Reject


class Corpus:
    """An assembly over documents named by numbers, with the rows it wrote."""

    def __init__(self, **settings: Any) -> None:
        self.config = CorpusConfig(name="tales", paths=("in/docs",), **settings)
        files = [SourceFile(Path(f"/x/{n}.txt"), f"in/docs/{n}.txt", f"{n}.txt", str(n), 1) for n in range(30)]
        self.documents: list[Document] = []
        self.chunks: list[Chunk] = []
        self.assembly = Assembly(self.config, Listing(files, {".png": 2}), self.documents, self.chunks)

    def good(self, *names: int, text: str = "", title: str = "T", label: str = "") -> Corpus:
        for name in names:
            document = Document(str(name), title, text or f"The text of number {name}.", label, f"{name}.txt")
            self.assembly.add(prepare(document, self.config))
        return self

    def bad(self, *names: int, reason: str = "not_utf8") -> Corpus:
        for name in names:
            self.assembly.add(Reject(str(name), "corpus", "documents", reason, f"{name}.txt: is not UTF-8 text"))
        return self

    def error(self) -> str:
        with pytest.raises(CorpusError) as caught:
            self.assembly.finish()
        assert "\n" not in str(caught.value)
        return str(caught.value)


def test_the_facts() -> None:
    corpus = Corpus(chunking=SlidingWindow(kind="window", words=20, overlap=5), max_reject_share=0.5)
    corpus.good(1, text="many words " * 25).good(2, title="").bad(3, reason="empty")
    groups, facts = corpus.assembly.finish()
    assert [len(group.chunk_ids) for group in groups] == [3]
    assert facts == {
        "documents": 2,
        "forgotten_documents": 0,
        "words": 55,
        "untitled_documents": 1,
        "formats": {".txt": 2},
        "skipped_files": {".png": 2},
        "chunks": 4,
        "chunk_words": {"min": 5, "median": 20, "p90": 20, "max": 20, "histogram": {"<=64": 4}},
        "groups": 1,
        "chunk_tokens": {"min": 6, "median": 28, "p90": 28, "max": 28, "histogram": {"<=512": 4}},
        "groups_by_kind": {
            "document": {"groups": 1, "min": 3, "median": 3, "mean": 3.0, "max": 3, "chunks_in_no_group": 1}
        },
        "chunks_in_no_group": 1,
        "rejects": {"empty": 1},
    }


def test_the_same_text_is_kept_once_and_the_copy_points_to_it() -> None:
    corpus = Corpus().good(1, 2).good(3, text="The text of number 1.")
    corpus.assembly.finish()
    assert [document.document_id for document in corpus.documents] == ["1", "2"]
    (reject,) = corpus.assembly.rejects
    assert (reject.row_id, reject.reason, reject.detail) == ("3", "duplicate", "3.txt: has the same text as 1.txt")
    assert corpus.assembly.known == {"1": "1", "2": "2", "3": "1"}


def test_the_same_id_twice_is_a_reject_that_names_both() -> None:
    corpus = Corpus(max_reject_share=0.5).good(1, 2).good(1, text="Another text.")
    corpus.assembly.finish()
    (reject,) = corpus.assembly.rejects
    assert reject.reason == "duplicate_id" and reject.detail.startswith("1.txt: has the id 1 of 1.txt")


def test_duplicates_do_not_count_as_unreadable() -> None:
    corpus = Corpus(max_reject_share=0.0).good(1).good(2, 3, 4, text="Again.")
    assert corpus.assembly.finish()[1]["rejects"] == {"duplicate": 2}


def test_one_bad_document_in_a_thousand_goes_to_rejects() -> None:
    corpus = Corpus().good(*range(999)).bad(999)
    assert corpus.assembly.finish()[1]["rejects"] == {"not_utf8": 1}


def test_exactly_the_share_is_allowed_and_one_more_is_not() -> None:
    Corpus(max_reject_share=0.25).good(1, 2, 3).bad(4).assembly.finish()
    message = Corpus(max_reject_share=0.25).good(1, 2, 3).bad(4, 5).error()
    assert message.startswith("corpus tales: 2 of 5 documents cannot be used, more than max_reject_share: 0.25 allows")


def test_among_few_documents_a_bad_one_ends_the_run_with_its_path_as_given() -> None:
    message = Corpus().good(1, 2).bad(3).error()
    assert "1 of 3 documents cannot be used" in message
    assert "in/docs/3.txt: is not UTF-8 text" in message
    assert message.endswith("mend or remove them, or raise max_reject_share")


def test_only_the_first_reasons_are_shown() -> None:
    message = Corpus().bad(1, 2, 3, 4, 5).error()
    assert message.startswith("corpus tales: none of 5 documents can be used: in/docs/1.txt: ")
    assert "in/docs/3.txt" in message and "in/docs/4.txt" not in message and "and 2 more" in message


def test_a_broken_table_is_never_excused_by_a_share() -> None:
    message = Corpus(max_reject_share=1.0).good(1, 2).bad(3, reason=BROKEN_TABLE).error()
    assert message.startswith("corpus tales: in/docs/3.txt: ") and "leave it out of paths" in message


def test_labels_that_nothing_has_are_an_error() -> None:
    corpus = Corpus(groups="label", label_column="kind").good(1, 2)
    assert corpus.error() == "corpus tales: no document has a value in kind; correct label_column"
    assert Corpus(groups="label", label_column="kind").good(1, 2, label="law").assembly.finish()[1]["groups"] == 1


def test_distribution_of_nothing_and_of_many() -> None:
    assert distribution([]) == {}
    assert distribution(range(1, 101), (50,)) == {
        "min": 1, "median": 50, "p90": 90, "max": 100, "histogram": {"<=50": 50, ">50": 50},
    }  # fmt: skip


def test_several_kinds_of_groups_with_sections_and_discovered_ones() -> None:
    text = "".join(f"## {part}\n\n{f'of{part} ' * 58}\n\n" for part in ("North", "South"))
    chunking = SlidingWindow(kind="window", words=20, overlap=0)
    corpus = Corpus(chunking=chunking, groups=("section", "discovered")).good(1, text=text)
    ids = [chunk.chunk_id for chunk in corpus.chunks]
    texts = [(chunk.chunk_id, chunk.text) for chunk in corpus.chunks]
    groups, facts = corpus.assembly.finish(lambda: texts)
    assert [group.kind for group in groups] == ["section", "section", "discovered", "discovered"]
    assert [chunk_id for group in groups[:2] for chunk_id in group.chunk_ids] == ids
    assert facts["groups_by_kind"]["section"]["groups"] == 2 and facts["chunks_in_no_group"] == 0


def test_a_forgotten_document_is_left_out_by_id_and_its_copies_by_text() -> None:
    digest = prepare(Document("2", "", "The same text.", "", "2.txt"), Corpus().config).digest
    corpus = Corpus(forget=("1", "3", f"sha256:{digest}")).bad(3).good(1).good(2, 4, text="The same text.").good(5)
    _, facts = corpus.assembly.finish()
    assert [document.document_id for document in corpus.documents] == ["5"]
    assert (facts["documents"], facts["forgotten_documents"], facts["rejects"]) == (1, 3, {})
