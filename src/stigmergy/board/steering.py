"""Steering a board: cancel, retry, reprioritize, approve, pause, limit, schedule, prune.

What a person or a supervisor does, as against what agents do all day.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from stigmergy.board import lifecycle
from stigmergy.board.aftermath import DEAD, existing, revive, settle
from stigmergy.board.approvals import Decision, decide
from stigmergy.board.blobs import BlobFolder, is_reference, is_well_named, reference_name
from stigmergy.board.intake import (
    Intake,
    Limits,
    check_agent_id,
    check_batch,
    check_event,
    check_seconds,
    tidy_text,
)
from stigmergy.board.looking import BoardView
from stigmergy.board.posting import lag_in_turn_s
from stigmergy.board.rules import ALL, FAIR, Limit, Retention, Schedule, pause_rule
from stigmergy.board.store import Query, Store
from stigmergy.board.task import (
    MAX_PRIORITY,
    MIN_PRIORITY,
    JsonObject,
    Task,
    TaskStatus,
    encode_json,
)
from stigmergy.board.upkeep import Pruned, before, prune
from stigmergy.errors import NotFoundError, UnsupportedError, UsageError

__all__ = ["Steering"]

_FINAL: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED)
_BATCH: Final = 500
"""Tasks that one transaction drops or revives, so that agents get their turn in between."""


class Steering(BoardView):
    """The verbs of whoever steers. Thread-safe."""

    def __init__(self, store: Store, limits: Limits) -> None:
        blobs = None if store.blobs is None else BlobFolder(store.blobs)
        super().__init__(store, blobs)
        self._limits = limits
        self._intake = Intake(limits, blobs)

    def cancel(self, task_id: str, *, reason: str = "cancelled") -> Task:
        """Stop a task that is not finished. Its holder is refused when it reports or renews."""
        reason = tidy_text(reason, self._limits)
        with self._store.transaction() as tx:
            task = lifecycle.cancel(existing(tx, task_id), reason=reason, now=tx.now)
            settle(tx, task, "cancelled")
        return task

    def retry(self, task_id: str) -> Task:
        """Begin a failed or cancelled task anew, with the tasks that failed because of it.

        Raises:
            UsageError: it is neither, or depends on a task that is.
        """
        with self._store.transaction() as tx:
            return revive(tx, existing(tx, task_id))

    def keep(self, value: JsonObject) -> JsonObject:
        """Keep a large value in a file; the reference to post or hand in instead. Idempotent.

        What no task refers to after a day is dropped by `prune`.

        Raises:
            UsageError: it is no JSON object, or too large.
            UnsupportedError: this board has no folder for files.
        """
        if self._blobs is None:
            raise UnsupportedError(
                "this board has no folder for files: name it with ?blobs=FOLDER in its URL"
            )
        text = encode_json(value, what="the value")
        if (size := len(text.encode())) > self._limits.file_bytes:
            raise UsageError(
                f"the value has {size:,} bytes; the board takes {self._limits.file_bytes:,}"
            )
        return self._blobs.put(text)

    def record(
        self, kind: str, *, task_id: str = "", agent_id: str = "", data: JsonObject | None = None
    ) -> None:
        """Write a line of one's own into the journal: progress, a landing, a gate's verdict."""
        check_event(kind, task_id=task_id, agent_id=agent_id, data=data or {}, limits=self._limits)
        with self._store.transaction() as tx:
            tx.append(kind, task_id=task_id, agent_id=agent_id, data=data or {})

    def cancel_all(self, query: Query, *, reason: str = "cancelled") -> list[Task]:
        """Cancel every unfinished task that passes; those cancelled, as they then are."""
        open_ones = (query.statuses or frozenset(TaskStatus)) - frozenset(_FINAL)
        cancelled: list[Task] = []
        wanted = replace(query, statuses=open_ones)
        for found in self._store.select(wanted):
            with self._store.transaction() as tx:
                task = tx.get(found.task_id)
                if task is None or not wanted.accepts(task):
                    continue  # it went on meanwhile, or went with another
                text = tidy_text(reason, self._limits)
                after = lifecycle.cancel(task, reason=text, now=tx.now)
                settle(tx, after, "cancelled")
                cancelled.append(after)
        return cancelled

    def retry_all(self, query: Query, *, error: str = "") -> list[Task]:
        """Begin every failed or cancelled task that passes anew, with what failed because of it.

        With `error`, only those whose error has this text in it. Returns those begun anew for
        their own sake.
        """
        dead = (query.statuses or DEAD) & DEAD
        revived: list[Task] = []
        for task in self._store.select(replace(query, statuses=dead)):
            if error not in (task.error or ""):
                continue
            # A refusal undoes all that led to it: the transaction is inside, not outside.
            with suppress(UsageError), self._store.transaction() as tx:
                current = tx.get(task.task_id)
                if current is None or current.status not in DEAD:
                    continue  # it came back with another
                if (current.result or {}).get("dependency"):
                    continue  # it comes back with the one that it failed because of
                revived.append(revive(tx, current))
        return revived

    def set_priority(self, task_id: str, priority: int) -> Task:
        """Let an unfinished task be taken earlier or later, as if it had been posted with it.

        Where parents take turns it goes to the end of its parent's line of that priority.
        Idempotent.

        Raises:
            UsageError: the task is finished, or there is no such priority.
        """
        if isinstance(priority, bool) or not MIN_PRIORITY <= priority <= MAX_PRIORITY:
            raise UsageError(
                f"priority is {priority!r}: take {MIN_PRIORITY} (the most urgent) to {MAX_PRIORITY}"
            )
        with self._store.transaction() as tx:
            before = existing(tx, task_id)
            wanted = replace(before, priority=priority)
            lag_s = before.lag_s if wanted == before else lag_in_turn_s(tx, wanted)
            task = lifecycle.prioritize(before, priority=priority, lag_s=lag_s)
            if task != before:
                tx.put(task)
                data: JsonObject = {"priority": priority, "before": before.priority}
                tx.append("prioritized", task_id=task_id, data=data)
        return task

    # What waits for a person -------------------------------------------------------------------

    def approve(self, task_id: str, *, by: str, reason: str = "") -> Task:
        """Complete a task that waits for a person; see `approvals.decide`. Idempotent.

        Args:
            task_id: an approval.
            by: the name of who decides; the journal has it.
            reason: why, if they say.

        Raises:
            UsageError: it does not wait for a person, now or at all.
        """
        return self._decide(task_id, Decision(approved=True, by=by, reason=reason))

    def refuse(self, task_id: str, *, by: str, reason: str = "") -> Task:
        """Fail a task that waits for a person, with what depends on it. Idempotent; see `approve`.

        It is not tried again by itself; `retry` asks anew.
        """
        return self._decide(task_id, Decision(approved=False, by=by, reason=reason))

    def _decide(self, task_id: str, decision: Decision) -> Task:
        check_agent_id(decision.by)
        tidy = replace(decision, reason=tidy_text(decision.reason, self._limits))
        with self._store.transaction() as tx:
            return decide(tx, existing(tx, task_id), tidy)

    # Rules -----------------------------------------------------------------------------------

    def pause(self, task_type: str | None) -> None:
        """Let no task of the type be claimed until `resume`. What is held goes on. Idempotent.

        None is all types, those to come included; the journal and `rules` call it `*`.
        """
        paused = ALL if task_type is None else task_type
        encode_json(paused, what=f"the task type {paused!r}")
        with self._store.transaction() as tx:
            tx.put_rule(pause_rule(paused))
            tx.append("paused", data={"task_type": paused})

    def resume(self, task_type: str | None) -> None:
        """Let the type be claimed again. Idempotent.

        None takes back the pause of all types; a type that was paused by itself stays so.
        """
        paused = ALL if task_type is None else task_type
        with self._store.transaction() as tx:
            tx.forget_rule(pause_rule(paused).name)
            tx.append("resumed", data={"task_type": paused})

    def limit(self, limit: Limit) -> None:
        """Keep to a limit from now on; one of the same name is replaced."""
        encode_json(limit.name, what=f"the name {limit.name!r}")
        with self._store.transaction() as tx:
            tx.put_rule(limit.rule())
            tx.append("limited", data={"name": limit.name})

    def unlimit(self, name: str) -> None:
        """Drop a limit.

        Raises:
            NotFoundError: there is none of that name.
        """
        self._drop_rule(f"limit:{name}", "unlimited", name)

    def schedule(self, schedule: Schedule) -> Schedule:
        """Post a task again and again; a schedule of the same name is replaced. As it stands.

        Due tasks are posted when somebody claims, so while there are agents.

        Raises:
            UsageError: its task could not be posted.
        """
        with self._store.transaction() as tx:
            first_at = schedule.following(tx.now) if schedule.next_at is None else schedule.next_at
            planned = replace(schedule, next_at=first_at)
            task = planned.due_task(at=first_at)
            (checked,) = check_batch([task], self._intake).values()
            planned = replace(planned, task=replace(schedule.task, payload=checked.payload))
            tx.put_rule(planned.rule())
            tx.append("scheduled", data={"name": schedule.name, "next_at": planned.next_at})
        return planned

    def unschedule(self, name: str) -> None:
        """Drop a schedule; what it posted stays.

        Raises:
            NotFoundError: there is none of that name.
        """
        self._drop_rule(f"schedule:{name}", "unscheduled", name)

    def share_fairly(self, *, on: bool = True) -> None:
        """Let parents take turns, among tasks posted from now on.

        Each further task of a parent stands back in claim order, so that one with a thousand
        does not keep one with ten waiting.
        """
        with self._store.transaction() as tx:
            if on:
                tx.put_rule(FAIR)
            else:
                tx.forget_rule(FAIR.name)
            tx.append("shared_fairly", data={"on": on})

    def retain(self, retention: Retention | None) -> None:
        """Drop finished tasks and events after a time, as claims go by; None keeps all."""
        with self._store.transaction() as tx:
            if retention is None:
                tx.forget_rule("retention")
            else:
                tx.put_rule(retention.rule(next_at=tx.now))
            tx.append("retained", data={"on": retention is not None})

    def _drop_rule(self, rule: str, kind: str, name: str) -> None:
        with self._store.transaction() as tx:
            if all(known.name != rule for known in tx.rules()):
                raise NotFoundError(f"the board has no {rule.partition(':')[0]} {name!r}")
            tx.forget_rule(rule)
            tx.append(kind, data={"name": name})

    # Upkeep ----------------------------------------------------------------------------------

    def prune(
        self,
        *,
        older_than_s: float,
        statuses: Iterable[TaskStatus] = _FINAL,
        limit: int | None = None,
    ) -> Pruned:
        """Drop finished tasks and events older than that, and files that nothing refers to.

        Args:
            older_than_s: since they finished, in seconds; 0 is all, whatever the clock says.
            statuses: of which statuses; unfinished ones are never dropped.
            limit: no more tasks than this.
        """
        if older_than_s:
            check_seconds(older_than_s, what="older_than_s")
        tasks = 0
        while limit is None or tasks < limit:
            size = _BATCH if limit is None else min(_BATCH, limit - tasks)
            with self._store.transaction() as tx:
                dropped = prune(tx, statuses, older_than_s=older_than_s, limit=size)
            tasks += len(dropped)
            if len(dropped) < size:
                break
        with self._store.transaction() as tx:
            events = tx.forget_events(before=before(tx, older_than_s))
        return Pruned(tasks=tasks, events=events, blobs=self._sweep_blobs())

    def _sweep_blobs(self) -> int:
        if self._blobs is None or not self._blobs.path.is_dir():
            return 0
        values = (v for task in self._store.select(Query()) for v in (task.payload, task.result))
        schedules = (schedule.task.payload for schedule in self.rules().schedules)
        kept = {
            reference_name(value)
            for value in (*values, *schedules)
            if value and is_reference(value) and is_well_named(value)
        }
        return self._blobs.sweep(kept)
