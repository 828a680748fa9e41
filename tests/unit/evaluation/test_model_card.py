"""What a card says, and what must never stand in it."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

from memo_ray.config.training import TrainingConfig
from memo_ray.evaluation.model_card import Card, base_name, licence_of, model_card

CARD = Card(
    name="islands",
    base="Qwen/Qwen2.5-1.5B-Instruct",
    digest="d" * 64,
    corpora={"law": "a" * 64, "wiki": "b" * 64},
    reflections=1234,
    recipe=TrainingConfig.model_validate({"preset": "qwen2.5-1.5b-lora"}).model_dump(mode="json"),
    recall={"trained": (0.91, 200), "held_out": (0.5, 40)},
    chosen_by="recall on held-out questions",
    licence="apache-2.0",
)


def front_matter(page: str) -> dict[str, object]:
    return yaml.safe_load(page.split("---\n")[1])


def test_it_says_corpus_recipe_recall_and_licence() -> None:
    page = model_card(CARD)
    assert front_matter(page)["license"] == "apache-2.0"
    assert front_matter(page)["base_model"] == "Qwen/Qwen2.5-1.5B-Instruct"
    for fact in ("a" * 64, "b" * 64, "1,234", "| held out | 0.50 | 40 |", "chosen by recall on held-out questions"):
        assert fact in page
    recipe = yaml.safe_load(page.split("```yaml\n")[1].split("```")[0])
    assert recipe["lora"] == {"rank": 8, "alpha": 16.0, "dropout": 0.05, "targets": [], "folded": True}
    assert recipe["learning_rate"] == 2e-4


@pytest.mark.parametrize("base", ["/srv/models/secret-host/qwen", "~/models/qwen", "./a/qwen", "a/b/qwen"])
def test_no_path_of_a_machine_stands_in_it(base: str) -> None:
    page = model_card(dataclasses.replace(CARD, base=base, recipe={**CARD.recipe, "base": base}))
    assert base not in page
    assert "base_model" not in front_matter(page)
    assert base_name(base) == "qwen"


def test_what_is_not_known_is_said() -> None:
    page = model_card(dataclasses.replace(CARD, recall={}, licence=""))
    assert front_matter(page)["license"] == "other"
    assert "It has not been evaluated." in page
    assert "look both up before sharing it" in page


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: mit\n---\n# A", "mit"),
        ("# A\nlicense: mit", ""),
        ("---\nlicense: [\n---\n", ""),
        ("---\n1\n---", ""),
    ],
)
def test_the_bases_licence_is_read_from_its_readme(readme: str, licence: str) -> None:
    assert licence_of(readme) == licence
