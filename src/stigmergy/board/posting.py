"""How tasks come onto the board, within a transaction: ids, unique keys, dependencies, turns."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from stigmergy.board.aftermath import DEAD, existing, fail_dependents
from stigmergy.board.entries import posted_entry
from stigmergy.board.intake import is_posted_already
from stigmergy.board.lifecycle import fair_lag_s, find_cycle, rank
from stigmergy.board.rules import FAIR
from stigmergy.board.store import Transaction
from stigmergy.board.task import Task, TaskStatus
from stigmergy.errors import UsageError

__all__ = ["OnDuplicate", "is_fair", "is_simple", "lag_in_turn_s", "post"]

OnDuplicate = Literal["keep", "refuse", "replace"]
"""What to do when an unfinished task has the unique key of a posted one: keep it and post
nothing, refuse, or give it what the posted one says if nobody has begun it."""


def is_simple(task: Task) -> bool:
    """It waits for nothing and claims no key, so posting it looks at no other task."""
    return not task.depends_on and task.unique_key is None


def is_fair(tx: Transaction) -> bool:
    """Parents take turns."""
    return any(rule.name == FAIR.name for rule in tx.rules())


def lag_in_turn_s(tx: Transaction, task: Task) -> float:
    """How far behind its siblings a task goes that gets its priority now; see `fair_lag_s`."""
    if task.parent_id is None or not is_fair(tx):
        return 0.0
    return fair_lag_s(task, tail=tx.tail(task.parent_id, task.priority))


def post(
    tx: Transaction, batch: Mapping[str, Task], *, on_duplicate: OnDuplicate, fair: bool
) -> dict[str, str]:
    """Post checked tasks; under the id of each the id that it has on the board."""
    poster = _Poster(tx, on_duplicate)
    ids = {name: poster.place(task) for name, task in batch.items()}
    fresh = [_with_ids(task, ids) for task in poster.placed.values()]
    _check_acyclic(fresh)
    fresh = [task for task in fresh if not is_posted_already(tx.get(task.task_id), task)]
    tails: dict[tuple[str, int], float | None] = {}
    for task in fresh:
        _insert(tx, _in_turn(tx, task, tails) if fair else task, batch)
    for name in dict.fromkeys(name for task in fresh for name in task.depends_on):
        if (needed := existing(tx, name)).status in DEAD:
            fail_dependents(tx, needed)
    return ids


@dataclass(slots=True)
class _Poster:
    """Finds out which of the posted tasks stand on the board under another id."""

    tx: Transaction
    on_duplicate: OnDuplicate
    placed: dict[str, Task] = field(default_factory=dict[str, Task])
    """Those that stand under their own, or will."""
    _keys: dict[str, str] = field(default_factory=dict[str, str])
    """Which of them has a unique key that was free."""

    def place(self, task: Task) -> str:
        """The id under which the task stands, or will."""
        key = task.unique_key
        # Whoever posts a task again means that task, whoever has its key by now.
        if key is not None and self.tx.get(task.task_id) is None:
            if (standing := self._holder(key)) is not None:
                self._clash(standing, task)
                return standing.task_id
            self._keys[key] = task.task_id
        self.placed[task.task_id] = task
        return task.task_id

    def _holder(self, key: str) -> Task | None:
        name = self._keys.get(key)
        return self.tx.holder(key) if name is None else self.placed[name]

    def _clash(self, standing: Task, task: Task) -> None:
        match self.on_duplicate:
            case "keep":
                pass
            case "refuse":
                raise UsageError(
                    f"task {task.task_id!r}: the unfinished task {standing.task_id!r} has its "
                    f"unique_key {task.unique_key!r}"
                )
            case "replace":
                self._replace(standing, task)

    def _replace(self, standing: Task, task: Task) -> None:
        if standing.status is not TaskStatus.PENDING:
            return  # somebody works on what it said: it stays
        fixed = ("task_type", "requires", "limit_key", "depends_on")
        if changed := [n for n in fixed if getattr(standing, n) != getattr(task, n)]:
            raise UsageError(
                f"task {task.task_id!r} cannot replace {standing.task_id!r}: it differs in "
                f"{', '.join(changed)}; cancel that one first"
            )
        taken = ("payload", "description", "priority", "not_before", "max_attempts", "parent_id")
        after = replace(standing, **{name: getattr(task, name) for name in taken})
        if standing.task_id in self.placed:
            self.placed[standing.task_id] = after  # of the same batch
        elif after != standing:
            self.tx.put(after)
            self.tx.append("replaced", task_id=standing.task_id, data=posted_entry(after))


def _with_ids(task: Task, ids: Mapping[str, str]) -> Task:
    """The task, what it depends on named as it stands on the board."""
    needed = tuple(dict.fromkeys(ids.get(name, name) for name in task.depends_on))
    return task if needed == task.depends_on else replace(task, depends_on=needed)


def _check_acyclic(tasks: list[Task]) -> None:
    """Without duplicates a batch was acyclic; one that depended on its own duplicate is not."""
    known = {task.task_id: task.depends_on for task in tasks}
    if cycle := find_cycle(known, lambda name: known.get(name, ())):
        raise UsageError(
            f"with what has the same unique_key the dependencies form a cycle: {' -> '.join(cycle)}"
        )


def _in_turn(tx: Transaction, task: Task, tails: dict[tuple[str, int], float | None]) -> Task:
    """The task at the end of its parent's line."""
    if task.parent_id is None:
        return task
    line = task.parent_id, task.priority
    if line not in tails:
        tails[line] = tx.tail(*line)
    dated = replace(task, created_at=task.created_at or tx.now)
    placed = replace(dated, lag_s=fair_lag_s(dated, tail=tails[line]))
    tails[line] = rank(placed)
    return placed


def _insert(tx: Transaction, task: Task, batch: Iterable[str]) -> None:
    waiting: list[str] = []
    for name in task.depends_on:
        needed = tx.get(name)
        if needed is None and name not in batch:
            raise UsageError(
                f"task {task.task_id!r} depends on {name!r}, which is not on the board; "
                "post that first, or both together"
            )
        if needed is None or needed.status is not TaskStatus.COMPLETED:
            waiting.append(name)
    posted = replace(task, waiting_on=tuple(waiting), created_at=task.created_at or tx.now)
    tx.put(posted)
    tx.append("posted", task_id=task.task_id, data=posted_entry(task))
