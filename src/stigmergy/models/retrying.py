"""What to do after an attempt failed: pure.

Three answers: the request itself is wrong (`Refuse`), this provider will not serve it
(`Elsewhere`), or it may pass (`Retry`, after a wait that Retry-After or the backoff decides).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

from stigmergy.models.config import RetryPolicy

__all__ = ["Elsewhere", "Failure", "Refuse", "Retry", "Verdict", "judge", "parse_retry_after"]

_BUSY = frozenset({429, 503, 529})  # 529: Anthropic is overloaded
_PASSING = frozenset({408, 409, 425, 429})
_NOT_HERE = frozenset({401, 402, 403, 404, 405, 501})


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt gave no answer."""

    kind: Literal["status", "timeout", "connect", "broken", "malformed"]
    """`connect` never reached the provider; `broken` was cut off; `malformed` is not an answer."""
    detail: str
    status: int | None = None
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """The request is at fault: every provider would say so."""


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Not from this provider, not for this call."""

    cool_down_s: float = 0.0
    """How long every other call leaves it alone as well."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It may pass: this call leaves the provider alone for `wait_s`."""

    wait_s: float
    provider_wide: bool
    """The provider is busy or gone, not only this call unlucky: all calls wait."""


Verdict = Refuse | Elsewhere | Retry


def judge(failure: Failure, *, attempt: int, policy: RetryPolicy, draw: float) -> Verdict:
    """What follows from `failure` of the `attempt`-th attempt of a call (the first is 1).

    Args:
        failure: of this attempt.
        attempt: of the call, over all providers.
        policy: the user's.
        draw: uniform in [0, 1): spreads calls that failed together.
    """
    if failure.status in _NOT_HERE:
        return Elsewhere()
    if failure.status is not None and failure.status not in _PASSING and failure.status < 500:
        return Refuse()
    provider_wide = failure.kind == "connect" or failure.status in _BUSY
    if failure.retry_after_s is not None:
        if failure.retry_after_s > policy.max_wait_s:
            return Elsewhere(cool_down_s=failure.retry_after_s)
        return Retry(failure.retry_after_s, provider_wide)
    backoff = min(policy.max_wait_s, policy.base_s * 2.0 ** (attempt - 1))
    return Retry(backoff * (1.0 - draw / 2), provider_wide)


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """The seconds a Retry-After header asks for, as a number or a date; None if it says neither.

    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return None
    text = value.strip()
    try:
        seconds = float(text)
    except ValueError:
        seconds = _seconds_until(text, now)
    # Not a number, infinite, or negative: nothing that can be waited for.
    return seconds if seconds is not None and 0 <= seconds < 10**9 else None


def _seconds_until(text: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
