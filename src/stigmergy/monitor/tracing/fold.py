"""A journal as spans: run, planner, tasks, agents, tools, models, gates, merges. Pure.

The same events give the same spans with the same ids, so a trace that was sent live and one that
is made from the journal later are one trace. A span is given when it ends; what has not ended is
given by `close`. What agents and models said is not in a trace, only that they did.

    run ─┬─ plan ── chat
         ├─ task ─┬─ invoke_agent ─┬─ execute_tool
         │        │                └─ chat
         │        └─ merge
         └─ gate
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from stigmergy.board import Event, TaskType
from stigmergy.monitor.reading import amount, first_line, text
from stigmergy.monitor.reading import names as listed
from stigmergy.monitor.tasks import key_of
from stigmergy.monitor.tracing import names

__all__ = ["Attribute", "TraceSpan", "Tracer", "spans_of"]

Attribute = str | int | float | bool | tuple[str, ...]
Status = Literal["unset", "ok", "error"]

_MOST_OPEN_TOOLS: Final = 100
"""Of one attempt: an agent that begins ever more tools and ends none is not believed."""
_ENDS: Final = frozenset({"completed", "failed", "released", "expired", "cancelled"})
_FINAL: Final = frozenset({"completed", "failed", "cancelled"})


@dataclass(slots=True)
class TraceSpan:
    """Something that took time. Ids are those of W3C Trace Context; times are in seconds."""

    trace_id: int
    span_id: int
    parent_id: int | None
    name: str
    start: float
    end: float = 0.0
    is_call: bool = False
    """It waited for a server: a span of the kind `client`."""
    status: Status = "unset"
    message: str = ""
    attributes: dict[str, Attribute] = field(default_factory=dict[str, Attribute])

    def to_json(self) -> dict[str, object]:
        """As one JSON object."""
        return {
            "trace_id": f"{self.trace_id:032x}",
            "span_id": f"{self.span_id:016x}",
            "parent_id": None if self.parent_id is None else f"{self.parent_id:016x}",
            "name": self.name,
            "kind": "client" if self.is_call else "internal",
            "start": self.start,
            "end": self.end,
            "status": self.status,
            "message": self.message,
            "attributes": {
                name: list(value) if isinstance(value, tuple) else value
                for name, value in self.attributes.items()
            },
        }


def spans_of(events: Iterable[Event], *, run: str = "", board: str = "") -> list[TraceSpan]:
    """All spans of a journal, by their beginning; those that go on end with the latest event.

    Args:
        events: from the beginning, in order.
        run: the run's id, which events before its start do not tell.
        board: names a board without a run, so that its trace has an id of its own.
    """
    tracer = Tracer(run=run, board=board)
    found: dict[int, TraceSpan] = {}
    for event in events:
        for span in tracer.take(event):
            found[span.span_id] = span  # a run that was stopped and resumed ended twice
    for span in tracer.close():
        found[span.span_id] = span
    return sorted(found.values(), key=lambda span: (span.start, -span.end, span.span_id))


class Tracer:
    """Folds events into spans. What it holds is bounded by the unfinished tasks.

    Args:
        run: the run's id, if the journal is one of a run.
        board: names the board, for one without a run.
    """

    def __init__(self, *, run: str = "", board: str = "") -> None:
        self.at = 0.0
        self._name = run or board
        self._root = _number(8, "span", run, "run") if run else None
        self._began: float | None = None
        self._run: TraceSpan | None = None
        self._tasks: dict[str, TraceSpan] = {}
        self._attempts: dict[str, TraceSpan] = {}
        self._tools: dict[str, list[TraceSpan]] = {}
        self._gate: TraceSpan | None = None
        self._plans = 0
        self._calls: list[TraceSpan] = []
        """Of a planner, since it last planned."""

    def take(self, event: Event) -> list[TraceSpan]:
        """Go on by one event; the spans that it ends."""
        self.at = event.at
        self._began = event.at if self._began is None else self._began
        if event.kind in _ENDS:
            return self._end(event)
        handler = _HANDLERS.get(event.kind)
        return handler(self, event) if handler else []

    def close(self) -> list[TraceSpan]:
        """What has not ended, as if it ended with the latest event."""
        open_ones = [tool for tools in self._tools.values() for tool in tools]
        open_ones += [*self._attempts.values(), *self._tasks.values(), *self._calls]
        open_ones += [span for span in (self._gate, self._run) if span is not None and not span.end]
        for span in open_ones:
            if not span.end:
                span.end = max(self.at, span.start)
                span.attributes[names.OUTCOME] = "unfinished"
        return open_ones

    # Making spans -----------------------------------------------------------------------------

    def _trace_id(self) -> int:
        return _number(16, "trace", self._name)

    def _span(
        self, name: str, start: float, *key: object, parent: TraceSpan | None = None
    ) -> TraceSpan:
        return TraceSpan(
            trace_id=self._trace_id(),
            span_id=_number(8, "span", self._name, *key),
            parent_id=self._root if parent is None else parent.span_id,
            name=name,
            start=start,
        )

    # Run and plan -----------------------------------------------------------------------------

    def run_started(self, event: Event) -> list[TraceSpan]:
        """It begins once, however often it is resumed."""
        self._name = text(event, "run_id") or self._name
        if self._run is None:
            # The target is proved before a run says that it has started.
            self._run = self._span(names.RUN, self._began or event.at, "run")
            self._run.parent_id = None
            self._root = self._run.span_id
            for name, key in ((names.RUN_ID, "run_id"), (names.LABEL, "label")):
                _set(self._run, name, text(event, key))
            _set(self._run, names.TARGET, text(event, "target"))
        self._run.end = 0.0
        return []

    def run_ended(self, event: Event) -> list[TraceSpan]:
        """It has, unless it is resumed."""
        if (run := self._run) is None:
            return []
        code = amount(event, "exit_code")
        run.end = event.at
        run.status, run.message = ("ok", "") if code == 0 else ("error", text(event, "verdict"))
        return [run]

    def planning(self, event: Event) -> list[TraceSpan]:
        """An iteration of the planner, from its first call to what came of it."""
        self._plans += 1
        start = min((call.start for call in self._calls), default=event.at)
        plan = self._span(names.PLAN, start, "plan", self._plans)
        plan.end = event.at
        plan.attributes[names.ITEMS] = int(amount(event, "items") or 0)
        calls, self._calls = self._calls, []
        for call in calls:
            call.parent_id = plan.span_id
        return [*calls, plan]

    # Tasks and attempts -----------------------------------------------------------------------

    def posted(self, event: Event) -> list[TraceSpan]:
        """From here to its end, whoever holds it."""
        parent_id = text(event, "parent_id")
        task = self._span(
            f"{names.TASK} {text(event, 'task_type')}",
            event.at,
            *("task", event.task_id, event.seq),
            parent=self._tasks.get(parent_id),
        )
        task.attributes |= {
            names.TASK_ID: event.task_id,
            names.TASK_TYPE: text(event, "task_type"),
        }
        _set(task, names.TASK_TITLE, text(event, "title"))
        _set(task, names.PARENT_TASK, parent_id)
        if (priority := amount(event, "priority")) is not None:
            task.attributes[names.PRIORITY] = int(priority)
        self._tasks[event.task_id] = task
        return []

    def retried(self, event: Event) -> list[TraceSpan]:
        """A task that ended begins anew: a span of its own."""
        if event.task_id not in self._tasks:
            task = self._span(names.TASK, event.at, "task", event.task_id, event.seq)
            task.attributes[names.TASK_ID] = event.task_id
            self._tasks[event.task_id] = task
        return []

    def claimed(self, event: Event) -> list[TraceSpan]:
        """An agent begins; one whose lease was lost unseen has ended by now."""
        lost = self._end_attempt(event, outcome="expired") if self._holds(event) else []
        task = self._tasks.get(event.task_id)
        is_landing = task is not None and task.attributes.get(names.TASK_TYPE) == TaskType.LAND
        agent = event.agent_id.rpartition("/")[2] or "unknown"
        name = f"{names.MERGE} {key_of(event.task_id)}" if is_landing else names.invoke_agent(agent)
        attempt = self._span(name, event.at, "attempt", event.task_id, event.seq, parent=task)
        attempt.attributes[names.TASK_ID] = event.task_id
        if is_landing:
            attempt.attributes[names.ITEM] = key_of(event.task_id)
        else:
            attempt.attributes |= {
                names.OPERATION: "invoke_agent",
                names.AGENT_ID: event.agent_id,
                names.AGENT_NAME: agent,
            }
        for name, key in ((names.ATTEMPT, "attempt"), (names.FENCE, "fence")):
            if (number := amount(event, key)) is not None:
                attempt.attributes[name] = int(number)
        self._attempts[event.task_id] = attempt
        return lost

    def _holds(self, event: Event) -> bool:
        return event.task_id in self._attempts

    def _end(self, event: Event) -> list[TraceSpan]:
        """Of an attempt, and of the task unless it is tried again."""
        is_pending = text(event, "status") == "pending" or event.kind == "released"
        outcome = "retried" if is_pending and event.kind == "failed" else event.kind
        ended = self._end_attempt(event, outcome=outcome) if self._holds(event) else []
        is_over = event.kind in _FINAL or (event.kind == "expired" and not is_pending)
        if is_pending or not is_over or (task := self._tasks.pop(event.task_id, None)) is None:
            return ended
        task.end = event.at
        task.attributes[names.OUTCOME] = event.kind
        _judge(task, event)
        return [*ended, task]

    def _end_attempt(self, event: Event, *, outcome: str) -> list[TraceSpan]:
        attempt = self._attempts.pop(event.task_id)
        tools = self._tools.pop(event.task_id, [])
        for tool in tools:
            tool.end = event.at
            tool.attributes[names.OUTCOME] = "unfinished"
        attempt.end = event.at
        attempt.attributes[names.OUTCOME] = outcome
        _set(attempt, names.COMMIT, text(event, "commit"))
        _set(attempt, names.PROOF, text(event, "proof"))
        if (size := amount(event, "batch_size")) is not None:
            attempt.attributes[names.BATCH_SIZE] = int(size)
        if outcome != "released":
            _judge(attempt, event)
        return [*tools, attempt]

    # Within an attempt ------------------------------------------------------------------------

    def progress(self, event: Event) -> list[TraceSpan]:
        """A tool begins or ends; a model that calls none has told so itself."""
        attempt = self._attempts.get(event.task_id)
        if attempt is None or attempt.attributes.get(names.AGENT_ID) != event.agent_id:
            return []
        tools = self._tools.setdefault(event.task_id, [])
        tool_name = text(event, "name") or "unknown"
        match event.data.get("kind"):
            case "tool" if len(tools) < _MOST_OPEN_TOOLS:
                key = ("tool", event.task_id, event.seq)
                tool = self._span(names.execute_tool(tool_name), event.at, *key, parent=attempt)
                tool.attributes |= {
                    names.OPERATION: "execute_tool",
                    names.TOOL_NAME: tool_name,
                    names.TASK_ID: event.task_id,
                }
                tools.append(tool)
            case "done":
                return self._end_tool(event, tools, tool_name)
            case _:
                pass
        return []

    def _end_tool(self, event: Event, tools: list[TraceSpan], name: str) -> list[TraceSpan]:
        for place, tool in enumerate(tools):
            if tool.attributes[names.TOOL_NAME] == name:
                del tools[place]
                tool.end = event.at
                is_ok = event.data.get("ok") is True
                tool.status = "ok" if is_ok else "error"
                if not is_ok:
                    tool.attributes[names.ERROR_TYPE] = "tool_failed"
                return [tool]
        return []

    def model_call(self, event: Event) -> list[TraceSpan]:
        """It is journaled when it has ended, with the time it took."""
        model = text(event, "model") or "unknown"
        took_s = (amount(event, "duration_ms") or 0.0) / 1000
        attempt = self._attempts.get(event.task_id)
        key = ("call", event.task_id, event.seq)
        call = self._span(names.chat(model), event.at - took_s, *key, parent=attempt)
        call.end, call.is_call = event.at, True
        call.attributes |= {names.OPERATION: "chat", names.REQUEST_MODEL: model}
        _set(call, names.PROVIDER, text(event, "provider"))
        _set(call, names.TASK_ID, event.task_id)
        for name, field_ in (
            (names.INPUT_TOKENS, "prompt_tokens"),
            (names.OUTPUT_TOKENS, "completion_tokens"),
            (names.TURN, "turn"),
        ):
            if (number := amount(event, field_)) is not None:
                call.attributes[name] = int(number)
        if (cost := amount(event, "cost_usd")) is not None:
            call.attributes[names.COST_USD] = float(cost)
        if event.data.get("replayed"):
            call.attributes[names.REPLAYED] = True
        if error := text(event, "error"):
            call.status, call.message = "error", first_line(error)
            call.attributes[names.ERROR_TYPE] = text(event, "status") or "unknown"
        if attempt is None and event.task_id.startswith("plan"):
            self._calls.append(call)  # its plan is told when it is made
            return []
        return [call]

    # Gate -------------------------------------------------------------------------------------

    def gate_started(self, event: Event) -> list[TraceSpan]:
        """The gate judges what is stacked, or the target itself."""
        gate = self._span(names.GATE, event.at, "gate", event.seq)
        gate.attributes[names.GATE_TASKS] = listed(event, "task_ids")
        self._gate = gate
        return []

    def gate_ended(self, event: Event) -> list[TraceSpan]:
        """Green, red, or stopped before it knew."""
        gate, self._gate = self._gate, None
        if gate is None:
            return []
        gate.end = event.at
        green = event.data.get("green")
        if isinstance(green, bool):
            gate.attributes[names.GATE_GREEN] = green
            gate.status = "ok" if green else "error"
            gate.message = "" if green else first_line(text(event, "reason"))
        return [gate]


def _set(span: TraceSpan, name: str, value: str) -> None:
    if value:
        span.attributes[name] = value


def _judge(span: TraceSpan, event: Event) -> None:
    if event.kind == "completed":
        span.status = "ok"
        return
    span.status, span.message = "error", first_line(text(event, "error"))
    span.attributes[names.ERROR_TYPE] = event.kind


def _number(size: int, *parts: object) -> int:
    """A number of so many bytes that only these parts give; never 0, which is no id."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:size]) or 1


_HANDLERS: Final[Mapping[str, Callable[[Tracer, Event], list[TraceSpan]]]] = {
    "run_started": Tracer.run_started,
    "run_ended": Tracer.run_ended,
    "planning": Tracer.planning,
    "posted": Tracer.posted,
    "retried": Tracer.retried,
    "claimed": Tracer.claimed,
    "progress": Tracer.progress,
    "model_call": Tracer.model_call,
    "gate_started": Tracer.gate_started,
    "gate_ended": Tracer.gate_ended,
}
