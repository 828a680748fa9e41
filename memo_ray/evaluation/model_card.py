"""The model card that goes with a memory: what it was made from, by which recipe, what it recalls, under which licence.

Facts in, one Markdown page in the form of the Hugging Face hub out. No path of a machine and no text of a document
stands in it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

import yaml

UNKNOWN_LICENCE = "other"
RECIPE_LEFT_OUT = frozenset({"base", "revision", "tracking"})
"""Settings that say nothing of the recipe, or that may hold a path."""


@dataclass(frozen=True)
class Card:
    """What a card says. `corpora`: name → digest of the corpus artefact. `reflections`: how many were trained on.

    `recall`: kind of question → (recall in 0..1, number of questions). `digest`: of the memory's artefact.
    """

    name: str
    base: str
    digest: str
    corpora: Mapping[str, str]
    reflections: int
    recipe: Mapping[str, Any]
    recall: Mapping[str, tuple[float, int]] = field(default_factory=dict)
    chosen_by: str = ""
    licence: str = ""
    version: str = ""
    document_licences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Corpus → the terms of use that its documents name."""


def model_card(card: Card) -> str:
    """The whole page, README.md of the memory's folder."""
    base = base_name(card.base)
    head: dict[str, Any] = {
        "license": card.licence or UNKNOWN_LICENCE,
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["memo-ray", "memory-model"],
    }
    if "/" in base:  # only a hub's id is a link
        head["base_model"] = base
    lines = [
        "---", yaml.safe_dump(head, sort_keys=False, allow_unicode=True).strip(), "---", "",
        f"# {card.name}", "",
        f"A memory model made by memo-ray{f' {card.version}' if card.version else ''}: {base}, fine-tuned on "
        f"{card.reflections:,} question-answer pairs made from documents, which it answers from its weights alone. It "
        "is meant to be asked short questions by a larger model, and knows little else than those documents.", "",
        "## Made from", "",
        "| corpus | SHA-256 of its content | licence of its documents |", "|---|---|---|",
        *(
            f"| {name} | `{digest}` | {cell('; '.join(card.document_licences.get(name, ()))) or 'not stated'} |"
            for name, digest in sorted(card.corpora.items())
        ), "",
        f"The memory's own digest is `{card.digest}`."
        + (f" Its epoch or merge was chosen by {card.chosen_by}." if card.chosen_by else ""), "",
        "## Recipe", "", "```yaml", _recipe(card.recipe), "```", "",
        "## Recall", "", *_recall(card.recall), "",
        "## Licence", "", _licence(card.licence, base), "",
        "Its answers can be wrong, and it repeats what its documents say, whether or not that is true.", "",
    ]  # fmt: skip
    return "\n".join(lines)


def cell(text: str) -> str:
    """`text` for one cell of a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def base_name(base: str) -> str:
    """How a card calls the base model: a hub's id as it is, of a folder the last part alone."""
    parts = PurePath(base).parts
    is_path = base.startswith(("/", "~", ".")) or len(parts) > 2
    return parts[-1] if is_path and parts else base


def licence_of(front_matter: str) -> str:
    """The licence that a base model's own README names in its front matter; empty when it names none."""
    if not front_matter.startswith("---\n"):
        return ""
    try:
        found = yaml.safe_load(front_matter[4:].partition("\n---")[0])
    except yaml.YAMLError:
        return ""
    named = found.get("license") if isinstance(found, dict) else None
    return named if isinstance(named, str) else ""


def _recipe(recipe: Mapping[str, Any]) -> str:
    kept = {key: value for key, value in recipe.items() if key not in RECIPE_LEFT_OUT and value is not None}
    # Through JSON, since tuples and enums would be written with tags.
    return yaml.safe_dump(json.loads(json.dumps(kept)), sort_keys=False, allow_unicode=True).strip()


def _recall(recall: Mapping[str, tuple[float, int]]) -> list[str]:
    if not recall:
        return ["It has not been evaluated."]
    rows = [f"| {kind.replace('_', ' ')} | {share:.2f} | {count:,} |" for kind, (share, count) in recall.items()]
    return [
        "Share of questions whose reference answer is in the memory's own answer:",
        "", "| questions | recall | asked |", "|---|---|---|", *rows, "",
        "`trained` questions were trained on, `held out` ask the same in other words; the others were never used. "
        "`foreign` ones ask for what does not exist: the share to which it says that it does not know.",
    ]  # fmt: skip


def _licence(licence: str, base: str) -> str:
    if licence:
        return f"{licence}; what its documents allow (see above) comes on top."
    return f"That of its base model, {base}, and what its documents allow (see above): look both up before sharing it."
