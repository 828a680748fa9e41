"""What every step is given beside its rows: the configuration and the prompt set, and how they shape a prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.rows import Chunk
from memo_ray.synthesis import schemas
from memo_ray.synthesis.asking import Prompt
from memo_ray.synthesis.pairs import Pair
from memo_ray.synthesis.prompts import PromptSet, load_prompts
from memo_ray.synthesis.spans import sentences

SHORT_REPLY = {"sentence": 72, "chunk": 512}
"""Tokens of a reply that is one pair, by prompt set: made from a sentence, or with an answer of up to 150 words."""


WORDS_A_FACT = 6
LEAST_ITEMS = 8


@dataclass(frozen=True, slots=True)
class Origin:
    """Which chunks, documents and group a prompt is about; it ends up in the ledger."""

    chunk_ids: tuple[str, ...]
    document_ids: tuple[str, ...]
    group_id: str = ""

    @classmethod
    def of_chunk(cls, chunk: Chunk) -> Origin:
        """One chunk alone."""
        return cls((chunk.chunk_id,), (chunk.document_id,))

    @classmethod
    def of_pairs(cls, pairs: tuple[Pair, ...], group_id: str = "") -> Origin:
        """Every chunk and document that `pairs` came from, each once, in order."""
        chunks = dict.fromkeys(chunk for pair in pairs for chunk in pair.chunk_ids)
        documents = dict.fromkeys(document for pair in pairs for document in pair.document_ids)
        return cls(tuple(chunks), tuple(documents), group_id)


@dataclass(frozen=True, slots=True)
class StepSettings:
    """The configuration and the prompts; `prompt` and `samples` make a step's prompts from them."""

    config: SynthesisConfig
    prompts: PromptSet

    @classmethod
    def load(cls, config: SynthesisConfig) -> StepSettings:
        """The settings with the configured prompt set read from its files."""
        return cls(config, load_prompts(config.prompts))

    @property
    def spans(self) -> bool:
        """Whether answers are cut out of sentences by rules, and questions written to them."""
        return self.config.answers == "spans"

    def asks_back(self, step: str) -> bool:
        """Whether `grounding.round_trip` holds for the pairs of `step`.

        The sentence set joins the answers of two pairs that have each passed, so only single answers are asked.
        """
        return self.config.prompts == "chunk" or step in ("direct", "entities")

    def texts(self, chunk: Chunk) -> list[str]:
        """What one prompt of Step 1 is about: the chunk, or each of its sentences."""
        return [shown(chunk)] if self.config.prompts == "chunk" else sentences(chunk.text)

    def most(self, text: str) -> int:
        """Items that a list made from `text` may have at most: more than one for every `WORDS_A_FACT` words is a
        generator that repeats itself, which small ones do until their token limit."""
        return 1 << (LEAST_ITEMS + len(text.split()) // WORDS_A_FACT).bit_length()  # few schemas, so few grammars

    def prompt(
        self, step: str, template: str, schema: dict[str, Any], origin: Origin, *,
        values: dict[str, str], evidence: str = "", short: bool = False, exact: bool = False, sample: int = 0,
        answer: str = "", statement: str = "", items: tuple[Pair, ...] = (),
    ) -> Prompt:  # fmt: skip
        """One prompt from the template. `exact`: at temperature 0. `short`: the reply is one pair at most."""
        sampling = self.config.sampling
        max_tokens = min(SHORT_REPLY[self.config.prompts], sampling.max_tokens) if short else sampling.max_tokens
        return Prompt(
            step=step,
            messages=self.prompts[template].messages(**values),
            schema=schemas.fitting(schema, max_tokens, len(items)),
            temperature=0.0 if exact else sampling.temperature,
            top_p=1.0 if exact else sampling.top_p,
            max_tokens=max_tokens,
            evidence=evidence,
            chunk_ids=origin.chunk_ids,
            document_ids=origin.document_ids,
            group_id=origin.group_id,
            sample=sample,
            answer=answer,
            statement=statement,
            items=items,
        )

    def samples(self, *args: Any, copies: int = 0, **kwargs: Any) -> list[Prompt]:
        """The same prompt `copies` times, or for 0 as often as `samples` says, told apart by their number."""
        return [self.prompt(*args, **kwargs, sample=number) for number in range(copies or self.config.samples)]


def shown(chunk: Chunk) -> str:
    """A chunk as a prompt shows it: below its document's title, which often is all that says what "the film" is."""
    title = chunk.title.strip()
    return chunk.text if not title or chunk.text.lstrip("# ").startswith(title) else f"{title}\n\n{chunk.text}"


def numbered(pairs: tuple[Pair, ...]) -> str:
    """`pairs` as numbered lines, from 1."""
    return "\n".join(f"{number}. Q: {pair.question} A: {pair.answer}" for number, pair in enumerate(pairs, 1))


def picked(numbers: list[int], items: tuple[Pair, ...]) -> tuple[Pair, ...]:
    """The pairs that a reply refers to by number; numbers that were not shown are passed over."""
    return tuple(items[number - 1] for number in dict.fromkeys(numbers) if 1 <= number <= len(items))


def made(prompt: Prompt, question: str, answer: str, parents: tuple[Pair, ...] = (), kind: str = "") -> Pair:
    """A pair from the reply to `prompt`; with `parents`, it comes from their chunks only."""
    origin = Origin.of_pairs(parents, prompt.group_id) if parents else None
    return Pair(
        question=" ".join(question.split()),
        answer=" ".join(answer.split()),
        step=prompt.step,
        evidence=prompt.evidence,
        chunk_ids=origin.chunk_ids if origin else prompt.chunk_ids,
        document_ids=origin.document_ids if origin else prompt.document_ids,
        prompt_id=prompt.prompt_id,
        seed=prompt.seed,
        parents=tuple(pair.reflection_id for pair in parents),
        group_id=prompt.group_id,
        kind=kind,
    )
