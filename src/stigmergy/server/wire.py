"""HTTP/1.1 connections whose clients must say in time what they want, and take what they asked for.

uvicorn limits how long a connection may rest between requests, but not how long the head of one may
take, nor how long an answer may wait to be read: a client that sends a byte a minute would keep its
connection for ever, and one that reads nothing would keep all its answers in memory as well.
"""

from __future__ import annotations

import asyncio
from typing import Final

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEAD_S", "STALL_S", "TimedProtocol"]

HEAD_S: Final = 10.0
"""For the head of a request, from its first byte, or from the connection on."""
STALL_S: Final = 30.0
"""A client that takes nothing of what waits for it for so long is cut off."""


class TimedProtocol(H11Protocol):
    """uvicorn's own protocol, which hangs up on who is slower than `HEAD_S` and `STALL_S` allow."""

    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

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

    def pause_writing(self) -> None:
        """More waits to be read than it takes at once."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """It has read most of it."""
        super().resume_writing()
        self._forget_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._forget()
        self._forget_stall()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _watch(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(STALL_S, self._look, waiting)

    def _look(self, waiting: int) -> None:
        if self.transport.get_write_buffer_size() < waiting:
            self._watch()
        else:
            self.transport.abort()

    def _forget_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None
