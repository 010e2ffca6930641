"""Notices that the machine's clock was set, so that what a local board counts can move along.

Deadlines of leases are wall-clock times, which people read and edit. When somebody sets the clock
an hour forward, every lease would run out; an hour back, and those of dead agents would stand for
an hour more. Neither harms (fences decide, not clocks), but work would be done twice or wait. So
the distance between the wall clock and the time since boot is kept on the board: when it changes
by more than drift, leases are moved by as much, and the next times of schedules that count seconds.
Times that somebody may have meant by the clock (`not_before`, cron) stay.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Final

from stigmergy.board.rules import Rules
from stigmergy.board.store import Clock, Query, Rule, Transaction
from stigmergy.board.task import TaskStatus

__all__ = ["ClockWatch", "machine_clock_watch"]

_DRIFT_S: Final = 5.0
_NAME: Final = "clock"
_LEASED: Final = frozenset({TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})


@dataclass(slots=True, kw_only=True)
class ClockWatch:
    """Compares the board's clock with one that nobody can set.

    Args:
        wall: the board's clock.
        steady: seconds since some point of this boot, the same for all processes.
        boot: names this run of the operating system.
    """

    wall: Clock
    steady: Callable[[], float]
    boot: str
    _offset: float | None = None

    def may_have_jumped(self) -> bool:
        """Whether there may be something to settle: true at first, and after a jump."""
        return self._offset is None or abs(self._now() - self._offset) > _DRIFT_S

    def _now(self) -> float:
        return self.wall() - self.steady()

    @contextmanager
    def settling(self, transaction: AbstractContextManager[Transaction]) -> Generator[Transaction]:
        """The transaction, what is counted moved along if the clock was set since the board knew.

        What was found is remembered once it is committed.
        """
        with transaction as tx:
            offset = self._settle(tx)
            yield tx
        self._offset = offset

    def _settle(self, tx: Transaction) -> float:
        offset = self._now()
        known = next((rule for rule in tx.rules() if rule.name == _NAME), None)
        same_boot = known is not None and known.body.get("boot") == self.boot
        jump = offset - float(known.body.get("offset", offset)) if known and same_boot else 0.0
        if abs(jump) > _DRIFT_S:
            _move_leases(tx, jump)
            _move_schedules(tx, jump)
        if not same_boot or abs(jump) > _DRIFT_S:
            tx.put_rule(Rule(name=_NAME, body={"boot": self.boot, "offset": offset}))
        return offset


def _move_leases(tx: Transaction, by_s: float) -> None:
    held = tx.select(Query(statuses=_LEASED))
    for task in held:
        claimed_at = None if task.claimed_at is None else task.claimed_at + by_s
        until = None if task.lease_until is None else task.lease_until + by_s
        tx.put(replace(task, claimed_at=claimed_at, lease_until=until))
    tx.append("clock_set", data={"by_s": round(by_s, 3), "leases_moved": len(held)})


def _move_schedules(tx: Transaction, by_s: float) -> None:
    for schedule in Rules.of(tx.rules()).schedules:
        if schedule.every_s is not None and schedule.next_at is not None:
            tx.put_rule(replace(schedule, next_at=schedule.next_at + by_s).rule())


def machine_clock_watch(wall: Clock) -> ClockWatch | None:
    """For a store on this machine; None where the system has no clock for it."""
    from stigmergy.board.stores.progress import boot_id

    clock = getattr(time, "CLOCK_BOOTTIME", None)
    boot = boot_id()
    if clock is None or not boot:
        return None
    return ClockWatch(wall=wall, steady=lambda: time.clock_gettime(clock), boot=boot)
