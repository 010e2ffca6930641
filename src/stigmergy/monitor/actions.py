"""What a machine does by itself about what is stuck: decided from alerts. Pure.

Off unless somebody asked for it (`stuck_action`). An attempt that goes on past its time has a
limit that ends it already, so only silence and endless repetition are acted upon.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from stigmergy.monitor.alerts import Alert, AlertKind

__all__ = ["EndAttempt", "StuckAction", "decide"]

StuckAction = Literal["none", "retry"]
"""`retry`: the attempt ends as failed, and the task is tried again while attempts last."""

_ACTED_UPON: Final[frozenset[AlertKind]] = frozenset({"silent", "repeating"})


@dataclass(frozen=True, slots=True, kw_only=True)
class EndAttempt:
    """Stop an agent at a task."""

    task_id: str
    agent_id: str
    alert: AlertKind
    reason: str


def decide(alerts: Iterable[Alert], action: StuckAction) -> list[EndAttempt]:
    """What to do about these alerts; one thing for each task."""
    if action == "none":
        return []
    found: dict[str, EndAttempt] = {}
    for alert in alerts:
        if alert.kind in _ACTED_UPON:
            end = EndAttempt(
                task_id=alert.subject, agent_id=alert.agent_id, alert=alert.kind, reason=alert.text
            )
            found.setdefault(alert.subject, end)
    return list(found.values())
