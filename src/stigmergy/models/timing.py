"""Time and chance, as the gateway gets them; tests hand in their own."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

__all__ = ["Timing"]


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Timing:
    """The clocks of the machine, unless others are given."""

    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds: cool-downs and waits."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    now: Callable[[], datetime] = _utc_now
    """UTC: Retry-After dates, and the fleet's window."""
    draw: Callable[[], float] = random.random
    """Uniform in [0, 1)."""
