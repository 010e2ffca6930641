"""The journal alone says what was posted: on every store, by short cut and plain path."""

from __future__ import annotations

from stigmergy.board import Task, TaskBoard, TaskType


def test_a_posted_line_says_what_whoever_has_the_journal_alone_must_know(
    board: TaskBoard,
) -> None:
    board.post(
        Task(
            task_type=TaskType.CODE,
            task_id="a",
            description=f"{'T' * 300}\nand more",
            requires=("gpu",),
            priority=2,
            max_attempts=7,
        )
    )
    board.post(Task(task_type="x", task_id="plain"))
    (first,) = board.history("a")
    (second,) = board.history("plain")
    assert first.data == {
        "task_type": "code",
        "priority": 2,
        "parent_id": None,
        "depends_on": [],
        "max_attempts": 7,
        "title": "T" * 200,
        "requires": ["gpu"],
    }
    assert second.data.keys() == {
        "task_type", "priority", "parent_id", "depends_on", "max_attempts",
    }  # fmt: skip


def test_a_line_of_a_retry_says_it_again_and_what_it_was(board: TaskBoard) -> None:
    board.post(Task(task_type="x", task_id="a", description="Do it"))
    board.cancel("a")
    board.retry("a")
    last = board.history("a")[-1]
    assert (last.kind, last.data["was"], last.data["title"]) == ("retried", "cancelled", "Do it")
