"""How reflections are made: the generator, the steps and their settings, the checks on what it says."""

import unicodedata
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from memo_ray.config.base import Settings
from memo_ray.config.comparison import EmbeddingModel
from memo_ray.config.corpus import ENCODER_REMEDY
from memo_ray.config.models import ModelConfig, VllmModel

StepName = Literal["direct", "indirect", "consolidation", "verification", "entities", "connections"]


class Sampling(Settings):
    """How the generator samples. The paper: temperature 1.1, top_p 0.95, up to 32,768 tokens."""

    temperature: float = Field(default=1.1, ge=0)
    top_p: float = Field(default=0.95, gt=0, le=1)
    max_tokens: int = Field(default=32_768, ge=16)


class Grounding(Settings):
    """Cheap checks, beside the paper's own Step 3, that a pair is supported by the text it came from.

    The paper trusts its 32B generator and has none of them. With a small generator they remove what the model
    invents. Shares are of content words; an answer's numbers must always be found.
    """

    lexical: bool = False
    """Content words and numbers of an answer must stand in the chunk or the parent pairs."""
    direct_share: float = Field(default=1.0, ge=0, le=1)
    """Step 1a: content words of the answer that must stand in the text."""
    derived_share: float = Field(default=0.6, ge=0, le=1)
    """Steps 1b, 2, 4 and 5: content words of the answer that must stand in the text or the parent pairs."""
    strict_questions: bool = False
    """A question must open with a question word, name something of its text, ask for something in particular, add few
    words of its own (with `prompts: sentence` Step 1a adds none), turn no relation round and not hold its answer. With
    `prompts: chunk` the people of a story may be named as it names them (`cast.py`): by a role, or by a name that other
    documents use too; the work's title then comes before the question."""
    round_trip: bool = False
    """The generator, shown the text (for Step 5 the pairs used), must answer its own question with the same content
    words. With `prompts: chunk` in every step, else in Steps 1a and 4, whose answers are single."""


class Calibration(Settings):
    """How much of what all pairs would give the candidates keep: measured on a sample of groups, off by default."""

    groups: int = Field(default=0, ge=0)
    """Groups whose pairs are also looked at all against all; 0: none."""
    prompts_a_group: int = Field(default=200, ge=1)
    """At most so many prompts for each of them, evenly spread over its pairs."""


class Connections(Settings):
    """Step 5. `all_pairs` is the paper's: one anchor pair against batches of pairs of the group's other chunks."""

    candidates: Literal["all_pairs", "shared_entities"] = "all_pairs"
    """`shared_entities`: only pairs of different chunks that share a name or number, or are near each other by their
    words. Their number grows with the number of pairs, that of `all_pairs` with its square."""
    batch_size: int = Field(default=20, ge=1)
    """Pairs of other chunks shown with one anchor pair. With `prompts: sentence` it is always 1."""
    rare_in_chunks: int = Field(default=20, ge=2)
    """`shared_entities`: a name in more chunks of the group than this is a hub, too common to connect by alone."""
    rare_in_pairs: int = Field(default=100, ge=2)
    """`shared_entities`: a name in more pairs of the group than this is a hub, in however few chunks they are."""
    short_names: bool = True
    """`shared_entities`: `Captain Abel Thrane` also counts as `Abel Thrane` and `Thrane` where the group has them."""
    hub_neighbours: int = Field(default=20, ge=0, le=1000)
    """`shared_entities`: every pair with a hub is looked at with so many others that hold it, the nearest by the
    words beside the hub; 0: hubs connect nothing."""
    neighbours: int = Field(default=40, ge=0, le=1000)
    """`shared_entities`: every pair is looked at with its so many nearest, whatever names they share; 0: none."""
    neighbours_by: Literal["words", "embedding"] = "words"
    """What `neighbours` are nearest by: BM25 over their words, or the cosine of an encoder's vectors."""
    encoder: EmbeddingModel | None = None
    """`neighbours_by: embedding`: what makes the vectors, such as `{engine: transformers, model: NAME}`."""
    max_prompts: int | None = Field(default=None, ge=1)
    """At most so many Step-5 prompts a group, evenly spread; none: all."""
    calibration: Calibration = Calibration()

    @model_validator(mode="after")
    def embedding_has_its_encoder(self) -> Self:
        """Refuse vectors without what makes them, an encoder that nothing uses, and both where nobody looks."""
        if (self.neighbours_by == "embedding") != (self.encoder is not None):
            raise ValueError(ENCODER_REMEDY.format(key="neighbours_by"))
        if self.encoder is not None and (self.candidates != "shared_entities" or not self.neighbours):
            raise ValueError("neighbours_by: embedding needs candidates: shared_entities and neighbours above 0")
        return self


Personal = Literal["email", "iban", "card", "ssn", "ip", "phone"]


class Quality(Settings):
    """What is removed or changed beyond the paper's steps; all off, as in the paper. Every loss has its reason."""

    near_duplicates: float | None = Field(default=None, ge=0.5, le=1)
    """Of two pairs that are at least so alike (Jaccard over runs of four characters) and have the same names and
    numbers, the later one goes, whatever steps they come from; none: only pairs with the same words go."""
    scripts: tuple[str, ...] = ()
    """Writing systems by their Unicode names (LATIN, CYRILLIC, CJK, ARABIC, ...): a pair with letters of another
    one goes, unless its text has them too; none: all."""
    languages: tuple[str, ...] = ()
    """Languages by their codes (en, de, zh, ...): a pair in another one goes, for generators that drift into another
    language than the text's; none: all."""
    language_confidence: float = Field(default=0.4, gt=0, le=1)
    """`languages`: how sure the detector must be that it is another one; short texts with names are hard to tell."""
    self_contained_rules: bool = False
    """Rules for English look for what Step 3 asks the generator (pronouns, references to the text, vague times and
    places), also in the pairs of Steps 4 and 5, which nobody asks about."""
    redact: tuple[Personal, ...] = ()
    """Personal data that is replaced by a tag such as [EMAIL] before the generator sees the text."""

    @field_validator("scripts")
    @classmethod
    def scripts_exist(cls, scripts: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse a writing system that no letter has, by which every pair would be lost."""
        if scripts:
            known = {unicodedata.name(sign, " ").split(" ")[0].partition("-")[0] for sign in map(chr, range(1 << 17))}
            wrong = sorted(set(scripts) - known)
            if wrong:
                raise ValueError(f"{wrong[0]} is no writing system; write LATIN, CYRILLIC, GREEK, ARABIC, CJK, ...")
        return scripts


class Unknown(Settings):
    """Questions about entities that the corpus does not hold, answered "I don't know"; not in the paper."""

    share: float = Field(default=0.0, ge=0, le=0.5)
    """Of all training pairs. A few percent teach a memory to abstain; many teach it to do nothing else."""


class HeldOut(Settings):
    """Rephrased questions that are never trained on: what epochs, merges and settings are chosen by."""

    share: float = Field(default=0.1, ge=0, le=1)
    """Share of the reflections of Steps 1 to 4 whose question is also rephrased."""
    max_questions: int = Field(default=200, ge=0)


class SynthesisConfig(Settings):
    """The five steps of Section 4.1. Defaults are the paper's."""

    generator: ModelConfig = VllmModel(engine="vllm")
    source: Literal["generator", "documents"] = "generator"
    """`documents`: no generator; the raw text itself is what is trained on, for comparison with reflections."""
    without: tuple[StepName, ...] = ()
    """Steps to leave out, as in the paper's Table 9."""
    prompts: Literal["chunk", "sentence"] = "chunk"
    """`chunk`: the paper's way, a whole chunk a prompt. `sentence`: one sentence a prompt with worked
    examples, which is what a model of a few hundred million parameters can follow."""
    answers: Literal["generated", "spans"] = "generated"
    """`generated`: the generator writes question and answer, as in the paper. `spans` (only with `prompts:
    sentence`): rules for English pick names, dates, numbers and noun phrases of a sentence as answers, and the
    generator writes the question to each. A model of 135M parameters needs this."""
    samples: int = Field(default=1, ge=1)
    """Replies sampled for each prompt of Steps 1, 2, 4 and 5; duplicates are removed."""
    sampling: Sampling = Sampling()
    max_rewrites: int = Field(default=5, ge=0)
    """Step 3: tries to make a pair self-contained before it is discarded."""
    min_pairs_to_consolidate: int = Field(default=3, ge=2)
    """Step 2 is left out for a chunk with fewer raw pairs."""
    consolidation_batch: int | None = Field(default=None, ge=2)
    """Step 2: raw pairs of a chunk shown in one prompt; none: all of them, as in Algorithm 1. Only for a generator
    whose context is too short, since pairs of different prompts cannot be merged."""
    fill_rounds: int = Field(default=0, ge=0, le=5)
    """Targeted fill (Appendix E.2, which found little gain): so often a chunk is shown with its Step-1 pairs, and
    the generator adds what they leave out. Needs `prompts: chunk`."""
    paraphrases: int = Field(default=0, ge=0, le=10)
    """Paraphrasing (Appendix E.2, left out there for its cost): other wordings trained for each verified pair."""
    entity_scope: Literal["chunk", "document"] = "chunk"
    """Facts of an entity are gathered over a chunk (Section 4.1's text) or a document (Algorithm 1)."""
    connections: Connections = Connections()
    grounding: Grounding = Grounding()
    quality: Quality = Quality()
    unknown: Unknown = Unknown()
    held_out: HeldOut = HeldOut()
    max_reflections: int | None = Field(default=None, ge=1)
    """Keep at most so many training pairs, evenly over chunks, with every text covered first; none: all."""
    max_reject_share: float = Field(default=0.5, ge=0, le=1)
    """Above this share of prompts without a usable reply (after one retry) the stage fails and says why."""
    chunks_in_flight: int = Field(default=16, ge=1)
    """Chunks that one engine works on at once."""
    engine_restarts: int = Field(default=3, ge=0)
    """Engines started anew, for each that died, before the stage gives up."""
    no_progress_s: float = Field(default=1800, gt=0)
    """An engine that answers none of its prompts for so long counts as dead. More than its longest reply takes."""

    @model_validator(mode="after")
    def something_is_extracted(self) -> Self:
        """Refuse a recipe in which no step reads the text, and a fill with prompts that show single sentences."""
        if {"direct", "indirect"} <= set(self.without):
            raise ValueError("without: leaves out direct and indirect, so nothing reads the text; keep one of them")
        if self.fill_rounds and self.prompts != "chunk":
            raise ValueError("fill_rounds: shows a whole chunk with its pairs; it needs prompts: chunk")
        return self

    @model_validator(mode="after")
    def spans_need_sentences(self) -> Self:
        """Refuse answer spans with prompts that show whole chunks."""
        if self.answers == "spans" and self.prompts != "sentence":
            raise ValueError("answers: spans cuts answers out of single sentences; it needs prompts: sentence")
        return self
