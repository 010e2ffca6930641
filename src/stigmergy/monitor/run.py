"""A coding run as its journal tells it: its items, what landed, what came back, what it cost.

A part of `SwarmView`, which folds it with the rest: the live table, `stig status`, `stig logs`, the
report and the dashboard read the same, so they cannot disagree. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, cast

from stigmergy.board import Event, JsonObject, TaskType
from stigmergy.monitor.agents import AgentRow
from stigmergy.monitor.reading import amount, first_line, names, number, rows, text
from stigmergy.monitor.tasks import key_of

__all__ = ["ItemState", "ItemView", "Landing", "Return", "RunView"]

_GATES: Final = 1000
"""Gate runs whose durations are remembered."""

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
    found: bool = False
    """It left findings, which are kept beside the code."""
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """A commit that came onto the target."""

    seq: int
    at: float
    key: str
    commit: str
    batch_size: int
    gate_s: float | None
    proof: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """Work that came back, and why."""

    seq: int
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
    agents: dict[str, AgentRow] = field(default_factory=dict[str, AgentRow])
    """Those of the board; another part of the view keeps them."""
    landings: list[Landing] = field(default_factory=list[Landing])
    returns: list[Return] = field(default_factory=list[Return])
    gate_runs: int = 0
    gate_red: int = 0
    gate_s: float = 0.0
    gate_times_s: deque[float] = field(default_factory=lambda: deque[float](maxlen=_GATES))
    """How long the latest runs of the gate took."""
    gating: tuple[str, ...] = ()
    """The items in the gate right now."""
    gate_since: float = 0.0
    target_green: bool | None = None
    """What the gate last said of the target's tip; None when nobody asked."""
    red_since: float | None = None
    """Since when the target has been red."""
    paused: set[str] = field(default_factory=set[str])
    """Task types that are not taken; `*` is the whole run."""
    approvals: dict[str, str] = field(default_factory=dict[str, str])
    """What waits for a person, by task: what is asked."""
    asked: dict[str, str] = field(default_factory=dict[str, str])
    """All that a person was ever asked."""
    agents_wanted: int | None = None
    """How many agents somebody asked for last."""
    model_calls: int = 0
    replayed_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    calls_without_usage: int = 0
    cost_usd: float = 0.0
    calls_without_price: int = 0
    planning: str = ""
    last: str = ""
    """The latest thing worth a line."""
    changed: set[str] = field(default_factory=set[str])
    """Items that changed since somebody emptied this."""

    @property
    def landed(self) -> int:
        """Items that have landed."""
        return sum(item.state == "landed" for item in self.items.values())

    @property
    def unchanged(self) -> int:
        """Of those, items that needed no change."""
        return sum(
            item.state == "landed" and item.commit is None and not item.found
            for item in self.items.values()
        )

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

    def take(self, event: Event) -> str | None:
        """Go on by one event; the line that a person who watches wants to read, if any."""
        self.seq = event.seq
        handler = _HANDLERS.get(event.kind)
        if handler is None:
            return None
        if event.task_id in self.asked and event.kind in _ANSWERS:
            self.approvals.pop(event.task_id, None)
        line = handler(self, event)
        if (key := key_of(event.task_id)) in self.items:
            self.changed.add(key)
        self.last = line or self.last
        return line


def _item(view: RunView, task_id: str) -> ItemView | None:
    return view.items.get(key_of(task_id))


def _run_started(view: RunView, event: Event) -> str:
    view.run_id = text(event, "run_id")
    view.label = text(event, "label")
    view.facts = dict(event.data)
    if view.started_at is None:
        view.started_at = event.at
        return f"run {view.run_id} started"
    view.resumed += 1
    view.ended_at = view.exit_code = None
    view.gating = ()
    return f"run {view.run_id} resumed"


def _run_ended(view: RunView, event: Event) -> str:
    view.ended_at = event.at
    view.exit_code = int(number(event, "exit_code"))
    view.verdict = text(event, "verdict")
    view.gating = ()
    return view.verdict


def _posted(view: RunView, event: Event) -> None:
    if text(event, "task_type") == TaskType.APPROVAL:
        view.approvals[event.task_id] = view.asked[event.task_id] = text(event, "title")
    if text(event, "task_type") == TaskType.LAND:
        key = key_of(event.task_id)
        view.items.setdefault(key, ItemView(key=key, posted_at=event.at))


def _items_planned(view: RunView, event: Event) -> None:
    for told in rows(event, "items"):
        if item := view.items.get(str(told.get("key"))):
            item.description = str(told.get("title", ""))
            needed: object = told.get("depends_on")
            if isinstance(needed, list):
                item.depends_on = tuple(map(str, cast("list[object]", needed)))
            view.changed.add(item.key)


def _claimed(view: RunView, event: Event) -> None:
    if item := _item(view, event.task_id):
        if event.task_id.endswith(".land"):
            item.state = "landing"
        else:
            item.state = "fixing" if ".fix" in event.task_id else "coding"


def _target(view: RunView, event: Event) -> None:
    view.facts["target"] = text(event, "ref")


def _completed(view: RunView, event: Event) -> str | None:
    item = _item(view, event.task_id)
    if item is None:
        return None
    if event.task_id.endswith(".land"):
        item.state, item.landed_at = "landed", event.at
        return _landed(view, event, item)
    item.state = "queued"
    return None


def _failed(view: RunView, event: Event) -> str | None:
    item = _item(view, event.task_id)
    status, error = text(event, "status"), text(event, "error")
    if item is None:
        return None
    if status == "pending":
        item.state = "waiting"
        attempt = int(number(event, "attempt"))
        return f"{event.task_id}: attempt {attempt} failed, tried again: {first_line(error)}"
    if not event.task_id.endswith(".land"):
        item.error = error
        return f"{event.task_id} failed: {first_line(error)}"
    item.state = "failed"
    if item.error and not event.agent_id:
        return None  # it fails because its work did: that was told, and why
    item.error = error
    if event.data.get("returned"):
        return _returned(view, event, item)
    return f"{item.key} failed: {first_line(error)}"


def _released(view: RunView, event: Event) -> str | None:
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
    item = _item(view, event.task_id)
    if item and event.task_id.endswith(".land"):
        item.state, item.error = "cancelled", text(event, "error")


def _retried(view: RunView, event: Event) -> str | None:
    if event.task_id in view.asked:
        view.approvals[event.task_id] = view.asked[event.task_id]
    item = _item(view, event.task_id)
    if item is None or item.state not in ("failed", "cancelled"):
        return None
    item.state, item.error = "waiting", None
    return f"{item.key} is begun anew"


def _paused(view: RunView, event: Event) -> None:
    view.paused.add(text(event, "task_type") or "*")


def _resumed(view: RunView, event: Event) -> None:
    view.paused.discard(text(event, "task_type") or "*")


def _gate_started(view: RunView, event: Event) -> str:
    view.gating, view.gate_since = names(event, "task_ids"), event.at
    keys = ", ".join(key_of(name) for name in view.gating) or "the target"
    again = " once more" if event.data.get("retry") else ""
    return f"gate runs on {keys}{again}"


def _gate_ended(view: RunView, event: Event) -> str:
    keys = ", ".join(key_of(name) for name in view.gating) or "the target"
    view.gating = ()
    if event.data.get("green") is None:
        return f"gate stopped, no verdict: {keys}"
    view.gate_runs += 1
    view.gate_s += number(event, "duration_s")
    view.gate_times_s.append(number(event, "duration_s"))
    if event.data.get("green"):
        return f"gate green in {number(event, 'duration_s'):.1f} s: {keys}"
    view.gate_red += 1
    return f"gate RED on {keys}: {first_line(text(event, 'reason'))}"


def _landed(view: RunView, event: Event, item: ItemView) -> str:
    item.found = bool(event.data.get("findings"))
    if not event.data.get("commit") and item.found:
        return f"{item.key}: findings kept"
    if not event.data.get("commit"):
        why = "nothing to change" if event.data.get("unchanged") else "the target has it already"
        return f"{item.key}: {why}"
    landing = Landing(
        seq=event.seq,
        at=event.at,
        key=item.key,
        commit=text(event, "commit"),
        batch_size=int(number(event, "batch_size")),
        gate_s=None if event.data.get("gate_s") is None else number(event, "gate_s"),
        proof=text(event, "proof"),
    )
    view.landings.append(landing)
    item.commit = landing.commit
    if landing.gate_s is not None:
        _judge_target(view, event, green=True)
    return f"landed {landing.key} as {landing.commit[:10]}"


def _returned(view: RunView, event: Event, item: ItemView) -> str:
    back = Return(
        seq=event.seq,
        at=event.at,
        key=item.key,
        kind=text(event, "returned"),
        detail=text(event, "detail"),
        fix=text(event, "fix") or None,
    )
    view.returns.append(back)
    item.returns += 1
    then = f"{back.fix} will mend it" if back.fix else "given up"
    return f"{back.key} came back ({back.kind}): {first_line(back.detail)}; {then}"


def _swept(view: RunView, event: Event) -> str:
    green = event.data.get("green")
    _judge_target(view, event, green=green if isinstance(green, bool) else None)
    return f"sweep of the target: {text(event, 'detail')}"


def _model_call(view: RunView, event: Event) -> None:
    view.model_calls += 1
    view.replayed_calls += bool(event.data.get("replayed"))
    if event.data.get("prompt_tokens") is None and event.data.get("completion_tokens") is None:
        view.calls_without_usage += 1
    view.prompt_tokens += int(number(event, "prompt_tokens"))
    view.completion_tokens += int(number(event, "completion_tokens"))
    if event.data.get("cost_usd") is None:
        view.calls_without_price += 1
    view.cost_usd += number(event, "cost_usd")


def _planning(view: RunView, event: Event) -> str:
    view.planning = text(event, "detail")
    return f"planner: {view.planning}"


def _note(_: RunView, event: Event) -> str:
    return text(event, "text")


def _judge_target(view: RunView, event: Event, *, green: bool | None) -> None:
    view.target_green = green
    view.red_since = (view.red_since or event.at) if green is False else None


def _agents_wanted(view: RunView, event: Event) -> str:
    count = amount(event, "count")
    view.agents_wanted = None if count is None else int(count)
    by = text(event, "by")
    return f"{view.agents_wanted} agents wanted" + (f", says {by}" if by else "")


def _stop_wanted(_: RunView, event: Event) -> str:
    by = text(event, "by")
    return "asked to stop" + (f" by {by}" if by else "")


_ANSWERS: Final = frozenset({"completed", "failed", "cancelled"})
_HANDLERS: Final[Mapping[str, Callable[[RunView, Event], str | None]]] = {
    "run_started": _run_started,
    "run_ended": _run_ended,
    "posted": _posted,
    "items_planned": _items_planned,
    "claimed": _claimed,
    "target": _target,
    "completed": _completed,
    "failed": _failed,
    "expired": _failed,
    "released": _released,
    "cancelled": _cancelled,
    "retried": _retried,
    "paused": _paused,
    "resumed": _resumed,
    "gate_started": _gate_started,
    "gate_ended": _gate_ended,
    "swept": _swept,
    "model_call": _model_call,
    "planning": _planning,
    "agents_wanted": _agents_wanted,
    "stop_wanted": _stop_wanted,
    "note": _note,
}
