"""The three-stage protocol's budgets, temperatures and limits. Defaults are the paper's (Appendix J)."""

from typing import Literal, Self

from pydantic import Field, model_validator

from memo_ray.config.base import Settings


class StageSettings(Settings):
    """One stage: how often the executive may speak, and how both models sample."""

    budget: int = Field(ge=1)
    """Interactions: one executive reply and the memory's answers to its sub-questions."""
    executive_temperature: float = Field(ge=0)
    memory_temperature: float = Field(ge=0)


class ProtocolConfig(Settings):
    """Section 4.4, Tables 14 and 15."""

    prompts: Literal["paper", "short"] = "paper"
    """`short`: for an executive of a few hundred million parameters. It is shown worked examples, writes one
    sub-question a turn, and chooses entity and answer among what the memory said."""
    grounding: StageSettings = StageSettings(budget=1, executive_temperature=0.4, memory_temperature=0.1)
    identification: StageSettings = StageSettings(budget=7, executive_temperature=0.4, memory_temperature=0.1)
    answering: StageSettings = StageSettings(budget=8, executive_temperature=1.0, memory_temperature=0.3)
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

    @model_validator(mode="after")
    def elimination_follows_demotion(self) -> Self:
        """Refuse limits that would strike a candidate before it is moved down."""
        if self.eliminate_after < self.demote_after:
            raise ValueError("eliminate_after must not be smaller than demote_after")
        return self
