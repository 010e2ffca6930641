"""What becomes of task files that somebody edited, added, removed or broke.

Files win: what a person wrote is what the board believes, as long as it can be a task. The rest
goes to quarantine, the journal's last good version comes back, and the board goes on. Each of it
is an event. Decides only; the transaction acts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Final, Protocol, cast

from stigmergy.board.aftermath import DEAD, fail_dependents, is_completed, tell_dependents, unmet
from stigmergy.board.entries import posted_entry
from stigmergy.board.lifecycle import find_cycle
from stigmergy.board.store import Transaction
from stigmergy.board.stores.taskfiles import Broken, Edited, Finding, Missing
from stigmergy.board.task import JsonObject, Task, TaskStatus, task_from_json
from stigmergy.errors import CorruptError

__all__ = ["FolderTransaction", "absorb"]


class FolderTransaction(Transaction, Protocol):
    """A transaction that can do to files what hand edits call for."""

    def remove(self, task_id: str) -> None:
        """Forget a task."""
        ...

    def set_aside(self, name: str) -> None:
        """Move the file of that name to quarantine; a known task's file is written anew."""
        ...

    def rewrite(self, task_id: str) -> None:
        """Write the task's file anew, though the task does not change."""
        ...


def absorb(tx: FolderTransaction, findings: Iterable[Finding]) -> None:
    """Bring the board in line with its files."""
    edited: dict[str, Edited] = {}
    missing: list[str] = []
    for finding in findings:
        match finding:
            case Edited():
                edited[finding.name] = finding
            case Broken():
                _quarantine(tx, finding.name, finding.reason)
            case Missing():
                missing.append(finding.name)
    _absorb_missing(tx, missing)
    _absorb_edited(tx, edited)


def _absorb_missing(tx: FolderTransaction, names: list[str]) -> None:
    """A task whose file was removed is gone, unless somebody holds it or waits for it."""
    gone = set(names)
    while kept := {name for name in gone if _is_needed(tx, name, gone)}:
        gone -= kept
    for name in names:
        if name in gone:
            tx.remove(name)
            tx.append("removed", task_id=name, data={"by_hand": True})
        else:
            tx.rewrite(name)
            reason = "its file was removed, but an agent holds it or tasks wait for it: cancel it"
            tx.append("restored", task_id=name, data={"by_hand": True, "reason": reason})


def _is_needed(tx: Transaction, name: str, gone: set[str]) -> bool:
    task = tx.get(name)
    return (task is not None and task.status.is_leased) or any(
        waiting.task_id not in gone and not waiting.status.is_final
        for waiting in tx.dependents(name)
    )


def _absorb_edited(tx: FolderTransaction, edited: Mapping[str, Edited]) -> None:
    accepted: dict[str, Task] = {}
    for name, finding in edited.items():
        try:
            accepted[name] = _parse(finding, tx.get(name))
        except CorruptError as error:
            _reject(tx, finding, str(error))
    # One that depends on a rejected one is rejected too, so look until nothing changes.
    while rejected := {name: reason for name in accepted if (reason := _fault(tx, name, accepted))}:
        for name, reason in rejected.items():
            del accepted[name]
            _reject(tx, edited[name], reason)
    # A folder has no order; whoever finds the same files posts them in the same one.
    for task in sorted(accepted.values(), key=lambda task: (task.created_at, task.task_id)):
        _accept(tx, task, tx.get(task.task_id), accepted)
    for task in accepted.values():
        tell_dependents(tx, task)
        for name in task.waiting_on:
            if (needed := tx.get(name)) is not None and needed.status in DEAD:
                fail_dependents(tx, needed)


def _parse(finding: Edited, before: Task | None) -> Task:
    """The task that the file means; `before` is what the journal has.

    Raises:
        CorruptError: it can be none.
    """
    where = f"{finding.name}.json"
    data = finding.data
    if isinstance(data, dict):
        data = {"task_id": finding.name} | cast("JsonObject", data)
    task = task_from_json(data, where=where)
    if task.task_id != finding.name:
        raise CorruptError(
            f"{where}: its task_id is {task.task_id!r}, which belongs in {task.task_id}.json",
            where=where,
        )
    # A lowered fence would let an agent of an earlier claim report again.
    task = replace(task, fence=max(task.fence, before.fence if before else 0))
    if task.status.is_leased:
        return _with_moved_lease(task, before)
    if task.status is TaskStatus.PENDING:
        return replace(
            task, claimed_by=None, claimed_at=None, lease_until=None, finished_at=None, result=None
        )
    return replace(task, lease_until=None)


def _with_moved_lease(task: Task, before: Task | None) -> Task:
    """Whoever sets back `claimed_at` alone means the lease with it."""
    if (
        before is None
        or before.lease_until != task.lease_until
        or None in (before.claimed_at, task.claimed_at, task.lease_until)
    ):
        return task
    moved_s = (task.claimed_at or 0.0) - (before.claimed_at or 0.0)
    return replace(task, lease_until=(task.lease_until or 0.0) + moved_s)


def _fault(tx: Transaction, name: str, accepted: Mapping[str, Task]) -> str:
    before = tx.get(name)
    known = before.depends_on if before else ()  # those may have been pruned since
    for needed in accepted[name].depends_on:
        if needed not in accepted and needed not in known and tx.get(needed) is None:
            return f"{name}.json: it depends on {needed!r}, which is not on the board"
    if (rival := _rival(tx, accepted[name], accepted)) is not None:
        return f"{name}.json: the unfinished task {rival!r} has its unique_key"

    def needs(other: str) -> Sequence[str]:
        if (task := accepted.get(other)) is not None:
            return () if task.status.is_final else task.depends_on
        return () if (stands := tx.get(other)) is None else stands.waiting_on

    if cycle := find_cycle([name], needs):
        return f"{name}.json: the dependencies form a cycle: {' -> '.join(cycle)}"
    return ""


def _rival(tx: Transaction, task: Task, accepted: Mapping[str, Task]) -> str | None:
    """The unfinished task that has its key, or will have it."""
    if task.unique_key is None or task.status.is_final:
        return None
    standing = tx.holder(task.unique_key)
    if standing is not None and standing.task_id not in {task.task_id, *accepted}:
        return standing.task_id
    had = None if standing is None else standing.task_id
    same = (
        (each.task_id != had, each.created_at, each.task_id)  # who had it keeps it
        for each in accepted.values()
        if each.unique_key == task.unique_key and not each.status.is_final
    )
    _, _, first = min(same)
    return None if first == task.task_id else first


def _accept(
    tx: FolderTransaction, task: Task, before: Task | None, accepted: Mapping[str, Task]
) -> None:
    waiting: tuple[str, ...] = ()
    if task.status is TaskStatus.PENDING:
        was = before or Task(task_type=task.task_type)
        open_ones = unmet(tx, replace(task, waiting_on=was.waiting_on, result=was.result))
        waiting = tuple(
            name
            for name in task.depends_on
            if (not is_completed(accepted[name]) if name in accepted else name in open_ones)
        )
    elif task.status in DEAD:
        waiting = task.waiting_on
    after = replace(task, waiting_on=waiting, created_at=task.created_at or tx.now)
    if after == before:
        tx.rewrite(task.task_id)
        return
    tx.put(after)
    data: JsonObject = {"by_hand": True, "status": after.status.value, "attempt": after.attempts}
    data |= posted_entry(after)
    if before is not None:
        data["changed"] = [n for n in _FIELDS if getattr(before, n) != getattr(after, n)]
    tx.append("posted" if before is None else "edited", task_id=task.task_id, data=data)


def _reject(tx: FolderTransaction, finding: Edited, reason: str) -> None:
    # A file that is being written, or whose dependencies are being copied, gets its time.
    if not finding.is_fresh:
        _quarantine(tx, finding.name, reason)


def _quarantine(tx: FolderTransaction, name: str, reason: str) -> None:
    known = tx.get(name) is not None
    tx.set_aside(name)
    data: JsonObject = {"file": ascii(f"{name}.json")[1:-1], "reason": reason, "restored": known}
    tx.append("quarantined", task_id=name if known else "", data=data)


_FIELDS: Final = tuple(field.name for field in fields(Task))
