"""Who was at work when: what counts as work, and what does not."""

from __future__ import annotations

from stigmergy import Task, TaskBoard
from stigmergy.board.approvals import approval
from stigmergy.monitor.spans import spans_of


def test_a_person_who_approves_is_no_agent_at_work() -> None:
    with TaskBoard("memory:") as board:
        board.post(Task(task_type="job", task_id="t"))
        task = board.claim("agent-1")
        assert task is not None
        board.complete(task, {})
        board.post(approval("t.approval1", "Land it?"))
        board.approve("t.approval1", by="ann")
        spans = spans_of(board.events(), until=None)
    assert [(span.name, span.task_id) for span in spans.attempts] == [("agent-1", "t")]
    assert list(spans.by_agent) == ["agent-1"]
