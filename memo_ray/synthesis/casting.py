"""The cast of every document of a corpus, and of each chunk the words that are rare in its document.

Chunks that need not be in memory go in; for a chunk's text a `Cast` comes out, as its questions are checked by it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.rows import Chunk
from memo_ray.synthesis.cast import NOBODY, Cast, cast_of, with_shared_names, work_title
from memo_ray.synthesis.grounding import content_words, numbers
from memo_ray.synthesis.wording import leaked_identifier

LEAST_WORDS = 400
"""Words of a document below which nobody is mentioned often enough to be looked for."""
LEAST_PIECES = 10
"""Chunks of a document from which on a word of few of them is rare."""
RARE = 20
"""A word is rare in a document when at most one chunk in so many has it, two in any case, since chunks may overlap."""


class Casts:
    """Who acts in the documents that `chunks` are of, where the settings let questions name them; else nobody.

    `names`: the documents' identifiers, which are no titles. A document's chunks should follow one another.
    """

    def __init__(self, chunks: Sequence[Chunk], names: Mapping[str, tuple[str, ...]], config: SynthesisConfig) -> None:
        self._chunks = chunks
        self._pieces = dict[str, list[int]]()
        self._casts = dict[str, Cast]()
        self._counts = lru_cache(1)(self._count)
        if config.grounding.strict_questions and config.prompts == "chunk":
            self._look(names)

    def _look(self, names: Mapping[str, tuple[str, ...]]) -> None:
        pieces, words = defaultdict[str, list[int]](list), Counter[str]()
        for number, chunk in enumerate(self._chunks):
            pieces[chunk.document_id].append(number)
            words[chunk.document_id] += chunk.words
        self._pieces = {key: numbers for key, numbers in pieces.items() if words[key] >= LEAST_WORDS}
        found = {key: cast_of(self._texts(key)) for key in self._pieces}
        for key, cast in with_shared_names(found).items():
            title = self._chunks[self._pieces[key][0]].title
            known = "" if leaked_identifier(title, names.get(key, ()), "") else work_title(title)
            self._casts[key] = replace(cast, title=known)

    def of(self, document_id: str, texts: Iterable[str]) -> Cast:
        """The cast for questions on `texts`, some of the document's."""
        cast = self._casts.get(document_id, NOBODY)
        pieces = len(self._pieces.get(document_id, ()))
        if not cast.title or pieces < LEAST_PIECES:
            return cast
        counts, most = self._counts(document_id), max(2, pieces // RARE)
        return replace(cast, rare=frozenset(word for text in texts for word in words_of(text) if counts[word] <= most))

    def _count(self, document_id: str) -> Counter[str]:
        """In how many chunks of the document each word is."""
        counts = Counter[str]()
        for text in self._texts(document_id):
            counts.update(words_of(text))
        return counts

    def _texts(self, document_id: str) -> Iterator[str]:
        return (self._chunks[number].text for number in self._pieces[document_id])


def words_of(text: str) -> set[str]:
    """Stems of the content words of `text` that are no numbers."""
    return set(content_words(text)) - numbers(text)
