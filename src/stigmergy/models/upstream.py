"""The source that asks providers: route, reserve, send, and try again elsewhere or later.

One call is a loop of attempts. `routing` says whom to ask, `retrying` what a failure means; a
provider that has to rest has a time before which it is not asked, so waiting is nothing but
"nobody is ready yet". Once a document of the answer is out, there is no second attempt: the
agent may have acted on it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from stigmergy.models.attempt import AttemptFailedError, Connection
from stigmergy.models.budget import NOTHING, Amount, estimate_tokens
from stigmergy.models.chat import ChatError, ChatRequest, TokenUsage
from stigmergy.models.config import ProviderConfig, RetryPolicy
from stigmergy.models.metering import Meter
from stigmergy.models.prices import cost_usd
from stigmergy.models.retrying import Elsewhere, Failure, Refuse, Retry, judge
from stigmergy.models.routing import Candidate, next_ready_at, order
from stigmergy.models.source import CallNotes
from stigmergy.models.timing import Timing

__all__ = ["Upstream"]


@dataclass(slots=True)
class _Progress:
    """Where one call stands."""

    attempts: int = 0
    barred: set[str] = field(default_factory=set[str])
    ready_at: dict[str, float] = field(default_factory=dict[str, float])
    last: Failure | None = None
    last_provider: str = ""


class Upstream:
    """Answers from providers over HTTP. For use in one event loop.

    Args:
        connections: one for each provider.
        meter: makes room in the budgets for each attempt, and takes the bill.
        retry: the user's policy.
        timing: clocks and chance.
    """

    def __init__(
        self,
        connections: Sequence[Connection],
        *,
        meter: Meter,
        retry: RetryPolicy,
        timing: Timing,
    ) -> None:
        self._connections = {each.config.name: each for each in connections}
        self._meter = meter
        self._retry = retry
        self._timing = timing
        self._in_flight: Counter[str] = Counter()
        self._cool_until: dict[str, float] = {}
        self._freed = asyncio.Event()

    def models(self) -> tuple[str, ...]:
        """Those that providers list; a provider without a list adds none."""
        configs = [each.config for each in self._connections.values()]
        return tuple(sorted({name for config in configs for name in config.models or ()}))

    async def answer(
        self, request: ChatRequest, notes: CallNotes
    ) -> AsyncGenerator[dict[str, Any]]:
        """The first answer that any provider gives."""
        progress = _Progress()
        while True:
            provider = await self._choose(request, progress)
            progress.attempts += 1
            progress.last_provider = notes.provider = provider.config.name
            begun = False
            try:
                async with aclosing(self._attempt(provider, request, notes)) as documents:
                    async for document in documents:
                        begun = True
                        yield document
                return
            except AttemptFailedError as error:
                progress.last = error.failure
                if begun:
                    raise ChatError(
                        f"the answer of provider {provider.config.name!r} broke off: "
                        f"{error.failure.detail}",
                        status=502,
                        code="upstream_broke_off",
                    ) from None
            self._heed(progress.last, progress)

    async def aclose(self) -> None:
        """Closes the connections."""
        for connection in self._connections.values():
            await connection.aclose()

    async def _attempt(
        self, provider: Connection, request: ChatRequest, notes: CallNotes
    ) -> AsyncGenerator[dict[str, Any]]:
        config = provider.config
        max_tokens, estimate = self._estimate(config, request)
        self._in_flight[config.name] += 1
        try:
            reservation = await self._meter.reserve(request.task, estimate, model=request.model)
            bill: Amount | None = NOTHING
            try:
                notes.attempts += 1
                # From here on the provider may have done the work, whatever we hear of it.
                bill = None
                async with aclosing(provider.send(request, max_tokens=max_tokens)) as documents:
                    async for document, usage in documents:
                        if usage is not None:
                            notes.usage = usage
                            notes.cost = cost_usd(config, request.model, usage)
                            bill = Amount(usage.total, notes.cost)
                        if document is not None:
                            yield document
            except AttemptFailedError as error:
                if error.nothing_spent:
                    bill = NOTHING
                raise
            finally:
                self._meter.settle(reservation, bill)
        finally:
            self._in_flight[config.name] -= 1
            self._freed.set()
            self._freed = asyncio.Event()

    def _estimate(self, config: ProviderConfig, request: ChatRequest) -> tuple[int | None, Amount]:
        """The maximum of tokens to ask for, and what the request may spend at most."""
        budgets = self._meter.budgets
        asked = request.max_tokens
        if asked is None and self._meter.limited(request.task):
            asked = budgets.default_max_tokens
        completion = asked or budgets.default_max_tokens
        tokens = estimate_tokens(
            prompt_bytes=request.prompt_bytes,
            completion_tokens=completion,
            choices=request.choices,
            bytes_per_token=budgets.bytes_per_token,
        )
        completions = completion * request.choices
        usage = TokenUsage(tokens - completions, completions)
        return asked, Amount(tokens, cost_usd(config, request.model, usage))

    async def _choose(self, request: ChatRequest, progress: _Progress) -> Connection:
        """The provider to ask next; waits until one is ready.

        Raises:
            ChatError: none will be, for this call.
        """
        while True:
            settled = self._freed
            candidates = self._candidates(request.model, progress)
            if not candidates or progress.attempts >= self._retry.max_attempts:
                raise self._give_up(request, progress)
            draws = [self._timing.draw() for _ in candidates]
            names = order(candidates, now=self._timing.clock(), draws=draws)
            if names:
                return self._connections[names[0]]
            ready_at = next_ready_at(candidates)
            if ready_at is None:
                await settled.wait()
            else:
                wait_s = ready_at - self._timing.clock()
                if wait_s > self._retry.max_wait_s:
                    raise self._give_up(request, progress, retry_after_s=wait_s)
                await self._timing.sleep(max(0.0, wait_s))

    def _candidates(self, model: str, progress: _Progress) -> list[Candidate]:
        return [
            Candidate(
                name=name,
                role=connection.config.role,
                weight=connection.config.weight,
                in_flight=self._in_flight[name],
                max_concurrent=connection.config.max_concurrent,
                ready_at=max(self._cool_until.get(name, 0.0), progress.ready_at.get(name, 0.0)),
            )
            for name, connection in self._connections.items()
            if name not in progress.barred and connection.config.upstream_name(model) is not None
        ]

    def _heed(self, failure: Failure, progress: _Progress) -> None:
        """Let the failure decide who is asked again, and when."""
        name, now = progress.last_provider, self._timing.clock()
        verdict = judge(
            failure, attempt=progress.attempts, policy=self._retry, draw=self._timing.draw()
        )
        match verdict:
            case Refuse():
                raise _refused(failure, name)
            case Elsewhere(cool_down_s):
                progress.barred.add(name)
                self._cool(name, now + cool_down_s)
            case Retry(wait_s, provider_wide):
                progress.ready_at[name] = now + wait_s
                if provider_wide:
                    self._cool(name, now + wait_s)

    def _cool(self, name: str, until: float) -> None:
        self._cool_until[name] = max(until, self._cool_until.get(name, 0.0))

    def _give_up(
        self, request: ChatRequest, progress: _Progress, *, retry_after_s: float | None = None
    ) -> ChatError:
        last = progress.last
        if last is None and retry_after_s is None:
            return ChatError(
                f"no provider offers the model {request.model!r}: offered are "
                f"{', '.join(self.models()) or 'none'}",
                status=404,
                code="model_not_found",
            )
        told = last.detail if last is not None else "every provider is cooling down"
        busy = last is None or last.status == 429
        return ChatError(
            f"no provider answered for model {request.model!r} in {progress.attempts} attempts; "
            f"the last, {progress.last_provider!r}, said: {told}",
            status=429 if busy else 502,
            code="upstream_busy" if busy else "upstream_failed",
            retry_after_s=retry_after_s or (last.retry_after_s if last is not None else None),
        )


def _refused(failure: Failure, provider: str) -> ChatError:
    status = failure.status or 400
    return ChatError(
        f"provider {provider!r} refused the request: {failure.detail}",
        status=status,
        code="upstream_refused",
    )
