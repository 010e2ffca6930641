"""The gateway: one address within a run from which every agent gets its model.

It holds the keys; agents hold a token for their task. What it spends is in the ledger before the
agent sees it, and each call is told to `on_call`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from starlette.types import ASGIApp

from stigmergy.models.app import Desk, gateway_app
from stigmergy.models.attempt import Connection
from stigmergy.models.budget import Spend, scopes_of
from stigmergy.models.config import BudgetLimits, GatewayConfig
from stigmergy.models.conversations import Conversations, Told
from stigmergy.models.ledger import Ledger
from stigmergy.models.metering import Meter
from stigmergy.models.providers import open_provider
from stigmergy.models.recording import Recorder, load_recording
from stigmergy.models.redaction import Redactor
from stigmergy.models.replay import Recorded, Replay
from stigmergy.models.serving import serving
from stigmergy.models.source import ModelCall, ModelSource
from stigmergy.models.timing import Timing
from stigmergy.models.tokens import TokenTable
from stigmergy.models.upstream import Upstream

__all__ = ["Gateway", "RunSpend"]


@dataclass(frozen=True, slots=True)
class RunSpend:
    """What was spent, as the ledger has it."""

    run: Spend
    fleet: Spend


def _ignore(_: ModelCall) -> None:
    pass


class Gateway:
    """Serves models while its `with` block lasts.

    Args:
        config: where answers come from, and the limits.
        run: the run's id; a run that is resumed under its id keeps what it has spent.
        ledger: where spend is kept; the caller closes it, after the gateway.
        environ: where keys are read from, once, here.
        on_call: told of each call when it ends, from the gateway's thread and before the agent
            has the whole answer. It must be quick and must not raise.
        socket_path: serve on this Unix socket as well.
        timing: clocks and chance, for tests.

    Raises:
        UsageError: a key is missing; on entering, the recording is, or the socket's path is taken.
        CorruptError: on entering: the recording is damaged.
    """

    def __init__(
        self,
        config: GatewayConfig,
        *,
        run: str,
        ledger: Ledger,
        environ: Mapping[str, str] = os.environ,
        on_call: Callable[[ModelCall], None] = _ignore,
        socket_path: Path | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._config = config
        self._run = run
        self._ledger = ledger
        self._on_call = on_call
        self._socket_path = socket_path
        self._timing = timing or Timing()
        self._tokens = TokenTable()
        self._task_limits: dict[str, BudgetLimits] = {}
        self._providers = [open_provider(each, environ=environ) for each in config.providers]
        keys = [each.key for each in self._providers if each.key is not None]
        self._redactor = Redactor(key.get_secret_value() for key in keys)
        self._stack = ExitStack()
        self._port = 0

    @property
    def base_url(self) -> str:
        """For `OPENAI_BASE_URL`, with /v1. Only while it serves."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def port(self) -> int:
        """On 127.0.0.1. Only while it serves."""
        assert self._port, "the gateway serves only inside its `with` block"
        return self._port

    @property
    def socket_path(self) -> Path | None:
        """The Unix socket, if it was asked for."""
        return self._socket_path

    def issue_token(self, *, task: str, limits: BudgetLimits | None = None) -> str:
        """A token for the task, for `OPENAI_API_KEY`. Safe from any thread.

        `limits` replace the configured limits of the task, also for its other tokens.
        """
        if limits is not None:
            self._task_limits[task] = limits
        token = self._tokens.issue(task)
        self._redactor.add(token)
        return token

    def revoke(self, token: str) -> None:
        """The token opens nothing any more; calls under way end by themselves. Idempotent."""
        self._tokens.revoke(token)
        self._redactor.forget(token)

    def task_spend(self, task: str) -> Spend:
        """What the task has spent. Safe from any thread."""
        return self._ledger.spent(self._scopes(task)[0])

    def spend(self) -> RunSpend:
        """What the run and the fleet have spent. Safe from any thread."""
        _, run, fleet = self._scopes("")
        return RunSpend(run=self._ledger.spent(run), fleet=self._ledger.spent(fleet))

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            source = self._open_source(stack)
            self._port = stack.enter_context(
                serving(lambda on_ready: self._app(source, on_ready), socket_path=self._socket_path)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._port = 0
        self._stack.close()

    def _app(self, source: ModelSource, on_ready: Callable[[], None]) -> ASGIApp:
        extra_fields = [each.extra_fields for each in self._config.providers]
        desk = Desk(
            source=source,
            tokens=self._tokens,
            on_call=self._on_call,
            default_model=self._config.default_model,
            # A field must be welcome everywhere, since any provider may be asked.
            extra_fields=frozenset[str].intersection(*extra_fields or [frozenset()]),
            max_request_bytes=self._config.max_request_bytes,
            on_ready=on_ready,
        )
        return gateway_app(desk)

    def _open_source(self, stack: ExitStack) -> ModelSource:
        source = self._open_answers(stack)
        if self._config.conversations is None:
            return source
        kept = Conversations(
            self._config.conversations,
            redactor=self._redactor,
            clock=lambda: self._timing.now().timestamp(),
        )
        return Told(source, kept)

    def _open_answers(self, stack: ExitStack) -> ModelSource:
        config = self._config
        if config.replay is not None:
            return Replay(load_recording(config.replay))
        upstream = self._open_upstream()
        if config.record is None:
            return upstream
        recorder = Recorder(config.record, redactor=self._redactor, label=config.record_label)
        return Recorded(upstream, stack.enter_context(recorder))

    def _open_upstream(self) -> Upstream:
        config, timing = self._config, self._timing
        meter = Meter(
            self._ledger,
            run=self._run,
            budgets=config.budgets,
            task_limits=self._task_limits,
            timing=timing,
        )
        connections = [
            Connection(
                provider,
                redactor=self._redactor,
                max_response_bytes=config.max_response_bytes,
                now=timing.now,
            )
            for provider in self._providers
        ]
        return Upstream(connections, meter=meter, retry=config.retry, timing=timing)

    def _scopes(self, task: str) -> tuple[str, str, str]:
        window = self._config.budgets.fleet_window
        task_scope, run, fleet = scopes_of(
            run=self._run, task=task, now=self._timing.now(), window=window
        )
        return task_scope.key, run.key, fleet.key
