"""The curator of a run that lands nothing: keeps findings, and says when the run is finished.

It stands where the keeper of the target stands in other runs, and runs no gate: such a run changes
neither the target nor the user's files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from stigmergy.coding.context import RunContext
from stigmergy.coding.landing import LandingAgent
from stigmergy.errors import TransientError

__all__ = ["Curator"]

_IDLE_S: Final = 1.0


class Curator:
    """Runs until the run is stopped or nothing is left to do.

    Args:
        context: the run.
        planned: whether the planner has said that nothing more will come.
    """

    green: bool | None = None
    """Nobody asks whether the target is green."""

    def __init__(self, context: RunContext, *, planned: Callable[[], bool]) -> None:
        self._run = context
        self._planned = planned
        self._landing = LandingAgent(context, on_target_red=lambda _: None)

    def prove_start(self) -> None:
        """Nothing has to be proved before such a run."""

    def work(self) -> None:
        """Keep what comes; returns when the run is finished or stopped."""
        stop, pulse = self._run.stop, self._run.pulse
        while not stop.is_set():
            seen = pulse.beat
            if not self._run.is_paused():
                try:
                    if self._landing.work(stop):
                        continue
                    if self._planned() and self._run.board.progress(self._run.run_id).is_complete:
                        return
                except TransientError as busy:
                    self._run.note(f"curator: {busy}")
            pulse.wait(after=seen, timeout_s=_IDLE_S)
