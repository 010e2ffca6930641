"""What a call costs, from genai-prices' packaged table; the network is never asked.

A price that is not known is None. It is looked up only for the provider that answered: the same
model on one's own machine does not cost what a vendor asks for it.
"""

from __future__ import annotations

from decimal import Decimal

from genai_prices import Usage, calc_price

from stigmergy.models.chat import TokenUsage
from stigmergy.models.config import ProviderConfig

__all__ = ["cost_usd"]

_MILLION = Decimal(1_000_000)


def cost_usd(provider: ProviderConfig, model: str, usage: TokenUsage) -> Decimal | None:
    """The cost of `usage` of `model` (the agents' name) at `provider`; None is unknown."""
    own = provider.prices.get(model)
    if own is not None:
        return (
            usage.prompt_tokens * own.input_mtok + usage.completion_tokens * own.output_mtok
        ) / _MILLION
    upstream = provider.upstream_name(model)
    return None if upstream is None else _table_cost(provider, upstream, usage)


def _table_cost(provider: ProviderConfig, model: str, usage: TokenUsage) -> Decimal | None:
    tokens = Usage(
        input_tokens=usage.prompt_tokens,
        cache_read_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )
    try:
        if provider.price_id is not None:
            price = calc_price(tokens, model, provider_id=provider.price_id)
        else:
            price = calc_price(tokens, model, provider_api_url=provider.base_url)
    except LookupError:
        return None
    asked = price.model_price
    if asked.input_mtok is None or asked.output_mtok is None:
        # Listed, but not priced by text tokens: the sum would be too small, or nothing.
        return None
    return price.total_price
