"""The journal as server-sent events: none missed, none twice, and nobody waits for a slow reader.

A reader first gets what is on the board, in pages, as fast as it reads; once it has come to where
the tail stands, both in the same turn of the loop, it is handed what the tail hands to all.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from stigmergy.server.context import ServerContext
from stigmergy.server.tail import line_of

__all__ = ["EventStream", "journal_chunks"]

_PAGE: Final = 500
_SILENCE_S: Final = 10.0
"""A comment goes out after it, so that proxies and clients see the stream alive."""


class EventStream(Response):
    """An ASGI response that sends chunks until they end, the client goes or the server closes.

    Args:
        chunks: whole server-sent events.
        closing: set when the server ends.
        stall_s: a reader that takes nothing for so long is dropped.
    """

    def __init__(
        self, chunks: AsyncGenerator[bytes], closing: asyncio.Event, *, stall_s: float = 30.0
    ) -> None:
        super().__init__()
        self._chunks = chunks
        self._closing = closing
        self._stall_s = stall_s
        self._has_ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send."""
        del scope
        sending = asyncio.ensure_future(self._send(send))
        ends = [asyncio.ensure_future(_gone(receive)), asyncio.ensure_future(self._closing.wait())]
        try:
            await asyncio.wait({sending, *ends}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in (sending, *ends):
                each.cancel()
            await asyncio.gather(sending, *ends, return_exceptions=True)
        if self._closing.is_set() and not self._has_ended:
            async with asyncio.timeout(1.0):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                async with asyncio.timeout(self._stall_s):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
        self._has_ended = True
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def journal_chunks(
    context: ServerContext, after: int, task_id: str | None
) -> AsyncGenerator[bytes]:
    """The journal from after an event, for ever; ends when the reader has fallen too far behind."""
    context.tail.streams += 1
    try:
        yield b"retry: 1000\n\n"
        async with aclosing(_chunks(context, after, task_id)) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        context.tail.streams -= 1


async def _chunks(context: ServerContext, after: int, task_id: str | None) -> AsyncGenerator[bytes]:
    tail = context.tail
    while after < tail.seq:
        read = partial(context.board.events, after=after, limit=_PAGE)
        events = await context.bridge.call(read)
        if not events:
            break  # what the tail has seen was pruned
        after = events[-1].seq
        wanted = [line_of(e).sse for e in events if task_id is None or e.task_id == task_id]
        if wanted:
            yield b"".join(wanted)
    # No await between the comparison above and this: nothing can come in between.
    subscription = tail.subscribe()
    try:
        while not subscription.dropped:
            try:
                async with asyncio.timeout(_SILENCE_S):
                    await subscription.news.wait()
            except TimeoutError:
                yield b": alive\n\n"
                continue
            lines = subscription.take()
            wanted = [
                line.sse
                for line in lines
                if line.seq > after and (task_id is None or line.task_id == task_id)
            ]
            if wanted:
                yield b"".join(wanted)
    finally:
        tail.unsubscribe(subscription)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
