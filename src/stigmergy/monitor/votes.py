"""What people decided or are asked to decide, as the journal tells it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final, Literal

from stigmergy.board import Event, JsonObject, TaskStatus
from stigmergy.monitor.reading import text
from stigmergy.monitor.tasks import TaskRow

__all__ = ["Vote", "VoteBook"]

_REMEMBERED: Final = 500


@dataclass(slots=True)
class Vote:
    """One decision that is asked for."""

    vote_id: str
    kind: str
    title: str
    state: Literal["waiting", "approved", "refused", "withdrawn"] = "waiting"
    by: str | None = None
    reason: str | None = None
    asked_at: float | None = None
    decided_at: float | None = None

    def document(self) -> JsonObject:
        """As JSON values."""
        values = asdict(self)
        return {"id": values.pop("vote_id"), **values}


class VoteBook:
    """Folds approvals; the latest five hundred that were decided are remembered."""

    def __init__(self) -> None:
        self.rows: dict[str, Vote] = {}
        self.changed: set[str] = set()
        self.dropped: set[str] = set()

    def take(self, event: Event, row: TaskRow | None) -> None:
        """Go on by one event."""
        if row is None or not row.needs_person or not event.task_id:
            return
        vote = self.rows.get(row.task_id)
        if vote is None:
            vote = self.rows[row.task_id] = Vote(row.task_id, row.task_type, row.title)
            vote.asked_at = row.posted_at
            self._forget_some()
        vote.title = row.title or vote.title
        self._decide(vote, event, row)
        self.changed.add(vote.vote_id)

    def _decide(self, vote: Vote, event: Event, row: TaskRow) -> None:
        if not row.is_final:
            vote.state, vote.by, vote.reason, vote.decided_at = "waiting", None, None, None
            return
        vote.decided_at = event.at
        vote.by = text(event, "by") or event.agent_id or None
        vote.reason = text(event, "reason") or row.error
        match row.status:
            case TaskStatus.COMPLETED:
                vote.state = "approved"
            case TaskStatus.FAILED if event.agent_id:
                vote.state = "refused"
            case _:  # cancelled, or failed with what it depended on
                vote.state = "withdrawn"

    def _forget_some(self) -> None:
        decided = [vote.vote_id for vote in self.rows.values() if vote.decided_at is not None]
        for name in decided[: max(0, len(decided) - _REMEMBERED)]:
            del self.rows[name]
            self.dropped.add(name)
            self.changed.discard(name)
