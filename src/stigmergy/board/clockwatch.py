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
from stigmergy.board.store import Query, Rule, Transaction
from stigmergy.board.task import JsonObject, TaskStatus, encode_json

__all__ = ["ClockWatch", "machine_clock_watch"]

_DRIFT_S: Final = 5.0
_NAME: Final = "clock"
_LEASED: Final = frozenset({TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})
_MOST_REVERTS: Final = 3
"""How often a process whose own clock stood takes back what another one found. Once may be right:
it slept through a jump and the jump back. Processes whose clocks differ would do it for ever."""


@dataclass(slots=True, kw_only=True)
class ClockWatch:
    """Compares the board's clock with one that nobody can set.

    It judges the very reading that a transaction goes by: between one reading and the next the
    clock may be set, and a deadline by the clock as it was set must not be moved along.

    Args:
        steady: seconds since some point of this boot, the same for all processes.
        boot: names this run of the operating system.
    """

    steady: Callable[[], float]
    boot: str
    rule_name: str = _NAME
    _seen: _Seen | None = None
    _reverts: int = 0

    def knows(self, now: float, *, told: str | None) -> bool:
        """Whether there is nothing to settle in a transaction at `now`.

        `told` is the body of the rule named `rule_name`, as JSON, as that transaction reads it.
        """
        seen = self._seen
        return (
            seen is not None
            and told == seen.told
            and abs(now - self.steady() - seen.offset) <= _DRIFT_S
        )

    @contextmanager
    def settling(self, transaction: AbstractContextManager[Transaction]) -> Generator[Transaction]:
        """The transaction, what is counted moved along if the clock was set since the board knew.

        What was found is remembered once it is committed.
        """
        with transaction as tx:
            seen, reverts = self._settle(tx)
            yield tx
        self._seen, self._reverts = seen, reverts

    def _settle(self, tx: Transaction) -> tuple[_Seen, int]:
        offset = tx.now - self.steady()
        body = next((rule.body for rule in tx.rules() if rule.name == _NAME), None)
        reverts = self._reverts
        if body is None or body.get("boot") != self.boot:
            body = self._tell(tx, offset)
        elif abs(jump := offset - float(body.get("offset", offset))) > _DRIFT_S:
            stood = self._seen is not None and abs(offset - self._seen.offset) <= _DRIFT_S
            reverts = reverts + 1 if stood else 0
            if reverts <= _MOST_REVERTS:
                _move_leases(tx, jump)
                _move_schedules(tx, jump)
                body = self._tell(tx, offset)
        return _Seen(offset, encode_json(body, what="the rule of the clock")), reverts

    def _tell(self, tx: Transaction, offset: float) -> JsonObject:
        body: JsonObject = {"boot": self.boot, "offset": offset}
        tx.put_rule(Rule(name=_NAME, body=body))
        return body


@dataclass(frozen=True, slots=True)
class _Seen:
    offset: float
    """Of the clock from the steady one."""
    told: str
    """What the board was told of it, by whomever."""


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


def machine_clock_watch() -> ClockWatch | None:
    """For a store on this machine; None where the system has no clock for it."""
    from stigmergy.board.stores.progress import boot_id

    clock = getattr(time, "CLOCK_BOOTTIME", None)
    boot = boot_id()
    if clock is None or not boot:
        return None
    return ClockWatch(steady=lambda: time.clock_gettime(clock), boot=boot)
