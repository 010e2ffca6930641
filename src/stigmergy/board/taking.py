"""Handing in results and taking tasks, within a transaction: the plain path of every store."""

from __future__ import annotations

from dataclasses import dataclass

from stigmergy.board import lifecycle
from stigmergy.board.aftermath import existing, settle
from stigmergy.board.entries import claimed_entry
from stigmergy.board.lifecycle import Backoff
from stigmergy.board.rules import Rules
from stigmergy.board.store import Exchange, Exchanged, Query, Transaction
from stigmergy.board.task import JsonObject, Lease, Task, TaskStatus

__all__ = ["LEASED", "REAPED_AT_ONCE", "complete", "exchange", "reap"]

LEASED = frozenset({TaskStatus.CLAIMED, TaskStatus.IN_PROGRESS})
REAPED_AT_ONCE = 100
"""Expired leases that one claim returns to the board, so that a claim's time is bounded."""


def exchange(tx: Transaction, order: Exchange, rules: Rules) -> Exchanged:
    """Complete and claim. Expired leases are the caller's to return first."""
    completed = [complete(tx, lease, result, note) for lease, result, note in order.results]
    claimed = _claim(tx, order, rules) if order.limit else []
    return Exchanged(completed=completed, claimed=claimed)


def complete(tx: Transaction, lease: Lease, result: JsonObject, note: JsonObject | None) -> Task:
    """Hand in one result."""
    before = existing(tx, lease.task_id)
    task = lifecycle.complete(before, lease, result=result, now=tx.now)
    if task != before:
        settle(tx, task, "completed", agent_id=lease.agent_id, note=note)
    return task


def reap(tx: Transaction, backoff: Backoff) -> int:
    """Return tasks whose leases ran out to the board; how many."""
    expired = tx.expired(limit=REAPED_AT_ONCE)
    for task in expired:
        after = lifecycle.expire(task, now=tx.now, backoff=backoff)
        settle(tx, after, "expired", agent_id=task.claimed_by or "")
    return len(expired)


def _claim(tx: Transaction, order: Exchange, rules: Rules) -> list[Task]:
    if rules.limits:
        return _Limited(tx, order, rules).claim()
    match = rules.narrow(order.match, {}, tx.now)
    return [_take(tx, order, task) for task in tx.ready(match, limit=order.limit)]


@dataclass(slots=True)
class _Limited:
    """Claims one by one, since each may reach a limit."""

    tx: Transaction
    order: Exchange
    rules: Rules

    def claim(self) -> list[Task]:
        limits = {limit.name: limit for limit in self.rules.limits}
        held = self.tx.select(Query(statuses=LEASED))
        counts = {limit.name: limit.counted(held) for limit in self.rules.limits}
        claimed: list[Task] = []
        while len(claimed) < self.order.limit:
            rules = Rules(paused=self.rules.paused, limits=tuple(limits.values()))
            match = rules.narrow(self.order.match, counts, self.tx.now)
            found = self.tx.ready(match, limit=1)
            if not found:
                break
            task = _take(self.tx, self.order, found[0])
            claimed.append(task)
            for limit in self.rules.limits:
                counts[limit.name].update(limit.counted([task]))
            limits = {n: limit.after_claim(task, self.tx.now) for n, limit in limits.items()}
        for before in self.rules.limits:
            if (after := limits[before.name]) != before:
                self.tx.put_rule(after.rule())
        return claimed


def _take(tx: Transaction, order: Exchange, task: Task) -> Task:
    taken = lifecycle.claim(task, agent_id=order.agent_id, now=tx.now, lease_s=order.lease_s)
    tx.put(taken)
    tx.append("claimed", task_id=task.task_id, agent_id=order.agent_id, data=claimed_entry(taken))
    return taken
