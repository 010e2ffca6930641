"""A swarm as its journal tells it, kept up to date: the one fold of this program.

Everything that shows a swarm reads it from here: the live table, `stig status`, `stig watch`, the
dashboard, `/metrics`, a replay. Events go in and values come out; time is passed in; nothing is
read or asked. What it holds is bounded by the unfinished tasks, the agents and the items of the
board, however long the journal is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from stigmergy.board import Event, JsonObject, TaskStatus
from stigmergy.monitor import documents
from stigmergy.monitor.activity import Line, line_of
from stigmergy.monitor.agents import AgentBook
from stigmergy.monitor.alerts import STUCK, Alert, Situation, Thresholds, find_alerts
from stigmergy.monitor.attempts import AttemptBook
from stigmergy.monitor.changes import LIMITS
from stigmergy.monitor.critical import critical_path
from stigmergy.monitor.durations import Durations
from stigmergy.monitor.metrics import measure
from stigmergy.monitor.recall import MemoryUse
from stigmergy.monitor.run import RunView
from stigmergy.monitor.series import Series, Standing
from stigmergy.monitor.tasks import TaskBook, TaskRow
from stigmergy.monitor.votes import VoteBook

__all__ = ["SwarmView"]

_PATH_S: Final = 1.0
"""How often the critical path is looked for anew, at most."""
_SETTLED: Final = frozenset({"completed", "failed", "released", "cancelled"})


class SwarmView:
    """Everything that one board's journal says. Used by one thread.

    Args:
        thresholds: from when on something is worth an alert.
    """

    def __init__(self, thresholds: Thresholds | None = None) -> None:
        self.thresholds = thresholds or Thresholds()
        self.tasks = TaskBook()
        self.attempts = AttemptBook()
        self.agents = AgentBook()
        self.run = RunView(agents=self.agents.rows)
        self.votes = VoteBook()
        self.memory = MemoryUse()
        self.series = Series()
        self.durations = Durations()
        self.alerts: dict[str, Alert] = {}
        self.activity: deque[Line] = deque(maxlen=LIMITS["activity"])
        self.seq = 0
        self.at: float | None = None
        """When the latest event was written."""
        self.crashed = False
        """Whoever looks at the run's lock may say so: a journal cannot tell."""
        self.critical_path: tuple[str, ...] = ()
        self._path_at: float | None = None
        self._last_claim_at: float | None = None
        self._told = _Told()

    # Folding ----------------------------------------------------------------------------------

    def take(self, events: Iterable[Event]) -> list[str]:
        """Go on by these events; the lines that a person who watches wants to read."""
        return [line for event in events if (line := self._take(event))]

    def _take(self, event: Event) -> str | None:
        if event.seq and event.seq <= self.seq:
            return None  # told already
        self.series.advance(event.at, self._standing)
        self.seq, self.at = event.seq, event.at
        row = self.tasks.take(event)
        attempt = self.attempts.take(event, row, has_model=self.run.facts.get("model") is not None)
        self.agents.take(event, row, attempt)
        self.votes.take(event, row)
        self.memory.take(event)
        self._note(event, row)
        line = self.run.take(event)
        # The items of a run are worded by the run alone.
        if line is None and (row is None or row.key not in self.run.items):
            line = line_of(event, row)
        if line:
            self.activity.append(
                Line(
                    seq=event.seq,
                    at=event.at,
                    text=line,
                    task_id=event.task_id,
                    agent_id=event.agent_id,
                )
            )
        return line

    def _note(self, event: Event, row: TaskRow | None) -> None:
        """What belongs to no part of the view."""
        match event.kind:
            case "claimed":
                self._last_claim_at = event.at
            case "run_started":
                self.crashed = False
            case kind if kind in _SETTLED and row is not None:
                if kind == "completed":
                    self.durations.learn(row)
                if row.task_id.endswith(".land"):
                    self.attempts.settle(row.depends_on)
            case _:
                pass

    def _standing(self) -> Standing:
        run, counts = self.run, self.tasks.counts
        tokens_known = run.model_calls > run.calls_without_usage
        cost_known = run.model_calls > run.calls_without_price
        return Standing(
            landings=len(run.landings),
            pending=counts[TaskStatus.PENDING],
            working=self.agents.busy,
            completed=counts[TaskStatus.COMPLETED],
            failed=counts[TaskStatus.FAILED],
            tokens=run.prompt_tokens + run.completion_tokens if tokens_known else None,
            cost_usd=round(run.cost_usd, 6) if cost_known else None,
        )

    # Time -------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """What time alone changes: alerts, stuck agents, the points of the series."""
        if self.at is not None and self.run.ended_at is None:
            self.series.advance(now, self._standing)
        found = find_alerts(self.situation(), self.thresholds, now=now)
        for name, alert in found.items():
            if (before := self.alerts.get(name)) is not None:
                found[name] = alert.stood_since(before.since)
        self.alerts = found
        self._mark_agents()
        self._find_path(now)

    def situation(self) -> Situation:
        """How the swarm stands, for what decides from it."""
        return Situation(
            run=self.run,
            tasks=self.tasks,
            agents=self.agents.rows,
            attempts=self.attempts,
            paused=frozenset(self.paused),
            last_claim_at=self._last_claim_at,
            crashed=self.crashed,
        )

    def _mark_agents(self) -> None:
        stuck = {alert.agent_id for alert in self.alerts.values() if alert.kind in STUCK}
        crashed = self.crashed and self.run.ended_at is None
        for name, row in self.agents.rows.items():
            marks = name in stuck, crashed
            if marks != (row.stuck, row.lost):
                row.stuck, row.lost = marks
                self.agents.changed.add(name)

    def _find_path(self, now: float) -> None:
        is_due = self._path_at is None or not 0 <= now - self._path_at < _PATH_S
        if not (self.tasks.graph_changed and is_due):
            return
        self._path_at = now
        self.tasks.graph_changed = False
        rows = self.tasks.rows
        linked = {name for name, waiting in self.tasks.waiters.items() if waiting}
        linked |= {name for waiting in self.tasks.waiters.values() for name in waiting}
        needs = {name: rows[name].unmet for name in linked if self._is_open(name)}
        self.critical_path = critical_path(needs, lambda name: self.durations.of(rows[name]))

    def _is_open(self, name: str) -> bool:
        row = self.tasks.rows.get(name)
        return row is not None and not row.is_final

    # Documents --------------------------------------------------------------------------------

    @property
    def paused(self) -> set[str]:
        """Task types that are not taken; `*` is every type."""
        return self.run.paused

    @property
    def state(self) -> str:
        """`running`, `paused`, `ended`, `crashed` or `idle`."""
        if self.run.ended_at is not None:
            return "ended"
        if self.crashed:
            return "crashed"
        if "*" in self.paused:
            return "paused"
        busy = self.run.started_at is not None or bool(self.attempts.running)
        return "running" if busy else "idle"

    def metrics(self, now: float) -> dict[str, float | None]:
        """Every figure of `METRICS`; what is not known is None."""
        return measure(
            self.situation(),
            list(self.alerts.values()),
            memory=(self.memory.reads, self.memory.writes),
            now=now,
        )

    def snapshot(self, now: float) -> JsonObject:
        """The whole view as JSON values.

        It says what has been folded by now, which the next `changes` tells again: `apply` does not
        mind.
        """
        self.tick(now)
        run = self.run
        return {
            "seq": self.seq,
            "at": self.at,
            "now": now,
            **self._singles(),
            "agents": {name: documents.of_agent(row) for name, row in self.agents.rows.items()},
            "tasks": {row.task_id: documents.of_task(row) for row in self.tasks.visible()},
            "items": {key: documents.of_item(item) for key, item in run.items.items()},
            "votes": {name: vote.document() for name, vote in self.votes.rows.items()},
            "alerts": {name: alert.document() for name, alert in self.alerts.items()},
            "landings": [documents.of_landing(it) for it in run.landings[-LIMITS["landings"] :]],
            "returns": [documents.of_return(it) for it in run.returns[-LIMITS["returns"] :]],
            "activity": [documents.of_line(line) for line in self.activity],
            "metrics": self.metrics(now),
            "series": self.series.document(),
        }

    def _singles(self) -> JsonObject:
        """Parts that are told whole when anything in them changes."""
        return {
            "run": documents.of_run(self.run, state=self.state),
            "gate": documents.of_gate(self.run),
            "memory": self.memory.document(),
            "paused": sorted(self.paused),
            "critical_path": list(self.critical_path),
            "tasks_total": self.tasks.total,
        }

    def changes(self, now: float) -> JsonObject | None:
        """What changed since the last call, or since the empty view; None if nothing did."""
        self.tick(now)
        told = self._told
        delta: JsonObject = {}
        for part, value in (
            ("set", self._changed_rows()),
            ("del", self._dropped_rows()),
            ("append", self._new_entries()),
            ("replace", self._replaced(now)),
        ):
            if value:
                delta[part] = value
        if not delta and self.seq == told.seq:
            return None
        told.seq = self.seq
        return {"seq": self.seq, "at": self.at, "now": now, **delta}

    def _changed_rows(self) -> JsonObject:
        alerts = {
            name: alert
            for name, alert in self.alerts.items()
            if self._told.alerts.get(name) != alert
        }
        agents, tasks, votes = self.agents, self.tasks, self.votes
        rows: dict[str, JsonObject] = {
            "agents": _rows(agents.changed, lambda n: documents.of_agent(agents.rows[n])),
            "tasks": _rows(
                {name for name in tasks.changed if tasks.is_visible(name)},
                lambda n: documents.of_task(tasks.rows[n]),
            ),
            "items": _rows(self.run.changed, lambda n: documents.of_item(self.run.items[n])),
            "votes": _rows(votes.changed, lambda n: votes.rows[n].document()),
            "alerts": {name: alert.document() for name, alert in alerts.items()},
        }
        for changed in (agents.changed, tasks.changed, self.run.changed, votes.changed):
            changed.clear()
        return {table: found for table, found in rows.items() if found}

    def _dropped_rows(self) -> JsonObject:
        told = self._told
        gone = {
            "agents": sorted(self.agents.dropped - self.agents.rows.keys()),
            "tasks": sorted(name for name in self.tasks.dropped if not self.tasks.is_visible(name)),
            "votes": sorted(self.votes.dropped - self.votes.rows.keys()),
            "alerts": sorted(told.alerts.keys() - self.alerts.keys()),
        }
        told.alerts = self.alerts
        for dropped in (self.agents.dropped, self.tasks.dropped, self.votes.dropped):
            dropped.clear()
        return {table: names for table, names in gone.items() if names}

    def _new_entries(self) -> JsonObject:
        told, run, series = self._told, self.run, self.series
        landings = run.landings[told.landings :][-LIMITS["landings"] :]
        returns = run.returns[told.returns :][-LIMITS["returns"] :]
        activity = [line for line in self.activity if line.seq > told.seq]
        told.landings, told.returns = len(run.landings), len(run.returns)
        entries = {
            "landings": [documents.of_landing(landing) for landing in landings],
            "returns": [documents.of_return(back) for back in returns],
            "activity": [documents.of_line(line) for line in activity],
            "points": [] if series.remade else [point.document() for point in series.new],
        }
        return {name: new for name, new in entries.items() if new}

    def _replaced(self, now: float) -> JsonObject:
        told, series = self._told, self.series
        replaced = {
            name: value
            for name, value in self._singles().items()
            if name not in told.singles or told.singles[name] != value
        }
        told.singles |= replaced
        figures = self.metrics(now)
        changed = {
            name: value
            for name, value in figures.items()
            if name not in told.metrics or told.metrics[name] != value
        }
        told.metrics = figures
        if changed:
            replaced["metrics"] = changed
        if series.remade:
            replaced["series"] = series.document()
        series.remade = False
        series.new.clear()
        return replaced


class _Told:
    """What the last call of `changes` has told."""

    def __init__(self) -> None:
        self.seq = 0
        self.landings = 0
        self.returns = 0
        self.alerts: dict[str, Alert] = {}
        self.singles: JsonObject = {}
        self.metrics: dict[str, float | None] = {}


def _rows(names: Iterable[str], document: Callable[[str], JsonObject]) -> JsonObject:
    return {name: document(name) for name in names}
