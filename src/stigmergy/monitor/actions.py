"""What a machine does by itself about what is stuck: decided from alerts. Pure.

Off unless somebody asked for it (`stuck_action`). An attempt that goes on past its time has a
limit that ends it already, so only silence and endless repetition are acted upon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from stigmergy.monitor.alerts import Alert, AlertKind

__all__ = ["Attention", "EndAttempt", "StuckAction", "decide"]

StuckAction = Literal["none", "retry"]
"""`retry`: the attempt ends as failed, and the task is tried again while attempts last."""

_LEAST_BREAK_S: Final = 5.0
"""Far more than the time from one look to the next."""
_ACTED_UPON: Final[frozenset[AlertKind]] = frozenset({"silent", "repeating"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAttempt:
    """Stop an agent at a task."""

    task_id: str
    agent_id: str
    alert: AlertKind
    reason: str


class Attention:
    """Whether one who listens has done so for long enough to call somebody else silent.

    A machine that was suspended, and a process that was stopped, find at their return that nobody
    has said a word for all that time.
    """

    def __init__(self, silent_s: float) -> None:
        self._silent_s = silent_s
        self._break_s = max(_LEAST_BREAK_S, silent_s / 2)
        self._looked_at: float | None = None
        self._since = 0.0

    def look(self, now: float) -> bool:
        """Note that it looks at that time; whether it has without a break for `silent_s`."""
        before, self._looked_at = self._looked_at, now
        if before is None or abs(now - before) > self._break_s:
            self._since = now
        return now - self._since >= self._silent_s


def decide(
    alerts: Iterable[Alert], action: StuckAction, *, has_listened: bool = True
) -> list[EndAttempt]:
    """What to do about these alerts; one thing for each task.

    Args:
        alerts: all that stand.
        action: what is to be done at all.
        has_listened: for as long as it takes to call somebody silent, see `Attention`.
    """
    if action == "none":
        return []
    found: dict[str, EndAttempt] = {}
    for alert in alerts:
        if alert.kind == "silent" and not has_listened:
            continue
        if alert.kind in _ACTED_UPON:
            end = EndAttempt(
                task_id=alert.subject, agent_id=alert.agent_id, alert=alert.kind, reason=alert.text
            )
            found.setdefault(alert.subject, end)
    return list(found.values())
