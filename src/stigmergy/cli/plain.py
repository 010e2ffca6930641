"""A run as lines: for a pipe, a log file, `--plain`, and for programs (`--json`)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self, TextIO

from stigmergy.cli import figures
from stigmergy.cli.console import clean, clock_time, duration, plural
from stigmergy.coding.outcome import Outcome
from stigmergy.monitor import RunView

__all__ = ["JsonDisplay", "PlainDisplay"]

_SILENCE_S: Final = 30.0


class PlainDisplay:
    """One timestamped line for each thing that happens, and a sign of life in between."""

    def __init__(self, out: TextIO, *, clock: Callable[[], float] = time.time) -> None:
        self._out = out
        self._clock = clock
        self._said_at = clock()
        self._introduced = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del kind, error, trace

    def update(self, view: RunView, lines: Sequence[str]) -> None:
        """Print the new lines, or how far the run is after half a minute of silence."""
        if not self._introduced and view.started_at is not None:
            self._introduced = True
            self._introduce(view)
        for line in lines:
            self._say(line)
        if self._clock() - self._said_at >= _SILENCE_S:
            self._say(self._sign_of_life(view))

    def _introduce(self, view: RunView) -> None:
        self._say(f"lands on {figures.target(view)}; sandbox: {figures.protection(view)}")
        if view.label:
            self._say(view.label)

    def _sign_of_life(self, view: RunView) -> str:
        parts = [figures.counts(view), f"{plural(len(figures.agents_at_work(view)), 'agent')} busy"]
        if view.gating:
            parts.append(f"gate for {duration(self._clock() - view.gate_since)}")
        parts += figures.calls_for_you(view)
        if view.label:
            parts.append(view.label)
        return f"… {'; '.join(parts)}"

    def _say(self, line: str) -> None:
        self._said_at = self._clock()
        self._out.write(f"{clock_time(self._said_at)} {clean(line)}\n")
        self._out.flush()


class JsonDisplay:
    """One JSON object a line: `{"at", "line"}`, and in the end `{"at", "report"}`.

    What is replayed or simulated is said in every object, as `label`.
    """

    def __init__(self, out: TextIO, *, clock: Callable[[], float] = time.time) -> None:
        self._out = out
        self._clock = clock
        self._view: RunView | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        view = self._view
        if view is None or view.exit_code is None:
            return  # it never came to an end that could be reported
        outcome = Outcome(exit_code=view.exit_code, verdict=view.verdict)
        self._write(view, {"report": outcome.measured(view)})

    def update(self, view: RunView, lines: Sequence[str]) -> None:
        """Print the new lines."""
        self._view = view
        for line in lines:
            self._write(view, {"line": clean(line)})

    def _write(self, view: RunView, said: dict[str, object]) -> None:
        record: dict[str, object] = {"at": self._clock(), **said}
        if view.label:
            record["label"] = view.label
        self._out.write(json.dumps(record) + "\n")
        self._out.flush()
