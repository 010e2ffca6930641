"""What a task that ended leaves in the memory, made of its handoff and its verdict. Pure.

No model is asked: what the agent said of its work, and what the queue found of it, is what there
is to learn, and the same task always leaves the same.
"""

from __future__ import annotations

from typing import Final, Literal

from stigmergy.board import Task
from stigmergy.coding.work.handoff import Handoff
from stigmergy.coding.work.inside.text import clip, first_line
from stigmergy.memory import Reflection

__all__ = ["Outcome", "reflect"]

Outcome = Literal[
    "completed", "partial", "failed", "came-back", "given-up", "landed", "unchanged", "found"
]

_TITLE_CHARS: Final = 300
_SUMMARY_CHARS: Final = 2_000
_LINE_CHARS: Final = 500
_LINES: Final = 20
_WHY: Final = {"failed": "It failed", "came-back": "It came back", "given-up": "It was given up"}


def reflect(
    task: Task, outcome: Outcome, *, handoff: Handoff | None = None, detail: str = ""
) -> Reflection:
    """The reflection on a task.

    Args:
        task: what was to be done.
        outcome: how it ended.
        handoff: what the agent said, if it said anything.
        detail: why it failed or came back.
    """
    parts = [first_line(task.description, _TITLE_CHARS)]
    lines: list[str] = []
    if handoff is not None:
        parts.append(clip(handoff.summary.strip(), _SUMMARY_CHARS))
        lines += [f"Concern: {line}" for line in handoff.concerns]
        lines += [f"Suggestion: {line}" for line in handoff.suggestions]
    if detail:
        parts.append(f"{_WHY.get(outcome, 'Why')}: {clip(detail.strip(), _SUMMARY_CHARS)}")
    return Reflection(
        category=task.task_type,
        description="\n\n".join(filter(None, parts)),
        outcome=outcome,
        recommendations=tuple(clip(line, _LINE_CHARS) for line in lines[:_LINES]),
        tags=(task.task_type, outcome),
    )
