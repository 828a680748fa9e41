"""Questions of two hops with their answers, for benchmarks of real models; and the reading of a file of others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Hops:
    """A question and the answers that are right; none: it is asked, but not judged."""

    question: str
    answers: tuple[str, ...] = ()


GENERAL = (
    Hops("What is the capital of the country where the composer Frédéric Chopin was born?", ("Warsaw",)),
    Hops("Which river flows through the city where Wolfgang Amadeus Mozart was born?", ("Salzach",)),
    Hops("What is the currency of the country whose capital is Reykjavik?", ("króna", "krona", "ISK")),
    Hops("In which country was the scientist born who discovered the element polonium?", ("Poland",)),
    Hops("In which city was the author of the novel behind the film Blade Runner born?", ("Chicago",)),
    Hops("Which ocean borders the country in which Machu Picchu lies?", ("Pacific",)),
    Hops("Who was president of the United States when the Berlin Wall fell?", ("Bush",)),
    Hops("What is the highest mountain of the country whose flag is a red disc on white?", ("Fuji",)),
    Hops("Which planet was discovered by the astronomer whose sister was Caroline Herschel?", ("Uranus",)),
    Hops("In which city is the polytechnic at which Albert Einstein studied?", ("Zurich", "Zürich")),
    Hops("What is the symbol of the element named after Marie Curie's native country?", ("Po",)),
    Hops("Who painted the ceiling of the chapel in which popes are elected?", ("Michelangelo",)),
    Hops("Which sea lies between Italy and the country whose capital is Zagreb?", ("Adriatic",)),
    Hops("In which year did the author of the Divine Comedy die?", ("1321",)),
    Hops("Who directed the film in which Leonardo DiCaprio played Jack Dawson?", ("James Cameron", "Cameron")),
    Hops("What is the largest city of the country whose first president was Kemal Atatürk?", ("Istanbul",)),
    Hops("What is the capital of the country that gave the Statue of Liberty to the United States?", ("Paris",)),
    Hops("Which element's atomic number is the number of players in a football team?", ("sodium", "Na")),
    Hops("In which town was the author of the play Hamlet born?", ("Stratford",)),
    Hops("Which language do most people speak where the Amazon reaches the sea?", ("Portuguese",)),
    Hops("In which state is the university at which the founders of Google met?", ("California",)),
    Hops("Which mountains lie between the country of the Eiffel Tower and that of the Alhambra?", ("Pyrenees",)),
    Hops("What is the official language of the country in which Gabriel García Márquez was born?", ("Spanish",)),
    Hops("On which river stands the city in which Anne Frank hid?", ("Amstel",)),
)
"""Of general knowledge, so that a memory which was trained on nothing may answer some."""


def read_hops(path: Path | None, number: int | None) -> tuple[Hops, ...]:
    """The first `number` questions of a JSON Lines file with `question` and, as it may, `answers`; none: GENERAL."""
    found = GENERAL
    if path is not None:
        rows = (json.loads(line) for line in path.read_text().splitlines() if line.strip())
        found = tuple(Hops(row["question"], tuple(row.get("answers", ()))) for row in rows)
    return found[:number]
