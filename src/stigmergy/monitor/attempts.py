"""What goes on in attempts at tasks: calls, tools, tokens; and what was odd about those that ended.

An attempt begins with a claim and ends with whatever takes the task from its holder. Of ended ones
only sums and the last few outcomes are kept.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

from stigmergy.board import Event, TaskType
from stigmergy.monitor.reading import amount, text
from stigmergy.monitor.tasks import TaskRow

__all__ = ["Attempt", "AttemptBook", "Odd"]

_ENDS: Final = frozenset({"completed", "failed", "expired", "released", "cancelled"})
_CODING: Final = frozenset({TaskType.CODE.value, TaskType.FIX.value})
_OUTCOMES: Final = 20
_REMEMBERED: Final = 100


@dataclass(slots=True)
class Attempt:
    """One agent at work on one task."""

    task_id: str
    agent_id: str
    since: float
    heard_at: float
    """When it last said anything, or something was said of its task."""
    model_calls: int = 0
    tokens: int | None = None
    """As far as they are known; None while no call told."""
    completion_tokens: int | None = None
    tool_calls: int = 0
    tools_active: int = 0
    tool: tuple[str, str] | None = None
    """The latest tool call."""
    same_tool: int = 0
    """How often that was made in a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Odd:
    """A completed attempt that looks wrong."""

    task_id: str
    agent_id: str
    at: float


@dataclass(slots=True)
class AttemptBook:
    """Folds what happens in attempts."""

    running: dict[str, Attempt] = field(default_factory=dict[str, Attempt])
    """By task."""
    outcomes: deque[bool] = field(default_factory=lambda: deque[bool](maxlen=_OUTCOMES))
    """Of the latest that completed or failed: whether it completed."""
    suspicious_results: int = 0
    suspicious: dict[str, Odd] = field(default_factory=dict[str, Odd])
    """Completed without a word from a model and without a tool, where both were expected."""
    empty: dict[str, Odd] = field(default_factory=dict[str, Odd])
    """Completed coding tasks without a commit."""
    empty_results: int = 0

    def take(self, event: Event, row: TaskRow | None, *, has_model: bool) -> Attempt | None:
        """Go on by one event; the attempt that it belongs to or ended."""
        if event.kind == "run_ended":
            self.running.clear()
        if event.kind in ("edited", "removed") and not (row is not None and row.is_held):
            self.running.pop(event.task_id, None)  # a person took it from its agent
        if event.kind == "claimed":
            found = Attempt(event.task_id, event.agent_id, since=event.at, heard_at=event.at)
            self.running[event.task_id] = found
            return found
        attempt = self.running.get(event.task_id)
        if attempt is None or (event.agent_id and event.agent_id != attempt.agent_id):
            return None
        attempt.heard_at = max(attempt.heard_at, event.at)
        match event.kind:
            case "progress":
                _progress(attempt, event)
            case "model_call":
                _model_call(attempt, event)
            case kind if kind in _ENDS:
                del self.running[event.task_id]
                self._count(event)
                if kind == "completed" and row is not None and row.task_type in _CODING:
                    self._judge(attempt, event, has_model=has_model)
            case _:
                pass
        return attempt

    def settle(self, task_ids: tuple[str, ...]) -> None:
        """What looked wrong was looked into: its item landed, or came back."""
        for name in task_ids:
            self.suspicious.pop(name, None)
            self.empty.pop(name, None)

    def _count(self, event: Event) -> None:
        if event.kind in ("completed", "failed", "expired"):
            self.outcomes.append(event.kind == "completed")

    def _judge(self, attempt: Attempt, event: Event, *, has_model: bool) -> None:
        odd = Odd(task_id=attempt.task_id, agent_id=attempt.agent_id, at=event.at)
        self.settle((attempt.task_id,))
        if amount(event, "commits") == 0:
            self.empty_results += 1
            self.empty[odd.task_id] = odd
        unknown = attempt.model_calls > 0 and attempt.completion_tokens is None
        if has_model and not unknown and not attempt.completion_tokens and not attempt.tool_calls:
            self.suspicious_results += 1
            self.suspicious[odd.task_id] = odd
        for kept in (self.suspicious, self.empty):
            while len(kept) > _REMEMBERED:
                del kept[next(iter(kept))]


def _progress(attempt: Attempt, event: Event) -> None:
    match event.data.get("kind"):
        case "tool":
            attempt.tool_calls += 1
            attempt.tools_active += 1
            tool = text(event, "name"), text(event, "brief")
            attempt.same_tool = attempt.same_tool + 1 if tool == attempt.tool else 1
            attempt.tool = tool
        case "done":
            attempt.tools_active = max(0, attempt.tools_active - 1)
        case _:
            pass


def _model_call(attempt: Attempt, event: Event) -> None:
    attempt.model_calls += 1
    prompt, completion = amount(event, "prompt_tokens"), amount(event, "completion_tokens")
    if prompt is None and completion is None:
        return
    attempt.tokens = (attempt.tokens or 0) + int(prompt or 0) + int(completion or 0)
    attempt.completion_tokens = (attempt.completion_tokens or 0) + int(completion or 0)
