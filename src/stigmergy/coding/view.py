"""A run as its journal tells it: who does what, what landed, what came back, what it cost.

A fold over events: the live table, `stig status`, `stig logs` and the report all read it, so they
cannot disagree, and a finished or crashed run is looked at with the same code. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Literal, cast

from stigmergy.board import Event, JsonObject, TaskType

__all__ = ["AgentView", "ItemState", "ItemView", "Landing", "Return", "RunView", "fold"]

ItemState = Literal[
    "waiting", "coding", "fixing", "queued", "landing", "landed", "failed", "cancelled"
]


@dataclass(slots=True)
class ItemView:
    """One work item."""

    key: str
    description: str = ""
    state: ItemState = "waiting"
    posted_at: float = 0.0
    landed_at: float | None = None
    commit: str | None = None
    returns: int = 0
    """How often its work came back from the queue."""
    error: str | None = None
    depends_on: tuple[str, ...] = ()


@dataclass(slots=True)
class AgentView:
    """One agent: what it does now and since when. `task_id` is None while it is idle."""

    name: str
    task_id: str | None = None
    since: float = 0.0
    doing: str = ""
    finished: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """A commit that came onto the target."""

    at: float
    key: str
    commit: str
    batch_size: int
    gate_s: float | None
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Work that came back, and why."""

    at: float
    key: str
    kind: str
    detail: str
    fix: str | None
    """The task that mends it; None when it was given up."""


@dataclass(slots=True)
class RunView:
    """Everything the journal of one run says."""

    run_id: str = ""
    label: str = ""
    seq: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    exit_code: int | None = None
    verdict: str = ""
    resumed: int = 0
    facts: JsonObject = field(default_factory=dict[str, object])
    items: dict[str, ItemView] = field(default_factory=dict[str, ItemView])
    agents: dict[str, AgentView] = field(default_factory=dict[str, AgentView])
    landings: list[Landing] = field(default_factory=list[Landing])
    returns: list[Return] = field(default_factory=list[Return])
    gate_runs: int = 0
    gate_red: int = 0
    gate_s: float = 0.0
    gating: tuple[str, ...] = ()
    """The items in the gate right now."""
    gate_since: float = 0.0
    target_green: bool | None = None
    """What the gate last said of the target's tip; None when nobody asked."""
    model_calls: int = 0
    replayed_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls_without_usage: int = 0
    cost_usd: float = 0.0
    calls_without_price: int = 0
    planning: str = ""
    paused: list[str] = field(default_factory=list[str])
    """Task types that are not taken; `*` is the whole run."""
    agents_wanted: int | None = None
    """The latest wish for a number of agents; None: as many as the run was started with."""
    approvals: dict[str, str] = field(default_factory=dict[str, str])
    """What waits for a person, by task: what is asked."""
    asked: dict[str, str] = field(default_factory=dict[str, str])
    """All that a person was ever asked."""
    last: str = ""
    """The latest thing worth a line."""

    @property
    def landed(self) -> int:
        """Items that have landed."""
        return sum(item.state == "landed" for item in self.items.values())

    @property
    def unchanged(self) -> int:
        """Of those, items that needed no change."""
        return sum(item.state == "landed" and item.commit is None for item in self.items.values())

    @property
    def failed(self) -> int:
        """Items that were given up or cancelled."""
        return sum(item.state in ("failed", "cancelled") for item in self.items.values())

    def landings_per_hour(self, now: float) -> float | None:
        """Commits landed on the target, by the wall clock; None before the first."""
        if not self.landings or self.started_at is None:
            return None
        elapsed = (self.ended_at or now) - self.started_at
        return len(self.landings) * 3600.0 / elapsed if elapsed > 0 else None


def fold(view: RunView, events: Iterable[Event]) -> list[str]:
    """Bring the view up to date; the lines that a person who watches wants to read."""
    lines: list[str] = []
    for event in events:
        view.seq = event.seq
        handler = _HANDLERS.get(event.kind)
        if event.task_id in view.asked and event.kind != "posted":
            handler = _APPROVALS.get(event.kind)  # a person is no agent, and it is no item's work
        line = handler(view, event) if handler else None
        if line:
            view.last = line
            lines.append(line)
    return lines


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return "" if value is None else str(value)


def _number(event: Event, name: str) -> float:
    value = event.data.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _names(event: Event, name: str) -> tuple[str, ...]:
    value: object = event.data.get(name)
    return (
        tuple(str(item) for item in cast("list[object]", value)) if isinstance(value, list) else ()
    )


def _item(view: RunView, task_id: str) -> ItemView | None:
    return view.items.get(_key(task_id))


def _key(task_id: str) -> str:
    for mark in (".land", ".fix"):
        head, found, _ = task_id.rpartition(mark)
        if found:
            return head
    return task_id


def _run_started(view: RunView, event: Event) -> str:
    view.run_id = _text(event, "run_id")
    view.label = _text(event, "label")
    view.facts = dict(event.data)
    if view.started_at is None:
        view.started_at = event.at
        return f"run {view.run_id} started"
    view.resumed += 1
    view.ended_at = view.exit_code = None
    return f"run {view.run_id} resumed"


def _run_ended(view: RunView, event: Event) -> str:
    view.ended_at = event.at
    view.exit_code = int(_number(event, "exit_code"))
    view.verdict = _text(event, "verdict")
    view.gating = ()
    for agent in view.agents.values():
        agent.task_id, agent.doing = None, ""
    return view.verdict


def _posted(view: RunView, event: Event) -> str | None:
    if _text(event, "task_type") == TaskType.APPROVAL:
        view.approvals[event.task_id] = view.asked[event.task_id] = _text(event, "title")
        return f"waits for a person, {event.task_id}: {_text(event, 'title')}"
    if _text(event, "task_type") == TaskType.LAND:
        key = _key(event.task_id)
        view.items.setdefault(key, ItemView(key=key, posted_at=event.at))
    return None


def _paused(view: RunView, event: Event) -> str:
    if (task_type := _text(event, "task_type")) not in view.paused:
        view.paused.append(task_type)
    what = "the run" if task_type == "*" else f"tasks of type {task_type}"
    return f"paused {what}: what agents hold they finish, nothing else is taken"


def _resumed(view: RunView, event: Event) -> str:
    if (task_type := _text(event, "task_type")) in view.paused:
        view.paused.remove(task_type)
    return "the run goes on" if task_type == "*" else f"tasks of type {task_type} are taken again"


def _agents_wanted(view: RunView, event: Event) -> str | None:
    count: object = event.data.get("count")
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        return None  # whoever writes into the journal may write anything
    view.agents_wanted = count
    return f"agents wanted: {count}"


def _decided(view: RunView, event: Event) -> str:
    view.approvals.pop(event.task_id, None)
    if event.kind == "cancelled":
        return f"{event.task_id}: no longer asked"
    word = "approved" if event.data.get("approved") else "refused"
    why = _first_line(_text(event, "reason"))
    return f"{event.task_id}: {word} by {event.agent_id or 'unknown'}" + (f": {why}" if why else "")


def _items_planned(view: RunView, event: Event) -> None:
    planned: object = event.data.get("items")
    for told in cast("list[JsonObject]", planned) if isinstance(planned, list) else []:
        if item := view.items.get(str(told.get("key"))):
            item.description = str(told.get("title", ""))
            item.depends_on = tuple(str(name) for name in told.get("depends_on", ()))


def _claimed(view: RunView, event: Event) -> str | None:
    agent = view.agents.setdefault(event.agent_id, AgentView(event.agent_id))
    item = _item(view, event.task_id)
    if event.task_id.endswith(".land"):
        if item:
            item.state = "landing"
        return None
    agent.task_id, agent.since, agent.doing = event.task_id, event.at, "preparing"
    if item:
        item.state = "fixing" if ".fix" in event.task_id else "coding"
    return None


def _progress(view: RunView, event: Event) -> None:
    agent = view.agents.get(event.agent_id)
    if agent is None or agent.task_id != event.task_id:
        return
    match event.data.get("kind"):
        case "tool":
            agent.doing = f"{_text(event, 'name')} {_text(event, 'brief')}".strip()
        case "step":
            agent.doing = "asks the model"
        case "commit":
            agent.doing = "commits"
        case _:
            agent.doing = _text(event, "brief") or agent.doing


def _target(view: RunView, event: Event) -> None:
    view.facts["target"] = _text(event, "ref")


def _completed(view: RunView, event: Event) -> str | None:
    _idle(view, event)
    item = _item(view, event.task_id)
    if item is None:
        return None
    if event.task_id.endswith(".land"):
        item.state, item.landed_at = "landed", event.at
        return _landed(view, event, item)
    item.state = "queued"
    if agent := view.agents.get(event.agent_id):
        agent.finished += 1
    return None


def _failed(view: RunView, event: Event) -> str | None:
    _idle(view, event)
    item = _item(view, event.task_id)
    status, error = _text(event, "status"), _text(event, "error")
    if item is None:
        return None
    if status == "pending":
        item.state = "waiting"
        attempt = int(_number(event, "attempt"))
        return f"{event.task_id}: attempt {attempt} failed, tried again: {_first_line(error)}"
    if event.task_id.endswith(".land"):
        item.state, item.error = "failed", error
        if event.data.get("returned"):
            return _returned(view, event, item)
        return f"{item.key} failed: {_first_line(error)}"
    return f"{event.task_id} failed: {_first_line(error)}"


def _released(view: RunView, event: Event) -> str | None:
    _idle(view, event)
    item = _item(view, event.task_id)
    if item is None:
        return None
    item.state = "waiting" if event.data.get("wait_for") else "queued"
    if not event.task_id.endswith(".land"):
        item.state = "waiting"
    if event.data.get("commit"):
        _landed(view, event, item)
    return _returned(view, event, item) if event.data.get("returned") else None


def _cancelled(view: RunView, event: Event) -> None:
    _idle(view, event)
    item = _item(view, event.task_id)
    if item and event.task_id.endswith(".land"):
        item.state, item.error = "cancelled", _text(event, "error")


def _retried(view: RunView, event: Event) -> str | None:
    item = _item(view, event.task_id)
    if item is None or item.state not in ("failed", "cancelled"):
        return None
    item.state, item.error = "waiting", None
    return f"{item.key} is begun anew"


def _asked_anew(view: RunView, event: Event) -> str:
    view.approvals[event.task_id] = view.asked[event.task_id]
    return f"waits for a person again, {event.task_id}: {view.asked[event.task_id]}"


def _idle(view: RunView, event: Event) -> None:
    agent = view.agents.get(event.agent_id)
    if agent and agent.task_id == event.task_id:
        agent.task_id, agent.doing, agent.since = None, "", event.at


def _gate_started(view: RunView, event: Event) -> str:
    view.gating, view.gate_since = _names(event, "task_ids"), event.at
    names = ", ".join(_key(name) for name in view.gating) or "the target"
    again = " once more" if event.data.get("retry") else ""
    return f"gate runs on {names}{again}"


def _gate_ended(view: RunView, event: Event) -> str:
    names = ", ".join(_key(name) for name in view.gating) or "the target"
    view.gating = ()
    if event.data.get("green") is None:
        return f"gate stopped, no verdict: {names}"
    view.gate_runs += 1
    view.gate_s += _number(event, "duration_s")
    if event.data.get("green"):
        return f"gate green in {_number(event, 'duration_s'):.1f} s: {names}"
    view.gate_red += 1
    return f"gate RED on {names}: {_first_line(_text(event, 'reason'))}"


def _landed(view: RunView, event: Event, item: ItemView) -> str:
    if not event.data.get("commit"):
        why = "nothing to change" if event.data.get("unchanged") else "the target has it already"
        return f"{item.key}: {why}"
    landing = Landing(
        at=event.at,
        key=item.key,
        commit=_text(event, "commit"),
        batch_size=int(_number(event, "batch_size")),
        gate_s=None if event.data.get("gate_s") is None else _number(event, "gate_s"),
        proof=_text(event, "proof"),
    )
    view.landings.append(landing)
    item.commit = landing.commit
    if landing.gate_s is not None:
        view.target_green = True
    return f"landed {landing.key} as {landing.commit[:10]}"


def _returned(view: RunView, event: Event, item: ItemView) -> str:
    back = Return(
        at=event.at,
        key=item.key,
        kind=_text(event, "returned"),
        detail=_text(event, "detail"),
        fix=_text(event, "fix") or None,
    )
    view.returns.append(back)
    item.returns += 1
    then = f"{back.fix} will mend it" if back.fix else "given up"
    return f"{back.key} came back ({back.kind}): {_first_line(back.detail)}; {then}"


def _swept(view: RunView, event: Event) -> str:
    green = event.data.get("green")
    view.target_green = green if isinstance(green, bool) else None
    return f"sweep of the target: {_text(event, 'detail')}"


def _model_call(view: RunView, event: Event) -> None:
    view.model_calls += 1
    view.replayed_calls += bool(event.data.get("replayed"))
    if event.data.get("prompt_tokens") is None and event.data.get("completion_tokens") is None:
        view.calls_without_usage += 1
    view.prompt_tokens += int(_number(event, "prompt_tokens"))
    view.completion_tokens += int(_number(event, "completion_tokens"))
    if event.data.get("cost_usd") is None:
        view.calls_without_price += 1
    view.cost_usd += _number(event, "cost_usd")


def _planning(view: RunView, event: Event) -> str:
    view.planning = _text(event, "detail")
    return f"planner: {view.planning}"


def _note(_: RunView, event: Event) -> str:
    return _text(event, "text")


def _first_line(text: str) -> str:
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 160 else f"{line[:157]}..."


_APPROVALS: Final = {
    "completed": _decided,
    "failed": _decided,
    "cancelled": _decided,
    "retried": _asked_anew,
}
_HANDLERS: Final = {
    "paused": _paused,
    "resumed": _resumed,
    "agents_wanted": _agents_wanted,
    "run_started": _run_started,
    "run_ended": _run_ended,
    "posted": _posted,
    "items_planned": _items_planned,
    "claimed": _claimed,
    "progress": _progress,
    "target": _target,
    "completed": _completed,
    "failed": _failed,
    "expired": _failed,
    "released": _released,
    "cancelled": _cancelled,
    "retried": _retried,
    "gate_started": _gate_started,
    "gate_ended": _gate_ended,
    "swept": _swept,
    "model_call": _model_call,
    "planning": _planning,
    "note": _note,
}
