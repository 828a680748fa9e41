"""The whole file that a user writes: one run, its corpora and its stages."""

import re
from typing import Self

from pydantic import Field, field_validator, model_validator

from memo_ray.config.base import Settings
from memo_ray.config.corpus import CorpusConfig
from memo_ray.config.costs import Costs
from memo_ray.config.evaluation import EvaluationConfig
from memo_ray.config.merging import MergingConfig
from memo_ray.config.models import OpenAIModel, Prices
from memo_ray.config.serving import ServingConfig
from memo_ray.config.synthesis import SynthesisConfig
from memo_ray.config.training import TrainingConfig


class RunConfig(Settings):
    """A run: documents to memory to answers. Each stage has its own section; all but `corpora` have defaults."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,60}$")
    root: str = "runs"
    """Folder under which the run's own folder is made, relative to the current one; or `s3://bucket/prefix`."""
    corpora: tuple[CorpusConfig, ...] = Field(min_length=1)
    synthesis: SynthesisConfig = SynthesisConfig()
    training: TrainingConfig = TrainingConfig()
    merging: MergingConfig | None = None
    serving: ServingConfig = ServingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    costs: Costs = Costs()

    @property
    def currency(self) -> str:
        """What the run's prices are in."""
        return next(iter(self._currencies()), "USD")

    def _currencies(self) -> dict[str, str]:
        """Currencies that the run's prices state, each with its key."""
        stated = {self.costs.currency: "costs.currency"} if self.costs.currency else {}
        for key, prices in self._token_prices().items():
            stated.setdefault(prices.currency, f"{key}.prices.currency")
        return stated

    def _token_prices(self) -> dict[str, Prices]:
        """Prices of the endpoints that the run pays by their tokens, each by the model's key."""
        models = {"synthesis.generator": self.synthesis.generator, "serving.executive": self.serving.executive}
        return {key: one.prices for key, one in models.items() if isinstance(one, OpenAIModel) and one.prices}

    @model_validator(mode="after")
    def prices_can_be_added_up(self) -> Self:
        """Refuse prices in several currencies, and a limit in money that nothing would ever reach."""
        if len(stated := self._currencies()) > 1:
            said = ", ".join(f"{key} is {currency}" for currency, key in stated.items())
            raise ValueError(f"costs: all prices of a run must be in one currency, but {said}")
        costs = self.costs
        if costs.max_cost is not None and not (costs.gpu_hour or costs.cpu_hour or self._token_prices()):
            raise ValueError("costs.max_cost needs a price: costs.gpu_hour, costs.cpu_hour, or an endpoint's prices")
        return self

    @field_validator("root")
    @classmethod
    def root_is_a_place(cls, root: str) -> str:
        """Refuse an address without a bucket, and of what is not S3: they would be taken for folders."""
        address = re.match(r"s3:|\w[\w+.-]*://", root, re.IGNORECASE)
        if address and not re.match(r"s3://[a-z0-9][a-z0-9.-]+(/|$)", root):
            raise ValueError("write s3://bucket/prefix or a folder; AWS_ENDPOINT_URL names a service that is not AWS")
        return root

    @model_validator(mode="after")
    def names_and_merging_agree(self) -> Self:
        """Refuse two corpora of one name, and merging that does not fit their number."""
        names = [corpus.name for corpus in self.corpora]
        if len(set(names)) < len(names):
            raise ValueError(f"corpora: every corpus needs its own name, got {', '.join(names)}")
        if len(names) > 1 and self.merging is None:
            raise ValueError(
                "merging: a run with several corpora needs a merging section (merging: {} for the paper's)"
            )
        if len(names) == 1 and self.merging is not None:
            raise ValueError("merging: needs two or more corpora; remove the section or name another corpus")
        return self
