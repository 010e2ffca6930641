"""Prices: known, the user's own, or unknown; never a wrong 0."""

from decimal import Decimal

from stigmergy.models.chat import TokenUsage
from stigmergy.models.config import ProviderConfig, TokenPrice
from stigmergy.models.prices import cost_usd
from stigmergy.models.providers import parse_model, preset

USAGE = TokenUsage(1_000_000, 1_000_000)


def test_a_listed_model_has_the_price_of_its_provider():
    cost = cost_usd(preset("openai", environ={}), "gpt-4o-mini", USAGE)
    assert cost == Decimal("0.75")


def test_every_vendor_is_found_by_its_preset():
    models = {"openai": "gpt-4o", "anthropic": "claude-sonnet-4-5", "openrouter": "openai/gpt-4o"}
    for name, model in models.items():
        cost = cost_usd(preset(name, environ={}), model, TokenUsage(1000, 1000))
        assert cost is not None, name
        assert cost > 0, name


def test_the_name_at_the_provider_decides():
    provider = ProviderConfig(
        name="p", base_url="https://api.openai.com/v1", models={"small": "gpt-4o-mini"}
    )
    assert cost_usd(provider, "small", USAGE) == Decimal("0.75")


def test_what_the_cache_gave_is_cheaper():
    openai = preset("openai", environ={})
    cached = TokenUsage(1_000_000, 0, cached_tokens=1_000_000)
    full = cost_usd(openai, "gpt-4o-mini", TokenUsage(1_000_000, 0))
    part = cost_usd(openai, "gpt-4o-mini", cached)
    assert full is not None
    assert part is not None
    assert 0 < part < full


def test_a_vendors_model_on_ones_own_machine_has_no_known_price():
    choice = parse_model("http://127.0.0.1:8000/v1#gpt-4o-mini", environ={})
    assert cost_usd(choice.provider, "gpt-4o-mini", USAGE) is None
    assert cost_usd(preset("ollama", environ={}), "gpt-oss-120b", USAGE) is None


def test_an_unlisted_model_is_unknown_not_free():
    assert cost_usd(preset("openrouter", environ={}), "nobody/nothing", USAGE) is None


def test_the_users_own_price_comes_first():
    price = TokenPrice(input_mtok=Decimal(2), output_mtok=Decimal("0.5"))
    provider = ProviderConfig(name="p", base_url="http://127.0.0.1:1/v1", prices={"m": price})
    assert cost_usd(provider, "m", USAGE) == Decimal("2.5")
    assert cost_usd(provider, "other", USAGE) is None
