"""Where a swarm's time and money went: attempts as spans, and sums by task, agent and model. Pure.

Time is that of agents at work, so of ten agents it goes ten times as fast as the clock on the
wall. Money and tokens are those of calls that told them; of a sum without any it is None.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal

from stigmergy.board import Event, TaskType
from stigmergy.monitor.reading import amount, names, text

__all__ = ["Outcome", "Span", "Spans", "Spent", "spans_of"]

Outcome = Literal["completed", "failed", "given back", "cancelled", "lost", "unfinished"]

_OUTCOMES: Final[dict[str, Outcome]] = {
    "completed": "completed",
    "failed": "failed",
    "released": "given back",
    "cancelled": "cancelled",
    "expired": "lost",
}


_NO_WORK: Final = frozenset({TaskType.LAND, TaskType.APPROVAL})
"""A landing waits for the gate, which has its own spans; an approval is a person's word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """An agent at a task, or the gate at work."""

    name: str
    """The agent; `gate`."""
    task_id: str
    start: float
    end: float
    outcome: Outcome

    @property
    def duration_s(self) -> float:
        """How long."""
        return max(0.0, self.end - self.start)


@dataclass(slots=True)
class Spent:
    """What something took. Unknown is None."""

    time_s: float = 0.0
    attempts: int = 0
    calls: int = 0
    tokens: int | None = None
    cost_usd: float | None = None
    calls_without_usage: int = 0
    calls_without_price: int = 0

    def add_call(self, event: Event) -> None:
        """Count a call of a model."""
        self.calls += 1
        prompt, completion = amount(event, "prompt_tokens"), amount(event, "completion_tokens")
        if prompt is None and completion is None:
            self.calls_without_usage += 1
        else:
            self.tokens = (self.tokens or 0) + int(prompt or 0) + int(completion or 0)
        if (cost := amount(event, "cost_usd")) is None:
            self.calls_without_price += 1
        else:
            self.cost_usd = (self.cost_usd or 0.0) + cost


@dataclass(slots=True)
class Spans:
    """All attempts, runs of the gate, and what was spent on what."""

    attempts: list[Span] = field(default_factory=list[Span])
    gates: list[Span] = field(default_factory=list[Span])
    by_task: dict[str, Spent] = field(default_factory=dict[str, Spent])
    by_agent: dict[str, Spent] = field(default_factory=dict[str, Spent])
    by_model: dict[str, Spent] = field(default_factory=dict[str, Spent])


def spans_of(events: Iterable[Event], *, until: float | None) -> Spans:
    """The whole journal.

    Args:
        events: from the beginning, in order.
        until: up to when what has not ended goes on; None takes the latest event.
    """
    folder = _Folder()
    for event in events:
        folder.take(event)
    return folder.close(folder.at if until is None else until)


class _Folder:
    def __init__(self) -> None:
        self.at = 0.0
        self._spans = Spans()
        self._running: dict[str, Event] = {}
        self._gate: Event | None = None
        self._no_work: set[str] = set()

    def take(self, event: Event) -> None:
        self.at = event.at
        match event.kind:
            case "posted" if text(event, "task_type") in _NO_WORK:
                self._no_work.add(event.task_id)
            case "claimed" if event.task_id not in self._no_work:
                self._running[event.task_id] = event
            case "gate_started":
                self._gate = event
            case "gate_ended" if self._gate is not None:
                self._end_gate(self._gate, event)
            case "model_call":
                self._call(event)
            case kind if kind in _OUTCOMES:
                if (begun := self._running.pop(event.task_id, None)) is not None:
                    self._end(begun, event.at, _OUTCOMES[kind])
            case _:
                pass

    def close(self, until: float) -> Spans:
        for begun in self._running.values():
            self._end(begun, max(until, begun.at), "unfinished")
        return self._spans

    def _end(self, begun: Event, at: float, outcome: Outcome) -> None:
        span = Span(
            name=begun.agent_id,
            task_id=begun.task_id,
            start=begun.at,
            end=max(at, begun.at),
            outcome=outcome,
        )
        self._spans.attempts.append(span)
        for table, key in (
            (self._spans.by_task, span.task_id),
            (self._spans.by_agent, span.name),
        ):
            spent = table.setdefault(key, Spent())
            spent.time_s += span.duration_s
            spent.attempts += 1

    def _end_gate(self, begun: Event, event: Event) -> None:
        self._gate = None
        green = event.data.get("green")
        outcome: Outcome = "given back" if green is None else "completed" if green else "failed"
        count = len(names(begun, "task_ids"))
        span = Span(
            name="gate",
            task_id=f"{count} items" if count != 1 else "1 item",
            start=begun.at,
            end=max(event.at, begun.at),
            outcome=outcome,
        )
        self._spans.gates.append(span)

    def _call(self, event: Event) -> None:
        model = self._spans.by_model.setdefault(text(event, "model") or "unknown", Spent())
        model.add_call(event)
        model.time_s += (amount(event, "duration_ms") or 0.0) / 1000
        # A planner's calls are of no task on the board.
        self._spans.by_task.setdefault(event.task_id or "unknown", Spent()).add_call(event)
        begun = self._running.get(event.task_id)
        agent = "planner" if begun is None else begun.agent_id
        self._spans.by_agent.setdefault(agent, Spent()).add_call(event)
