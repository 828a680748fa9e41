"""The protocol's kind, budgets, temperatures, limits and options. Defaults are the paper's (Appendix J)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from memo_ray.config.base import Settings

Routing = Literal["likeliest", "all"]
"""How one of several memories is chosen for a question."""


class StageSettings(Settings):
    """One stage: how often the executive may speak, and how both models sample."""

    budget: int = Field(ge=1)
    """Interactions: one executive reply and the memory's answers to its sub-questions."""
    executive_temperature: float = Field(ge=0)
    memory_temperature: float = Field(ge=0)


class SingleTurnSettings(Settings):
    """The single-turn baseline (Appendix J.2): every sub-question is chosen before any answer is seen."""

    executive_temperature: float = Field(default=0.4, ge=0)
    memory_temperature: float = Field(default=0.1, ge=0)


class MultiTurnSettings(Settings):
    """The unstructured multi-turn baseline (Appendix J.2): ask, look at all answers, ask again or answer."""

    interactions: int = Field(default=15, ge=1)
    """T, the first decomposition included."""
    first_executive_temperature: float = Field(default=0.4, ge=0)
    executive_temperature: float = Field(default=1.1, ge=0)
    memory_temperature: float = Field(default=0.1, ge=0)


class HybridSettings(Settings):
    """Retrieval over the corpus's chunks for sub-questions that the memory answers "I don't know"."""

    passages: int = Field(default=3, ge=1, le=20)
    """Passages shown for a sub-question, the best first."""
    passage_chars: int = Field(default=500, ge=80)
    """Longest passage in characters; a longer one is cut."""


class ProtocolConfig(Settings):
    """Section 4.4, Tables 14 and 15; the baselines of Appendix J.2; and options beyond the paper, all off."""

    kind: Literal["three_stage", "single_turn", "multi_turn"] = "three_stage"
    """The paper's protocol, or one of the two baselines that it is compared with."""
    prompts: Literal["paper", "short"] = "paper"
    """`short`: for an executive of a few hundred million parameters. It is shown worked examples, writes one
    sub-question a turn, and chooses entity and answer among what the memory said."""
    grounding: StageSettings = StageSettings(budget=1, executive_temperature=0.4, memory_temperature=0.1)
    identification: StageSettings = StageSettings(budget=7, executive_temperature=0.4, memory_temperature=0.1)
    answering: StageSettings = StageSettings(budget=8, executive_temperature=1.0, memory_temperature=0.3)
    single_turn: SingleTurnSettings = SingleTurnSettings()
    multi_turn: MultiTurnSettings = MultiTurnSettings()
    synthesis_temperature: float = Field(default=0.3, ge=0)
    executive_top_p: float = Field(default=0.95, gt=0, le=1)
    executive_max_tokens: int = Field(default=4096, ge=16)
    memory_max_tokens: int = Field(default=512, ge=1)
    max_sub_questions: int = Field(default=8, ge=1)
    """Sub-questions of one interaction that are put to the memory; further ones are dropped and logged."""
    demote_after: int = Field(default=2, ge=1)
    """"I don't know" answers about a candidate with nothing confirmed that move it down two ranks."""
    eliminate_after: int = Field(default=3, ge=1)
    """"I don't know" answers about a candidate that strike it from the list."""
    dead_end_after: int = Field(default=3, ge=1)
    """"I don't know" answers to a sub-question after which it must not be asked again."""
    abstention_instruction: bool = True
    """Tell the memory to say "I don't know" unless it is highly confident (it trains on bare questions)."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Seconds after which a question is answered with what is known."""
    parallel_sub_questions: bool = True
    """Put a turn's sub-questions to the memory at once. Each is asked alone either way, so only the time changes."""
    stop_early: bool = False
    """Beyond the paper: Stage 2 may go straight to the final synthesis when the evidence already answers."""
    wordings: int = Field(default=1, ge=1, le=9)
    """Beyond the paper: put every sub-question in so many wordings (the executive rephrases) and take the majority."""
    memories: tuple[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")], ...] = ()
    """Beyond the paper: names of several memories, each of which is asked every sub-question. Empty: one memory."""
    routing: Routing | None = None
    """Beyond the paper: one answer a sub-question from several `memories`: of the `likeliest` alone, or of `all` the
    one that its reflections support best. None: each memory that knows something is heard."""
    hybrid: HybridSettings | None = None
    """Beyond the paper: look up in the chunks what the memory does not know. None: the memory alone."""

    @model_validator(mode="after")
    def elimination_follows_demotion(self) -> Self:
        """Refuse limits that would strike a candidate before it is moved down."""
        if self.eliminate_after < self.demote_after:
            raise ValueError("eliminate_after must not be smaller than demote_after")
        return self

    @model_validator(mode="after")
    def short_prompts_know_the_papers_protocol_only(self) -> Self:
        """Refuse what the short prompts have no words for."""
        options = {
            "kind": self.kind != "three_stage",
            "stop_early": self.stop_early,
            "wordings": self.wordings > 1,
            "hybrid": self.hybrid is not None,
        }
        wrong = [name for name, used in options.items() if used]
        if self.prompts == "short" and wrong:
            raise ValueError(
                f"{', '.join(wrong)}: the short prompts cannot do this; set prompts: paper or leave it out"
            )
        return self

    @model_validator(mode="after")
    def memories_differ(self) -> Self:
        """Refuse one memory under the same name twice."""
        if len(set(self.memories)) < len(self.memories):
            raise ValueError("memories: a name stands twice; each memory is asked once")
        if self.routing is not None and len(self.memories) < 2:
            raise ValueError("routing: chooses among two or more memories; name them in memories, or leave it out")
        return self
