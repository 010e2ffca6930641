"""HTTP/1.1 connections whose clients must say in time what they want.

uvicorn limits how long a connection may rest between requests, but not how long the head of one may
take: a client that sends a byte a minute would keep its connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_S", "TimedProtocol"]

HEAD_S: Final = 10.0
"""For the head of a request, from its first byte, or from the connection on."""


class TimedProtocol(H11Protocol):
    """uvicorn's own protocol, which hangs up when a head takes longer than `HEAD_S`."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - as uvicorn's
        """A client is there."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_S, transport.close)

    def data_received(self, data: bytes) -> None:
        """It said something."""
        super().data_received(data)
        # uvicorn sets it with the first request, whatever its type says.
        cycle = getattr(self, "cycle", None)
        if cycle is not None and not cycle.response_complete:
            self._forget()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_S, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
