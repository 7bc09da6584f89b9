"""What tokens cost: as the recipe says, or by a small table with its date and source."""

from __future__ import annotations

from typing import NamedTuple

from evalkit.chat_client.usage import Usage

# US dollars per million tokens in and out, standard rates: no batch, no cached input.
# Source: https://openai.com/api/pricing/ as the tables of https://deploybase.ai/articles/
# openai-pricing (March 2026) and https://tokenmath.io (June 2026) give it; models that are no
# longer listed as tatsu-lab/alpaca_eval, decoders/openai.py (release 0.6.6) has them for input.
DATE = "2026-06-21"
HOST = "api.openai.com"
TABLE: dict[str, tuple[float, float]] = {
    "gpt-4-1106-preview": (10.0, 30.0),
    "gpt-4-turbo": (10.0, 30.0),
    "gpt-4-turbo-2024-04-09": (10.0, 30.0),
    "gpt-4": (30.0, 60.0),
    "gpt-4-0613": (30.0, 60.0),
    "gpt-4o": (2.5, 10.0),
    "gpt-4o-2024-08-06": (2.5, 10.0),
    "gpt-4o-mini": (0.15, 0.6),
    "gpt-4o-mini-2024-07-18": (0.15, 0.6),
    "gpt-4.1": (2.0, 8.0),
    "gpt-4.1-2025-04-14": (2.0, 8.0),
    "gpt-4.1-mini": (0.4, 1.6),
    "gpt-4.1-mini-2025-04-14": (0.4, 1.6),
    "gpt-4.1-nano": (0.1, 0.4),
    "gpt-4.1-nano-2025-04-14": (0.1, 0.4),
}


class Price(NamedTuple):
    """US dollars per million tokens. source: who says so, and when."""

    usd_per_million_in: float
    usd_per_million_out: float
    source: str

    def usd(self, usage: Usage) -> float:
        """What so many tokens cost."""
        cost_in = usage.tokens_in * self.usd_per_million_in
        return (cost_in + usage.tokens_out * self.usd_per_million_out) / 1e6


def known_price(model: str, host: str) -> Price | None:
    """The table's price of a model of that host, None where it has none."""
    if host != HOST or model not in TABLE:
        return None
    return Price(*TABLE[model], source=f"evalkit's table of {DATE}")
