"""The one crossing from async to the synchronous board: a few threads, a bounded line before them.

A thread for each of a thousand pollers would hold the board's lock in turns anyway; a line without
a bound would answer everybody too late.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from stigmergy.errors import TransientError

__all__ = ["Bridge"]

_THREADS: Final = 8
_MOST_WAITING: Final = 2_000
"""At 0.1 ms to some ms a call, those further back would wait for seconds."""
_T = TypeVar("_T")


class Bridge:
    """Runs synchronous calls in threads of its own. To be used from one event loop."""

    def __init__(self, *, threads: int = _THREADS, most_waiting: int = _MOST_WAITING) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="board-call")
        self._most_waiting = most_waiting
        self._waiting = 0

    async def call(self, work: Callable[[], _T]) -> _T:
        """What the call returns or raises.

        Raises:
            TransientError: too many calls wait already.
        """
        if self._waiting >= self._most_waiting:
            raise TransientError(
                f"{self._waiting} calls wait for the board already: try again", retry_after_s=1.0
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Wait for the calls under way."""
        self._pool.shutdown(wait=True, cancel_futures=True)
