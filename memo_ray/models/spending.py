"""What an endpoint has cost so far, and the limit at which it is asked no more.

Tokens come from the journal of replies, money from the prices that the configuration states. Requests that are under
way count with an estimate, so the limit is passed by no more than the error of those estimates.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from memo_ray.config.models import OpenAIModel, Prices
from memo_ray.errors import SpendingLimitReached
from memo_ray.models.chat import ChatRequest
from memo_ray.models.journal import Journal
from memo_ray.models.tokens import estimated_tokens

FIRST_GUESS = 512
"""Tokens that a reply is thought to have before any has come."""
MILLION = 1_000_000


def money(prices: Prices, used: Mapping[str, float], *, batch: bool = False) -> float:
    """The price of `used` (input_tokens, output_tokens, cached_tokens among the input), in the currency of `prices`."""
    cached = used.get("cached_tokens", 0)
    fresh = used.get("input_tokens", 0) - cached
    cached_price = prices.input if prices.cached_input is None else prices.cached_input
    total = fresh * prices.input + cached * cached_price + used.get("output_tokens", 0) * prices.output
    return total / MILLION * (prices.batch_share if batch else 1.0)


class Spending:
    """Accounts of one client. `begin` before a request is sent, `end` when it has its reply or none."""

    def __init__(self, config: OpenAIModel, journal: Journal) -> None:
        self._config, self._journal = config, journal
        self._replies = 0
        self._under_way: Counter[str] = Counter()
        self._refused = ""
        self.waiting = 0

    def estimate(self, request: ChatRequest) -> Counter[str]:
        """Tokens that a request will probably use, going by the replies so far."""
        mean = self._journal.used["output_tokens"] // self._replies if self._replies else FIRST_GUESS
        prompt = sum(estimated_tokens(message["content"]) for message in request.messages)
        return Counter(input_tokens=prompt, output_tokens=min(request.max_tokens, max(1, mean)))

    def begin(self, estimate: Counter[str], requests: int = 1) -> bool:
        """Count requests as under way. False: they must wait for those that are, since together they may be too dear.

        Raises SpendingLimitReached when they would pass a limit by themselves, and from then on for every request:
        whoever asks is about to end, and would leave a reply behind that is paid for and kept by nobody.
        """
        reached = self.reached(estimate)
        if reached and self.waiting and not self._refused:
            return False
        self._refused = self._refused or reached
        if self._refused:
            raise SpendingLimitReached(self._refused)
        self._under_way += estimate
        self.waiting += requests
        return True

    def end(self, estimate: Counter[str], *, replied: int, requests: int = 1) -> None:
        """Count requests as no longer under way; `replied` of them have a reply, which is in the journal by now."""
        self._under_way -= estimate
        self.waiting -= requests
        self._replies += replied

    def reached(self, estimate: Mapping[str, int]) -> str:
        """What to say when `estimate` more would pass a limit; else empty."""
        limit = self._config.spending
        if limit is None:
            return ""
        used, soon = self._journal.used, Counter(self._journal.used) + self._under_way + Counter(dict(estimate))
        tokens, expected = (sum(count[name] for name in ("input_tokens", "output_tokens")) for count in (used, soon))
        if limit.tokens is not None and expected > limit.tokens:
            return self._said("tokens", f"{limit.tokens:,} tokens", f"{tokens:,} used")
        prices, batch = self._config.prices, self._config.batch is not None
        if limit.money is not None and prices is not None and money(prices, soon, batch=batch) > limit.money:
            paid = money(prices, used, batch=batch)
            return self._said("money", f"{limit.money:g} {prices.currency}", f"{paid:.2f} {prices.currency} spent")
        return ""

    def _said(self, key: str, limit: str, used: str) -> str:
        return (
            f"endpoint {self._config.base_url}: the limit of {limit} is reached ({used}); every reply so far is kept: "
            f"raise spending.{key} of this model and run the same command to go on"
        )
