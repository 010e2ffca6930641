"""Examines a board, and mends what can be mended without guessing.

Examining changes nothing. Mending looks again within one transaction, so it acts on the board as
it stands then, and writes a line of the kind `mended` into the journal for each task.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from stigmergy.board import lifecycle
from stigmergy.board.aftermath import DEAD, existing, settle
from stigmergy.board.blobs import BlobFolder, is_reference
from stigmergy.board.board import DEFAULT_LEASE_S
from stigmergy.board.findings import Finding, Kind, check_tasks, disagreement, needs_of
from stigmergy.board.lifecycle import Backoff
from stigmergy.board.store import Query, Store, Transaction
from stigmergy.board.task import Event, Task, TaskStatus
from stigmergy.errors import CorruptError

__all__ = ["Finding", "examine", "mend"]

_PAGE: Final = 1000
_LOOKS: Final = 5
"""How often a task that changes while it is looked at is looked at again."""
_STATUS_WORDS: Final = frozenset(
    {"posted", "claimed", "started", "completed", "failed", "expired", "released"}
    | {"cancelled", "retried", "edited", "removed"}
)


def examine(store: Store) -> list[Finding]:
    """All that is not as it should be: of the board's storage, its tasks and its journal."""
    found: list[Finding] = []
    try:
        # Unlike a transaction, this looks at every file of a folder.
        tasks = {task.task_id: task for task in store.select(Query())}
        with store.transaction() as tx:
            now = tx.now
        found += check_tasks(tasks, now=now)
        found += _check_journal(store, tasks)
        found += _check_files(store, tasks)
    except (CorruptError, ValueError, KeyError, TypeError) as error:
        # A row that is no task any more: what else is wrong cannot be told before it is mended.
        advice = "restore a copy of the board, or `stig board import` an export of it"
        found.append(Finding(kind="unreadable", what=f"cannot be read: {error}", advice=advice))
    # A folder's broken files go to quarantine when its tasks are read, so this comes after.
    return [*_check_storage(store.url), *found]


def mend(store: Store) -> list[Finding]:
    """Mend all that can be; gives what was mended. Doing it again changes nothing."""
    rewrite = [f.task_id for f in _check_storage(store.url) if f.can_mend]
    mended: list[Finding] = []
    with store.transaction() as tx:
        for name in rewrite:
            if (task := tx.get(name)) is not None:
                tx.put(task)
                what = "was indexed anew"
                mended.append(Finding(kind="index-disagrees", task_id=name, what=what))
        # Mending one task may change what is wrong with another, so look until nothing is left.
        while done := [finding for finding in _mendable(tx) if _mend_one(tx, finding)]:
            mended += done
        for finding in mended:
            data: dict[str, object] = {"finding": finding.kind, "what": finding.what}
            tx.append("mended", task_id=finding.task_id, data=data)
    return mended


def _mendable(tx: Transaction) -> list[Finding]:
    return [f for f in check_tasks(_all_tasks(tx), now=tx.now) if f.kind in _MENDINGS]


def _mend_one(tx: Transaction, finding: Finding) -> bool:
    """Mend it, unless mending another one has done so already."""
    task = existing(tx, finding.task_id)
    needed = {name: found for name in task.depends_on if (found := tx.get(name)) is not None}
    still = check_tasks(needed | {task.task_id: task}, now=tx.now)
    if (finding.kind, finding.task_id) not in {(f.kind, f.task_id) for f in still}:
        return False
    _MENDINGS[finding.kind](tx, task)
    return True


def _all_tasks(tx: Transaction) -> dict[str, Task]:
    return {task.task_id: task for task in tx.select(Query())}


def _wait_rightly(tx: Transaction, task: Task) -> None:
    needed = {name: found for name in task.depends_on if (found := tx.get(name)) is not None}
    tx.put(replace(task, waiting_on=needs_of(task, needed)))


def _fail_with_needed(tx: Transaction, task: Task) -> None:
    for name in task.waiting_on:
        needed = tx.get(name)
        if needed is not None and needed.status in DEAD:
            end = "failed" if needed.status is TaskStatus.FAILED else "was cancelled"
            reason = f"{end}: {needed.error}" if needed.error else end
            failed = lifecycle.fail_for_dependency(task, dependency=name, reason=reason, now=tx.now)
            settle(tx, failed, "failed")
            return


def _expire(tx: Transaction, task: Task) -> None:
    after = lifecycle.expire(task, now=tx.now, backoff=Backoff())
    settle(tx, after, "expired", agent_id=task.claimed_by or "")


def _shorten_lease(tx: Transaction, task: Task) -> None:
    """Its holder, if there is one, goes on and renews it; else it runs out soon."""
    claimed_at = min(task.claimed_at or tx.now, tx.now)
    tx.put(replace(task, claimed_at=claimed_at, lease_until=tx.now + DEFAULT_LEASE_S))


_MENDINGS: Final[Mapping[Kind, Callable[[Transaction, Task], None]]] = {
    "waits-wrongly": _wait_rightly,
    "waits-for-dead": _fail_with_needed,
    "lease-overdue": _expire,
    "lease-in-future": _shorten_lease,
}


# The journal ---------------------------------------------------------------------------------


def _check_journal(store: Store, tasks: Mapping[str, Task]) -> Iterator[Finding]:
    """Tasks that stand otherwise than the journal says."""
    lines: dict[str, list[Event]] = {}
    for event in _all_events(store):
        if event.task_id and event.kind in _STATUS_WORDS:
            known = lines.setdefault(event.task_id, [])
            if event.kind in ("expired", "edited"):
                known.append(event)  # without a status of its own the one before it holds
            else:
                known[:] = [event]
    for name, events in lines.items():
        if disagreement(tasks.get(name), events) is None:
            continue
        # The board went on while it was read: ask again for this task alone.
        if (what := _confirmed(store, name)) is not None:
            advice = f"look at it with `stig board show {name}`, then retry or cancel it"
            yield Finding(kind="journal-disagrees", task_id=name, what=what, advice=advice)


def _all_events(store: Store) -> Iterator[Event]:
    after = 0
    while batch := store.events(after=after, limit=_PAGE):
        yield from batch
        after = batch[-1].seq


def _confirmed(store: Store, name: str) -> str | None:
    for _ in range(_LOOKS):
        before = store.get(name)
        events = store.events(after=0, limit=2**31, task_id=name)
        if store.get(name) == before:
            return disagreement(before, events)
    return None  # it is being worked on, so it is well


def _check_files(store: Store, tasks: Mapping[str, Task]) -> Iterator[Finding]:
    """Tasks whose large payload or result is not in its file."""
    sound: set[str] = set()
    for task in tasks.values():
        for name, value in (("payload", task.payload), ("result", task.result)):
            if value is None or not is_reference(value) or str(value) in sound:
                continue
            try:
                if store.blobs is None:
                    raise CorruptError("this board has no folder for files", where=store.url)
                BlobFolder(store.blobs).get(value)
            except (CorruptError, ValueError) as error:
                yield Finding(
                    kind="file-missing",
                    task_id=task.task_id,
                    what=f"has its {name} in a file that cannot be read: {error}",
                    advice="put the file back from a copy of the board, or cancel the task",
                )
            else:
                sound.add(str(value))


# The storage ---------------------------------------------------------------------------------


def _check_storage(url: str) -> Iterator[Finding]:
    scheme, _, path = url.partition(":///")
    match scheme:
        case "sqlite":
            yield from _check_sqlite(Path(path))
        case "files":
            yield from _check_folder(Path(path))
        case _:
            pass


def _check_sqlite(file: Path) -> Iterator[Finding]:
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as database:
            faults = [str(row[0]) for row in database.execute("PRAGMA integrity_check(20)")]
            if faults != ["ok"]:
                yield _damaged(file, "; ".join(faults))
                return
            yield from _check_index(database)
    except sqlite3.Error as error:
        yield _damaged(file, str(error))


def _damaged(file: Path, what: str) -> Finding:
    return Finding(
        kind="damaged",
        what=f"the file {file} is damaged: {what}",
        advice="copy it, then `stig board export` what can be read and import that elsewhere",
    )


def _check_index(database: sqlite3.Connection) -> Iterator[Finding]:
    """Tasks of whose waiting the table of waits says otherwise than the task itself."""
    rows: Iterable[tuple[str]] = database.execute("""
        SELECT task_id FROM tasks WHERE task_id IN (
          SELECT task_id FROM (
            SELECT task_id, value AS needs FROM tasks, json_each(waiting_on)
            EXCEPT SELECT task_id, needs FROM waits)
          UNION SELECT task_id FROM (
            SELECT task_id, needs FROM waits
            EXCEPT SELECT task_id, value FROM tasks, json_each(waiting_on)))""")
    for (name,) in rows:
        yield Finding(
            kind="index-disagrees",
            task_id=name,
            what="is not indexed under what it waits for",
            can_mend=True,
        )


def _check_folder(folder: Path) -> Iterator[Finding]:
    quarantine = folder / ".board" / "quarantine"
    if not quarantine.is_dir():
        return
    for file in sorted(quarantine.iterdir()):
        yield Finding(
            kind="quarantined",
            what=f"{file.name} was set aside, {file.stat().st_size:,} bytes",
            advice=f"look at it in {quarantine}, then delete it or put it right",
            is_note=True,
        )
