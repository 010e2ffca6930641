"""The keeper of the target: lands work, sweeps the branch, and says when the run is finished.

One thread of a run, and the only one that runs gates or moves the target, so that a verdict about
the target cannot be overtaken by the run itself. A sweep that somebody else's commit overtakes is
discarded.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from stigmergy.coding.context import RunContext
from stigmergy.coding.landing import LandingAgent, TargetBlocked
from stigmergy.coding.merge.gate import Green, Red
from stigmergy.coding.merge.lander import Lander
from stigmergy.coding.tasks import SWEEP_KEY, land_id, sweep_tasks
from stigmergy.errors import TransientError

__all__ = ["Keeper"]

MOST_SWEEPS: Final = 5
"""Items that one run files to mend the target itself."""
_RED_FACTOR: Final = 5
_IDLE_S: Final = 1.0


class Keeper:
    """Runs until the run is stopped, or nothing is left to do and the target has been proved.

    Args:
        context: the run.
        make_lander: a lander for the present target, whose events go to the given agent.
        planned: whether the planner has said that nothing more will come.
    """

    def __init__(
        self,
        context: RunContext,
        *,
        make_lander: Callable[[LandingAgent], Lander],
        planned: Callable[[], bool],
    ) -> None:
        self._run = context
        self._make_lander = make_lander
        self._planned = planned
        self._landing = LandingAgent(context, on_target_red=self._mend)
        self._lander = make_lander(self._landing)
        self._landing.attach(self._lander)
        self._swept: str | None = None
        """The tip that the last sweep looked at."""
        self._swept_at = time.monotonic()
        self.green: bool | None = None
        """The last word on the target's tip; None: it was not asked, or there is no gate."""

    def prove_start(self) -> Green | Red | None:
        """Gate the target before anything has moved; None without a gate or when stopped."""
        found = self._lander.gate_target(self._run.stop)
        if isinstance(found, Green | Red):
            self.green = isinstance(found, Green)
            self._swept = self._run.target.tip()
            return found
        return None

    def work(self) -> None:
        """Land and sweep; returns when the run is finished or stopped."""
        stop = self._run.stop
        while not stop.is_set():
            seen = self._run.pulse.beat
            if self._run.is_paused():
                # Neither a gate nor the end of the run: it stays as it is until it may go on.
                self._run.pulse.wait(after=seen, timeout_s=_IDLE_S)
                continue
            try:
                if self._landing.work(stop) or self._sweep_if_due():
                    continue
                if self._is_drained() and self._finish():
                    return
            except TargetBlocked as blocked:
                self._switch_target(blocked)
                continue
            except TransientError as busy:
                self._run.note(f"queue: {busy}")
            self._run.pulse.wait(after=seen, timeout_s=_IDLE_S)

    # Sweeping -------------------------------------------------------------------------------

    def _sweep_if_due(self) -> bool:
        period = self._run.spec.settings.reconcile_s / (_RED_FACTOR if self.green is False else 1)
        if time.monotonic() - self._swept_at < period:
            return False
        self._sweep()
        return True

    def _sweep(self) -> None:
        """Look at the target as it stands: no conflict markers, and a green gate."""
        self._swept_at = time.monotonic()
        tip = self._run.target.tip()
        markers = self._run.repository.conflict_markers(tip)
        if markers:
            where = ", ".join(markers[:5])
            found: Green | Red | None = Red(
                reason=f"conflict markers in {where}", exit_code=1, output=where, duration_s=0.0
            )
        elif self._is_known_green(tip):
            found = Green(duration_s=0.0)
        else:
            verdict = self._lander.gate_target(self._run.stop)
            found = verdict if isinstance(verdict, Green | Red) else None
        if self._run.target.tip() != tip:
            return  # somebody landed meanwhile: this says nothing about the target any more
        self._swept = tip
        match found:
            case Red():
                self._mend(found)
            case Green():
                self._say(green=True, detail="green")
            case None:
                self._say(green=None, detail="no conflict markers; no gate ran")

    def _is_known_green(self, tip: str) -> bool:
        """The gate has been green on this very tree, so asking again would teach nothing."""
        tree = self._run.repository.commit(tip).tree
        return self._lander.history.was_green(tree) is True

    def _say(self, *, green: bool | None, detail: str) -> None:
        self.green = green
        self._run.board.record("swept", data={"green": green, "detail": detail})

    def _mend(self, red: Red) -> str | None:
        """File an item that mends the target, unless one is open; the task to wait for.

        None when enough of them were filed in vain.
        """
        self._say(green=False, detail=f"RED: {red.reason}")
        keys = self._sweep_keys()
        for key in keys:
            if self._is_open(key):
                return land_id(key)
        number = len(keys) + 1
        if number > MOST_SWEEPS:
            return None
        tasks = sweep_tasks(
            number,
            commit=self._run.target.tip(),
            detail=red.reason,
            gate_output=red.output,
            run_id=self._run.run_id,
            max_attempts=self._run.spec.settings.max_attempts,
        )
        self._run.board.post_many(tasks)
        return land_id(f"{SWEEP_KEY}{number}")

    def _sweep_keys(self) -> list[str]:
        keys = (f"{SWEEP_KEY}{number}" for number in range(1, 1000))
        found: list[str] = []
        for key in keys:
            if self._run.board.get(land_id(key)) is None:
                break
            found.append(key)
        return found

    def _is_open(self, key: str) -> bool:
        task = self._run.board.get(land_id(key))
        return task is not None and not task.status.is_final

    # Finishing ------------------------------------------------------------------------------

    def _is_drained(self) -> bool:
        return self._planned() and self._run.board.progress(self._run.run_id).is_complete

    def _finish(self) -> bool:
        """Prove the target once more; False when that gave new work."""
        tip = self._run.target.tip()
        if self._swept != tip or self.green is False:
            self._sweep()
            if self._run.target.tip() != tip:
                return False
        return self._is_drained()

    # The user's files -----------------------------------------------------------------------

    def _switch_target(self, blocked: TargetBlocked) -> None:
        """Go on on a branch of the run's own: a landing must not touch what the user changed."""
        old = self._run.target
        ref = f"refs/heads/stigmergy/{self._run.run_id}"
        self._run.repository.git("update-ref", ref, old.tip())
        name = old.name
        old.ref = ref
        self._run.board.record("target", data={"ref": ref, "paths": list(blocked.paths)})
        paths = ", ".join(blocked.paths[:5])
        self._run.note(
            f"you have changes in {paths}, which a landing would overwrite: from now on the run "
            f"lands on {old.name}; when it is done, commit yours and `git merge {old.name}` into "
            f"{name}"
        )
        self._lander = self._make_lander(self._landing)
        self._landing.attach(self._lander)
