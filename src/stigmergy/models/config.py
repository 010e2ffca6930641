"""What the user says about models: providers, budgets, retries, recording.

These are settings as data, checked when they are parsed. A key never stands here, only the name
of the environment variable or of the file that holds it (`providers.py` reads it).
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from stigmergy.addresses import is_loopback

__all__ = [
    "BudgetLimits",
    "Budgets",
    "GatewayConfig",
    "ProviderConfig",
    "RetryPolicy",
    "TokenPrice",
]


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _plain_base_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise ValueError("must hold no user, password, query or fragment: keys go by key_env")
    return url.rstrip("/")


BaseUrl = Annotated[str, AfterValidator(_plain_base_url)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class TokenPrice(_Settings):
    """A price of the user's own, in US dollars for a million tokens."""

    input_mtok: Decimal = Field(ge=0)
    output_mtok: Decimal = Field(ge=0)


class ProviderConfig(_Settings):
    """One place that answers chat completions the OpenAI way."""

    name: Name
    base_url: BaseUrl
    """Up to and without `/chat/completions`, as in `https://api.openai.com/v1`."""
    key_env: str | None = None
    """The environment variable with the key. Missing or empty is an error if `key_required`."""
    key_file: Path | None = None
    """A file with nothing but the key; not readable by others on the machine."""
    key_required: bool = True
    allow_plain_http: bool = False
    """Send the key over http:// to another machine. Without this only https or loopback is used."""
    models: dict[str, str] | None = None
    """The names that agents use, and what each is called here. None passes every name on."""
    role: Literal["primary", "spillover"] = "primary"
    """A spillover is asked only when no primary can answer."""
    weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)
    """Its share of first attempts among providers of its role; 0 is asked last."""
    max_concurrent: int | None = Field(default=None, ge=1)
    timeout_s: float = Field(default=600.0, gt=0)
    """For one attempt, until the whole answer is here."""
    idle_timeout_s: float = Field(default=120.0, gt=0)
    """The longest silence within a streamed answer."""
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    """Sent along, such as OpenRouter's `HTTP-Referer`. Not for keys: they are not redacted."""
    extra_fields: frozenset[str] = frozenset()
    """Fields of a request, beyond OpenAI's usual ones, that agents may send to this provider."""
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    price_id: str | None = None
    """Its id in genai-prices. None looks the price up by `base_url`, never by the model alone."""
    prices: dict[str, TokenPrice] = Field(default_factory=dict[str, TokenPrice])
    """By the agents' name of the model; comes before genai-prices."""

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.key_env and self.key_file:
            raise ValueError(f"provider {self.name!r} names both key_env and key_file: keep one")
        parts = urlsplit(self.base_url)
        secret = self.key_env or self.key_file
        plain = parts.scheme == "http" and not is_loopback(parts.hostname)
        if secret and plain and not self.allow_plain_http:
            raise ValueError(
                f"provider {self.name!r} would send its key unencrypted to {parts.hostname}: "
                "use https, or set allow_plain_http"
            )
        return self

    def upstream_name(self, model: str) -> str | None:
        """What `model` is called here, or None if it is not offered."""
        return model if self.models is None else self.models.get(model)


class BudgetLimits(_Settings):
    """Hard limits of one scope; None is unlimited."""

    tokens: int | None = Field(default=None, ge=0)
    """Prompts and completions together."""
    cost_usd: Decimal | None = Field(default=None, ge=0)

    @property
    def unlimited(self) -> bool:
        """True where nothing is limited."""
        return self.tokens is None and self.cost_usd is None


class Budgets(_Settings):
    """Limits for each task, for the run, and for all runs of this user on this machine."""

    task: BudgetLimits = BudgetLimits()
    run: BudgetLimits = BudgetLimits()
    fleet: BudgetLimits = BudgetLimits()
    fleet_window: Literal["all", "month", "day"] = "all"
    """Whether the fleet's spend starts again each month or day (UTC)."""
    allow_unknown_prices: bool = False
    """Let models without a known price run under a cost limit, which then cannot hold them."""
    bytes_per_token: float = Field(default=3.0, ge=1.0)
    """For estimating a prompt before the call. English and code have about four bytes a token.
    A limit can be passed by as much as the prompts of calls under way were underestimated, and
    not again after that; 1.0 does not underestimate, but reserves far more than is spent."""
    default_max_tokens: int = Field(default=8192, ge=1)
    """Asked for where a limit holds and the request names no maximum of its own."""
    wait_s: float = Field(default=60.0, ge=0)
    """How long a call waits when only the reservations of calls under way stand against it."""


class RetryPolicy(_Settings):
    """When an attempt has failed in a way that may pass."""

    max_attempts: int = Field(default=6, ge=1)
    base_s: float = Field(default=0.5, gt=0)
    """The first wait; it doubles with every attempt, less up to half at random."""
    max_wait_s: float = Field(default=60.0, gt=0)
    """The longest single wait. A provider that asks for more is given up for the call."""


class GatewayConfig(_Settings):
    """A gateway answers from providers or from a recording, never from both."""

    providers: tuple[ProviderConfig, ...] = ()
    replay: Path | None = None
    record: Path | None = None
    """Append every answer to this file."""
    record_label: str = ""
    conversations: Path | None = None
    """Keep what is asked and answered, for people to read, in a file for each task here."""
    default_model: str | None = None
    """Served to requests for `default`."""
    budgets: Budgets = Budgets()
    retry: RetryPolicy = RetryPolicy()
    max_request_bytes: int = Field(default=8 * 1024**2, ge=1024)
    max_response_bytes: int = Field(default=16 * 1024**2, ge=1024)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.providers) == bool(self.replay):
            raise ValueError("give either providers or a recording to replay")
        if self.replay and self.record:
            raise ValueError("a replay is not recorded again: drop record or replay")
        names = [provider.name for provider in self.providers]
        if len(set(names)) != len(names):
            raise ValueError(f"two providers have one name: {', '.join(sorted(names))}")
        return self
