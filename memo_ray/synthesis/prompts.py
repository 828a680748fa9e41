"""Prompt sets: the words that steps say to the generator, as files with named placeholders, checked when loaded.

A file `prompts/SET/NAME.md` holds sections headed `## system`, `## user`, `## assistant`. All but the last user
section are worked examples; the last one is the prompt, with placeholders such as `{{text}}`. A folder is read
once; a missing file, an unknown or a missing placeholder raises ConfigError that names the file.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from memo_ray.errors import ConfigError
from memo_ray.models.chat import Message

FOLDER = Path(__file__).parent / "prompts"
HEADING = re.compile(r"^## (system|user|assistant)\n", re.MULTILINE)
PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class Template:
    """One prompt with its worked examples. `digest` is over the file's content."""

    name: str
    system: str
    examples: tuple[Message, ...]
    user: str
    digest: str

    def messages(self, **values: str) -> tuple[Message, ...]:
        """The conversation that asks for a reply, with every placeholder filled in."""
        system: list[Message] = [{"role": "system", "content": self.system}] if self.system else []
        user = PLACEHOLDER.sub(lambda match: as_data(values[match.group(1)]), self.user)
        return (*system, *self.examples, {"role": "user", "content": user})


def as_data(text: str) -> str:
    """`text` with no closing tag in it, so that a document cannot end the `<text>` it stands in."""
    return text.replace("</", "< /")


PLACEHOLDERS: dict[str, frozenset[str]] = {
    "direct": frozenset({"text"}),
    "direct_for_answer": frozenset({"statement", "opening"}),
    "indirect": frozenset({"text"}),
    "indirect_for_answer": frozenset({"statement", "name", "description"}),
    "filling": frozenset({"text", "pairs"}),
    "consolidation": frozenset({"pairs", "kinds"}),
    "naming": frozenset({"pairs"}),
    "verification": frozenset({"text", "pairs", "violations"}),
    "rewriting": frozenset({"text", "question", "answer", "violations"}),
    "entities": frozenset({"entity", "facts"}),
    "entities_for_answer": frozenset({"facts", "opening"}),
    "connections": frozenset({"anchor", "others"}),
    "connections_for_answer": frozenset({"facts", "opening"}),
    "parallels": frozenset({"pairs"}),
    "rephrasing": frozenset({"question", "answer", "opening"}),
    "round_trip": frozenset({"text", "question"}),
}
"""The placeholders that each prompt has; a file may leave one out, and use no other."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Every prompt of one set, by name."""

    name: str
    templates: dict[str, Template]

    def __getitem__(self, name: str) -> Template:
        if name not in self.templates:
            raise ConfigError(f"prompts: the set {self.name} has no {name}.md; it cannot be used with these settings")
        return self.templates[name]

    def __contains__(self, name: str) -> bool:
        return name in self.templates

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of every prompt file, by name: what a fingerprint holds."""
        return {name: template.digest for name, template in sorted(self.templates.items())}


def load_prompts(name: str, folder: Path = FOLDER) -> PromptSet:
    """The prompt set `name`. Raises ConfigError for a set that is not there or a file that is not well formed."""
    files = sorted((folder / name).glob("*.md"))
    if not files:
        raise ConfigError(f"prompts: {folder / name} holds no .md files; sets: {', '.join(sorted(sets(folder)))}")
    return PromptSet(name, {path.stem: parse_template(path) for path in files})


def sets(folder: Path = FOLDER) -> list[str]:
    """The names of the prompt sets in `folder`."""
    return [path.name for path in folder.iterdir() if path.is_dir()]


def parse_template(path: Path) -> Template:
    """Read one prompt file and check its sections and placeholders."""
    allowed = PLACEHOLDERS.get(path.stem)
    if allowed is None:
        raise ConfigError(f"{path}: no step uses this prompt; known: {', '.join(sorted(PLACEHOLDERS))}")
    content = path.read_text(encoding="utf-8")
    parts = HEADING.split(content)
    sections = [(role, text.strip()) for role, text in zip(parts[1::2], parts[2::2], strict=True)]
    system = sections.pop(0)[1] if sections and sections[0][0] == "system" else ""
    roles = [role for role, _ in sections]
    if parts[0].strip() or not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        raise ConfigError(f"{path}: must hold ## system, then ## user and ## assistant in turn, ending with ## user")
    *examples, (_, user) = sections
    if PLACEHOLDER.search(system + "".join(text for _, text in examples)):
        raise ConfigError(f"{path}: placeholders belong into the last ## user section only")
    used = set(PLACEHOLDER.findall(user))
    if used - allowed or not used:
        wrong = ", ".join(sorted(used - allowed)) or "none"
        raise ConfigError(f"{path}: uses the placeholders {wrong}; this prompt has {', '.join(sorted(allowed))}")
    turns = tuple[Message, ...](Message(role=role, content=text) for role, text in examples)  # type: ignore[typeddict-item]
    return Template(path.stem, system, turns, user, hashlib.sha256(content.encode()).hexdigest())
