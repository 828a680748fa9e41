"""Who acts in a document, so that a story's questions may name its people as the story does.

An encyclopaedia names everybody in full; a story says `Curdie` and `the princess` from its first page to its last. What
a question must name is therefore looked for in its document: a role that the text uses for one person throughout, or a
name that it keeps using, is enough there. Outside the document neither tells which story is meant, so such a question
gets the work's title: `In "TITLE", ...`. Pure functions: a document's texts go in, a `Cast` comes out. For English.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from memo_ray.synthesis.grounding import ASKED_STEMS, content_words
from memo_ray.synthesis.lexicon import DAYS, FUNCTION_WORDS, MONTHS, OPENERS, TITLES
from memo_ray.synthesis.verbs import stem

LEAST_MENTIONS = 6
"""So often a text uses a role or a name of somebody who acts in it."""
LEAST_SPEECHES = 2
"""So often somebody speaks who is known by a role: `said the nurse`. Doors and rooms do not."""
DEFINITE = 0.8
"""Least share of a role's mentions that mean the one whom the text is about, not one of several."""
SPEECH = (
    "said asked cried answered replied exclaimed returned thought shouted whispered murmured called continued muttered "
    "laughed begged declared remarked observed repeated inquired sighed"
).split()
NOBODY_CERTAIN = frozenset(
    "boy boys child children crowd fellow first former girl girls last latter man men next one ones other others "
    "people person persons rest second speaker stranger third two voice voices woman women".split()
)
"""Nouns that mean another person on the next page."""
NO_NAMES = FUNCTION_WORDS | OPENERS | DAYS | MONTHS | TITLES | frozenset("dr madame miss monsieur mr mrs ms st".split())
"""Capitalised words that alone name nobody."""
EVERYDAY = frozenset(
    map(stem, "answer ask cry do feel go hear happen know like look reply say see speak tell think want".split())
)
"""Verbs for what everybody in a story does all the time: with them alone a question fits many places of it."""
TITLED = re.compile(r'^In "[^"]+", ')
_VERBS = "|".join(SPEECH)
_SPEAKS = re.compile(
    rf"\bthe (?:[a-z]+ )?([a-z]+) (?:{_VERBS})\b|\b(?:{_VERBS}) the (?:[a-z]+ )?([a-z]+)\b", re.IGNORECASE
)
_DEFINITE = re.compile(r"\bthe (?:[a-z]+ )?([a-z]+)\b", re.IGNORECASE)
_ROLE = re.compile(r"\bthe ((?:[a-z-]+ )?[a-z]+)", re.IGNORECASE)
_OTHER = re.compile(
    r"\b(?:an?|another|any|each|every|no|some|many|several|two|three|my|your|his|her|our|their) (?:[a-z]+ )?([a-z]+)\b",
    re.IGNORECASE,
)
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+(?:[-'’][A-Z][a-z]+)*")
"""A capitalised word within a sentence."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who acts in a document. `names`: single words, as stems; `roles`: nouns in lower case; `shared`: those of the
    names that other documents' casts have too. `rare`: stems of words of the chunk at hand that few others of its
    document have. `title`: the work's, empty when nobody knows it."""

    title: str = ""
    names: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    shared: frozenset[str] = frozenset()
    rare: frozenset[str] = frozenset()

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `cast_from` reads back."""
        return {key: value if isinstance(value, str) else sorted(value) for key, value in asdict(self).items()}

    def roles_in(self, question: str) -> frozenset[str]:
        """The roles that `question` names with their article: `the princess`, also `the old princess's`."""
        return self.roles & {word.lower() for found in _ROLE.findall(question) for word in found.split()}

    def names_in(self, question: str) -> frozenset[str]:
        """The names of the cast that `question` uses."""
        return self.names & {stem(word) for word in re.findall(r"\b[A-Z][\w'’-]*", question)}

    def points_at(self, question: str) -> bool:
        """Whether what `question` says leads to one place of the document: two things, one of them rare there."""
        said = set(content_words(question)) - ASKED_STEMS - EVERYDAY
        return len(said) > 1 and bool(said & self.rare)

    def acts_alone(self, question: str) -> str:
        """Why `question` fits many places of its story, when beside the cast it says only what everybody does."""
        if not self.roles_in(question) and not self.names_in(question):
            return ""
        rest = set(content_words(question)) - self.names - {stem(role) for role in self.roles} - ASKED_STEMS
        vague = rest <= EVERYDAY and (rest or re.search(r"\bdo(?:es|ing|ne)?\?$", question))
        return "the question fits many places of the story" if vague else ""

    def title_acts(self, question: str, source: str) -> str:
        """Why `question` takes the work's title for somebody, when its text beside the heading has no such name."""
        title = self.title.lower()
        if not title or source.lower().count(title) > 1:
            return ""
        acts = re.search(rf"\b(?:did|do|does|is|was|has|had|are|were) {re.escape(title)}\b", question.lower())
        return "the question takes the work's title for somebody in it" if acts else ""

    def placed(self, question: str) -> str:
        """`question` with the work's title before it, where it names nothing, or somebody only by a role or a name that
        other documents have too."""
        names, said = self.names_in(question), question[1:]
        vague = self.roles_in(question) or names or not re.search(r"\b[A-Z\d]", said)
        if not self.title or not vague or names - self.shared or self.title in question:
            return question
        return f'In "{self.title}", {question[0].lower()}{question[1:]}'


NOBODY = Cast()


def bare(question: str) -> str:
    """`question` without the title that `Cast.placed` has put before it."""
    rest = TITLED.sub("", question)
    return question if rest == question else rest[0].upper() + rest[1:]


def cast_from(data: dict[str, Any]) -> Cast:
    """The inverse of `Cast.to_json`."""
    return Cast(data["title"], *(frozenset(data[key]) for key in ("names", "roles", "shared", "rare")))


def cast_of(texts: Iterable[str]) -> Cast:
    """Who acts in the document that `texts` are the pieces of, without a title."""
    spoken, definite, other, named = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for text in texts:
        spoken.update((one or two).lower() for one, two in _SPEAKS.findall(text))
        definite.update(word.lower() for word in _DEFINITE.findall(text))
        other.update(word.lower() for word in _OTHER.findall(text))
        named.update(_NAME.findall(text))
    roles = {
        noun
        for noun, speeches in spoken.items()
        if speeches >= LEAST_SPEECHES
        and definite[noun] >= LEAST_MENTIONS
        and definite[noun] >= DEFINITE * (definite[noun] + other[noun])
        and noun not in NOBODY_CERTAIN
    }
    names = {
        stem(name) for name, count in named.items() if count >= LEAST_MENTIONS and name.lower() not in NO_NAMES | roles
    }
    return Cast("", frozenset(names), frozenset(roles))


def with_shared_names(casts: Mapping[str, Cast]) -> dict[str, Cast]:
    """The same casts, each with those of its names that another one has too."""
    holders = Counter(name for cast in casts.values() for name in cast.names)
    shared = {name for name, count in holders.items() if count > 1}
    return {key: replace(cast, shared=cast.names & shared) for key, cast in casts.items()}


def work_title(title: str) -> str:
    """A title as a question quotes it: without marks of its own and what says what kind of work it is."""
    return re.sub(r"\s*\([^)]*\)$", "", " ".join(title.replace('"', "").split()))
