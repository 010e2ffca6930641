"""Watching a run: the live table of a terminal, or lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from stigmergy.cli.console import clean, clock_time
from stigmergy.cli.frame import frame
from stigmergy.cli.plain import JsonDisplay, PlainDisplay
from stigmergy.monitor import RunView

__all__ = ["Display", "LiveDisplay", "make_display"]

_FRAME_S: Final = 1 / 5


class Display(Protocol):
    """Shows a run to somebody. Used by one thread."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the last of it."""
        ...

    def update(self, view: RunView, lines: Sequence[str]) -> None:
        """Show the run as it stands; `lines` are new since the last call."""
        ...


class LiveDisplay:
    """A table that follows the run; what happened scrolls by above it.

    It draws when it is told of something, at most five times a second, and has no thread of its
    own: the view belongs to the caller, who may change it between calls.
    """

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.time) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(
            console=console,
            auto_refresh=False,
            redirect_stdout=False,
            # What is logged on the same terminal scrolls by above the table, not into it.
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="crop",
        )
        self._drawn_at = 0.0
        self._waiting: list[Text] = []
        self._view: RunView | None = None

    def __enter__(self) -> Self:
        self._console.print(Text("preparing …", style="dim"))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._view is not None:
            self._draw(self._view)
        self._live.stop()

    def update(self, view: RunView, lines: Sequence[str]) -> None:
        """Draw, unless that was done a moment ago."""
        self._view = view
        at = self._clock()
        self._waiting += [
            Text.assemble((clock_time(at), "dim"), " ", clean(line)) for line in lines
        ]
        # A clock that was set back must not silence the display.
        if not 0 <= at - self._drawn_at < _FRAME_S:
            self._draw(view)

    def _draw(self, view: RunView) -> None:
        self._drawn_at = self._clock()
        self._live.start()
        size = self._console.size
        picture = frame(view, now=self._drawn_at, width=size.width, height=size.height - 1)
        if self._waiting:
            lines, self._waiting = Text("\n").join(self._waiting), []
            self._console.print(lines)
        self._live.update(picture, refresh=True)


def make_display(*, as_json: bool, plain: bool, console: Console | None = None) -> Display:
    """The display that suits what the user asked for and what stdout is."""
    console = console or Console()
    if as_json:
        return JsonDisplay(sys.stdout)
    if plain or not console.is_terminal or console.is_dumb_terminal:
        return PlainDisplay(sys.stdout)
    return LiveDisplay(console)
