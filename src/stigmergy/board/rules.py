"""What a board as a whole is told: pauses, limits, schedules, retention, fair sharing.

Values and pure decisions: which tasks are barred now, when a schedule is due. The store keeps each
as a `Rule`; `TaskBoard` reads them within the transaction that they decide about.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, tzinfo
from typing import Final, Literal, Self

from stigmergy.board.store import Bar, Match, Rule
from stigmergy.board.task import Json, JsonObject, Task, task_from_json, task_to_json
from stigmergy.errors import CorruptError, UsageError

__all__ = ["ALL", "EVERY", "FAIR", "Limit", "Retention", "Rules", "Schedule", "pause_rule"]

ALL: Final = "*"
"""As a paused type: all of them."""
EVERY: Final = "*"
"""As a limit's key: each key by itself."""
FAIR: Final = Rule(name="fair")
"""Parents take turns, among tasks posted while this stands."""
_SLACK_S: Final = 1e-6
"""Of a rate: sums of floats must not hold a claim back for a rounding error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How many tasks of a type, of a key, or of a key within a type may be at work.

    Args:
        name: a further limit of the same name replaces this one.
        task_type: of which type; None for any.
        limit_key: with which key; `"*"` counts each key by itself, None does not look at keys.
        at_once: how many may be held at the same time.
        rate: how many claims, at once or spread, `per_s` seconds refill evenly.
        per_s: in seconds.
    """

    name: str
    task_type: str | None = None
    limit_key: str | None = None
    at_once: int | None = None
    rate: int | None = None
    per_s: float | None = None
    spent: dict[str, float] = field(default_factory=dict[str, float])
    """Of each key (or ''), when the rate will be as if unused. Kept by the board."""

    def __post_init__(self) -> None:
        if self.task_type is None and self.limit_key is None:
            raise UsageError(f"the limit {self.name!r} is for no task_type and no limit_key")
        if self.at_once is None and self.rate is None:
            raise UsageError(f"the limit {self.name!r} needs at_once, or rate and per_s")
        if (self.rate is None) != (self.per_s is None):
            raise UsageError(f"the limit {self.name!r}: rate and per_s belong together")
        if any(number is not None and number < 1 for number in (self.at_once, self.rate)):
            raise UsageError(
                f"the limit {self.name!r} is below 1: to stop a type, pause it instead"
            )
        if self.per_s is not None and not 0 < self.per_s < math.inf:
            raise UsageError(f"the limit {self.name!r}: per_s is {self.per_s}: take seconds")

    def group(self, task: Task) -> str | None:
        """What the task counts under: its key, '' where keys do not count; None: not at all."""
        if self.task_type not in (None, task.task_type):
            return None
        if self.limit_key is None:
            return ""
        if task.limit_key is None or self.limit_key not in (EVERY, task.limit_key):
            return None
        return task.limit_key

    def counted(self, held: Iterable[Task]) -> Counter[str]:
        """How many of `held` count under each key."""
        return Counter(group for task in held if (group := self.group(task)) is not None)

    def bars(self, counts: Mapping[str, int], now: float) -> set[Bar]:
        """What may not be claimed now, so many being at work under each key."""
        full: set[str] = set()
        if self.at_once is not None:
            full |= {group for group, number in counts.items() if number >= self.at_once}
        if self.rate is not None and self.per_s is not None:
            latest = now + self.per_s * (self.rate - 1) / self.rate + _SLACK_S
            full |= {group for group in self.spent if self._until(group, now) > latest}
        return {(self.task_type, group or None) for group in full}

    def after_claim(self, task: Task, now: float) -> Self:
        """The limit as it is once the task was claimed."""
        group = self.group(task)
        if self.rate is None or self.per_s is None or group is None:
            return self
        spent = {key: until for key in self.spent if (until := self._until(key, now)) > now}
        spent[group] = self._until(group, now) + self.per_s / self.rate
        return replace(self, spent=spent)

    def _until(self, group: str, now: float) -> float:
        """When the rate will be as if unused."""
        until = self.spent.get(group, now)
        # Claims never spend more than per_s ahead: if it is further off, the clock was set back.
        is_possible = until <= now + (self.per_s or 0.0) + 2 * _SLACK_S
        return max(until, now) if is_possible else now

    def rule(self) -> Rule:
        """As the store keeps it."""
        body: JsonObject = {
            "task_type": self.task_type,
            "limit_key": self.limit_key,
            "at_once": self.at_once,
            "rate": self.rate,
            "per_s": self.per_s,
            "spent": self.spent,
        }
        return Rule(name=f"limit:{self.name}", body=body, gates=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A task that is posted again and again.

    Args:
        name: a further schedule of the same name replaces this one.
        task: what is posted; its id is `NAME.` and the time for which it was due.
        every_s: seconds between two; or
        cron: five fields as cron has them (`*/15 9-17 * * mon-fri`).
        zone: the time zone of `cron`, a name such as `Europe/Berlin`.
        overlap: `skip` posts none while an earlier one is unfinished; `allow` does.
        next_at: when the next one is due; found by the board if not given. Times that passed
            while nobody claimed are made up for by one task.
    """

    name: str
    task: Task
    every_s: float | None = None
    cron: str | None = None
    zone: str = "UTC"
    overlap: Literal["skip", "allow"] = "skip"
    next_at: float | None = None

    def __post_init__(self) -> None:
        if (self.every_s is None) == (self.cron is None):
            raise UsageError(f"the schedule {self.name!r} needs every_s or cron, and not both")
        if self.every_s is not None and not 1 <= self.every_s < math.inf:
            raise UsageError(f"the schedule {self.name!r}: every_s is {self.every_s}: 1 or more")
        if self.overlap not in ("skip", "allow"):
            raise UsageError(f"the schedule {self.name!r}: overlap is 'skip' or 'allow'")
        if self.next_at is not None and not math.isfinite(self.next_at):
            raise UsageError(f"the schedule {self.name!r}: next_at is {self.next_at}: take a time")
        if self.task.depends_on:
            # What is not on the board any more when it is due would fail every claim.
            raise UsageError(f"the schedule {self.name!r}: its task cannot depend on others")
        self.following(0.0)  # refuses what cannot be counted

    def following(self, now: float) -> float:
        """The first time due after `now`."""
        if self.every_s is not None:
            began = self.next_at if self.next_at is not None else now
            steps = math.floor((now - began) / self.every_s) + 1
            return began + max(steps, 1) * self.every_s
        from cronsim import CronSim, CronSimError

        try:
            zone = _zone(self.zone)
            times = CronSim(self.cron or "", datetime.fromtimestamp(now, zone))
            # While an hour comes again, in autumn, the first may be that of the hour before.
            return next(at for time in times if (at := time.timestamp()) > now)
        except (CronSimError, StopIteration) as error:
            raise UsageError(
                f"the schedule {self.name!r}: cron is {self.cron!r}: {error or 'never due'}; "
                "take minute, hour, day, month and weekday, as '0 6 * * mon'"
            ) from None

    def due_task(self, *, at: float) -> Task:
        """The task that is due at that time."""
        unique = f"schedule:{self.name}" if self.overlap == "skip" else None
        return replace(
            self.task, task_id=f"{self.name}.{int(at)}", unique_key=self.task.unique_key or unique
        )

    def rule(self) -> Rule:
        """As the store keeps it."""
        body: JsonObject = {
            "task": task_to_json(self.task),
            "every_s": self.every_s,
            "cron": self.cron,
            "zone": self.zone,
            "overlap": self.overlap,
            "next_at": self.next_at,
        }
        return Rule(name=f"schedule:{self.name}", body=body, due_at=self.next_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished tasks and events stay, in seconds; None is for ever."""

    completed_s: float | None = None
    failed_s: float | None = None
    cancelled_s: float | None = None
    events_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("completed_s", "failed_s", "cancelled_s", "events_s"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise UsageError(f"retention: {name} is {value}: take a number of seconds")

    def rule(self, *, next_at: float) -> Rule:
        """As the store keeps it."""
        body: JsonObject = {
            "completed_s": self.completed_s,
            "failed_s": self.failed_s,
            "cancelled_s": self.cancelled_s,
            "events_s": self.events_s,
        }
        return Rule(name="retention", body=body, due_at=next_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """All that a board was told."""

    paused: tuple[str, ...] = ()
    """Task types that are not claimed; `ALL` among them is every type."""
    limits: tuple[Limit, ...] = ()
    schedules: tuple[Schedule, ...] = ()
    retention: Retention | None = None
    retention_due_at: float | None = None
    is_fair: bool = False
    """Parents take turns."""

    @classmethod
    def of(cls, rules: Iterable[Rule]) -> Self:
        """What the stored rules mean.

        Raises:
            CorruptError: one of them is none.
        """
        paused: list[str] = []
        limits: list[Limit] = []
        schedules: list[Schedule] = []
        known = cls()
        for rule in rules:
            kind, _, name = rule.name.partition(":")
            try:
                match kind:
                    case "pause":
                        paused.append(name)
                    case "limit":
                        limits.append(Limit(name=name, **rule.body))
                    case "schedule":
                        schedules.append(_schedule(name, rule.body))
                    case "retention":
                        known = replace(
                            known,
                            retention=Retention(**rule.body),
                            retention_due_at=rule.due_at,
                        )
                    case "fair":
                        known = replace(known, is_fair=True)
                    case _:
                        pass  # of a later version, or the board's own
            except (TypeError, ValueError, KeyError) as error:
                where = f"rule {rule.name!r}"
                raise CorruptError(f"{where} cannot be understood: {error}", where=where) from error
        return replace(
            known, paused=tuple(paused), limits=tuple(limits), schedules=tuple(schedules)
        )

    def stored(self) -> list[Rule]:
        """As the store keeps them: `of` these is the same again."""
        told = [pause_rule(kind) for kind in self.paused]
        told += [limit.rule() for limit in self.limits]
        told += [schedule.rule() for schedule in self.schedules]
        if self.retention is not None:
            rule = self.retention.rule(next_at=self.retention_due_at or 0.0)
            told.append(replace(rule, due_at=self.retention_due_at))
        return [*told, FAIR] if self.is_fair else told

    def pauses(self, task_type: str) -> bool:
        """Tasks of the type are not claimed."""
        return task_type in self.paused or ALL in self.paused

    def narrow(self, match: Match, counts: Mapping[str, Mapping[str, int]], now: float) -> Match:
        """The match without what is paused or has reached a limit.

        Args:
            match: what the agent may take.
            counts: of each limit, by name, what `Limit.counted` gives.
            now: the time.
        """
        barred: set[Bar] = {(None if kind == ALL else kind, None) for kind in self.paused}
        for limit in self.limits:
            barred |= limit.bars(counts[limit.name], now)
        return replace(match, barred=frozenset(barred)) if barred else match


def pause_rule(task_type: str) -> Rule:
    """That a type is paused, or `ALL`."""
    return Rule(name=f"pause:{task_type}", gates=True)


def _schedule(name: str, body: JsonObject) -> Schedule:
    fields: dict[str, Json] = dict(body)
    fields["task"] = task_from_json(fields["task"], where=f"schedule {name}")
    return Schedule(name=name, **fields)


def _zone(name: str) -> tzinfo:
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UsageError(
            f"no time zone {name!r}: take a name such as Europe/Berlin, or UTC"
        ) from None
