from __future__ import annotations

from pathlib import Path

import pytest

from memo_ray.errors import ConfigError
from memo_ray.synthesis.language import check_languages, other_language

ROOT = Path(__file__).resolve().parents[3]

OTHERS = {
    "Der Hafen wurde von der Stadt gebaut, und das Haus ist nicht mehr da.": "de",
    "Le port a été construit par la ville, et il est dans un des plus beaux sites.": "fr",
    "El puerto fue construido por la ciudad y no se sabe más de los barcos.": "es",
    "Порт был построен городом.": "ru",
    "谁建造了灯塔？": "zh",
    "1784, 1791": "zxx",
    "": "zxx",
}


@pytest.mark.parametrize("text", OTHERS)
def test_other_languages_and_nothing_are_told(text: str) -> None:
    assert other_language(text, ["en"]) == OTHERS[text]
    assert other_language(text, ["en", OTHERS[text]]) in ("", "zxx")


@pytest.mark.parametrize(
    "text",
    [
        "Who built it? Freya Gorl",
        "The harbour was built by the council of Málaga in 1791.",
        "Lund",
        "Which newspaper did Tove Ekel print in Quell Bay? The Halvet Courier",
    ],
)
def test_english_also_when_short_or_with_foreign_names(text: str) -> None:
    assert other_language(text, ["en"]) == ""


def test_a_higher_confidence_loses_less() -> None:
    text = "Wie heet de vuurtoren? Vell Head"
    assert other_language(text, ["en"], 0.4) == "nl"
    assert other_language(text, ["en"], 0.9) == ""


def test_an_unknown_code_is_named() -> None:
    check_languages(["en", "de"], "synthesis.quality.languages")
    check_languages([], "synthesis.quality.languages")
    with pytest.raises(ConfigError, match=r"synthesis.quality.languages: english is no language.*codes such as en"):
        check_languages(["en", "english"], "synthesis.quality.languages")


def test_articles_full_of_invented_names_are_english() -> None:
    texts = [path.read_text() for path in (ROOT / "demo/documents").iterdir()]
    assert texts
    assert not any(other_language(text, ["en"]) for text in texts)
