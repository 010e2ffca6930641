"""One reader of the feed: a queue with a bound, from the feed's thread into an event loop.

Who reads too slowly is dropped, never waited for: it comes back and gets a fresh snapshot, which
is worth more than the deltas that it missed.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator
from typing import Final

__all__ = ["MOST_BYTES", "MOST_WAITING", "Subscription"]

MOST_WAITING: Final = 120
"""Messages that may wait for a reader: half a minute of deltas."""
MOST_BYTES: Final = 8 * 1024**2


class Subscription:
    """What waits for one reader, in its event loop. `offer` and `end` are safe from any thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, first: bytes) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque([first])
        self._bytes = 0
        self._news = asyncio.Event()
        self._news.set()
        self._ended = False
        self.dropped = False
        """It read too slowly."""

    def offer(self, message: bytes) -> bool:
        """Put a message into the queue; False when the reader is gone or was dropped."""
        with self._lock:
            if self._ended:
                return False
            # The snapshot that a reader begins with is not held against it.
            self._bytes += len(message)
            if len(self._waiting) >= MOST_WAITING or self._bytes > MOST_BYTES:
                self.dropped = True
                self._ended = True
            else:
                self._waiting.append(message)
            ended = self._ended
        self._wake()
        return not ended

    def end(self) -> None:
        """Nothing comes any more. Idempotent."""
        with self._lock:
            self._ended = True
        self._wake()

    async def messages(self, *, idle_s: float) -> AsyncGenerator[bytes | None]:
        """The messages as they come; None where `idle_s` went by without one."""
        while True:
            batch, ended = self._take()
            for message in batch:
                yield message
            if ended:
                return
            try:
                async with asyncio.timeout(idle_s):
                    await self._news.wait()
            except TimeoutError:
                yield None

    def _take(self) -> tuple[list[bytes], bool]:
        with self._lock:
            batch = [] if self.dropped else list(self._waiting)
            self._waiting.clear()
            self._bytes = 0
            self._news.clear()
            return batch, self._ended

    def _wake(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:
            self._ended = True  # the loop is closed: nobody reads
