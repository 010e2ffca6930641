"""Disks that are full, read-only, or closed to the user: what was promised stands."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

from stigmergy.board import Task
from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.checker import Violation, check
from stigmergy.testing.faults.crew import Crew, Plan, gather
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.ledger import read_ledger
from stigmergy.testing.faults.machine import inside, mount
from stigmergy.testing.faults.steps import snapshot
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.verbs import open_at

__all__ = ["full_disk", "read_only_disk", "unwritable_folder"]

_DISK_BYTES: Final = 64 * 1024**2
_FILLINGS: Final = 8
_NOBODY: Final = 65534


# Full ---------------------------------------------------------------------------------------------


def full_disk(setting: Setting) -> Row:
    """A small disk is filled while a crew is at work, and freed again, over and over."""
    boards = (
        1 if setting.short else 30
    )  # each begins on an empty disk: it is to be full by us alone
    violations: list[Violation] = []
    troubles = tasks = 0
    for number in range(boards):
        told = inside(
            ["mount"],
            fill_over_and_over,
            store=setting.store,
            folder=str(setting.folder / f"{number}"),
            seed=f"{setting.seed} {number}",
        )
        violations += [Violation(**violation) for violation in told["violations"]]
        troubles += told["troubles"]
        tasks += told["tasks"]
    if not troubles:
        raise StigmergyError("nobody noticed that the disk was full: it proves nothing")
    notes = f"{troubles} calls refused; {tasks} tasks done"
    return Row(injected=boards * _FILLINGS, violations=violations, notes=notes)


def fill_over_and_over(*, store: str, folder: str, seed: str) -> dict[str, object]:
    """In a mount namespace of its own."""
    Path(folder).mkdir()
    rng = random.Random(seed)
    disk = Path(folder) / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(disk))
    plan = Plan(url=_url(store, disk), folder=Path(folder), seed=seed)
    violations: list[Violation] = []
    with ForkServer() as server, Crew(plan, [server]) as crew:
        idle = crew.roles[0].child
        for _ in range(_FILLINGS):
            idle.has_ended(timeout_s=rng.uniform(0.02, 0.1))
            with _filled(disk, rng):
                idle.has_ended(timeout_s=rng.uniform(0.02, 0.2))
                violations += _promises_kept(plan)
        crew.settle()
        evidence = gather(plan)
    violations += check(evidence)
    return {
        "troubles": len(evidence.said("trouble")),
        "tasks": len(evidence.tasks),
        "violations": [asdict(violation) for violation in violations],
    }


@contextmanager
def _filled(disk: Path, rng: random.Random) -> Generator[None]:
    """No room, but for a few pages now and then."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1024**2, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
        spare = rng.choice([0, 0, 1, 2, 5])
        file.truncate(max(0, file.tell() - 4096 * spare))
    try:
        yield
    finally:
        filler.unlink()


def _promises_kept(plan: Plan) -> list[Violation]:
    """While it is full: what a fresh look finds, if it may look, is all that was promised."""
    entries = read_ledger(plan.ledger)
    try:
        with open_at(plan.url, time.time()) as board:
            standing = {task.task_id: task for task in board.list_all()}
    except StigmergyError:
        return []  # it says that it cannot
    violations: list[Violation] = []
    for entry in entries:
        if entry.kind not in {"posted", "completed"}:
            continue
        task = standing.get(entry.task_id)
        done = entry.kind == "posted" or (task and task.result == entry.data["result"])
        if task is None or not done:
            what = f"{entry.kind} was acknowledged, and is not there while the disk is full"
            violations.append(
                Violation(rule="full disk", harm="lost", task_id=entry.task_id, what=what)
            )
    return violations


# Closed -------------------------------------------------------------------------------------------


def read_only_disk(setting: Setting) -> Row:
    """The disk was mounted read-only: that is said, nothing changes, and it goes on later."""
    told = inside(
        ["mount"], open_on_read_only_disk, store=setting.store, folder=str(setting.folder)
    )
    return Row(injected=told["injected"], violations=_violations("read-only disk", told["faults"]))


def open_on_read_only_disk(*, store: str, folder: str) -> dict[str, object]:
    """In a mount namespace of its own."""
    disk = Path(folder) / "disk"
    disk.mkdir()
    mount("-t", "tmpfs", "tmpfs", str(disk))
    url = _url(store, disk)
    return _closed_and_opened(
        url,
        close=lambda: mount("-o", "remount,ro", str(disk)),
        reopen=lambda: mount("-o", "remount,rw", str(disk)),
    )


def unwritable_folder(setting: Setting) -> Row:
    """The folder is closed to the user: before the board is opened, and while it is open."""
    with ForkServer() as server:
        told = [
            server.call(function, store=setting.store, folder=str(setting.folder / name))
            for name, function in (("shut", open_in_shut_folder), ("shutting", shut_while_open))
        ]
    faults = [fault for one in told for fault in one["faults"]]
    injected = sum(one["injected"] for one in told)
    return Row(injected=injected, violations=_violations("unwritable folder", faults))


def open_in_shut_folder(*, store: str, folder: str) -> dict[str, object]:
    """As a user whom permissions hold back."""
    place = _made_by_nobody(store, folder)
    url = _url(store, place)

    def paths() -> list[Path]:
        return [place, *place.rglob("*")]

    def close() -> None:
        for path in paths():
            path.chmod(0o555 if path.is_dir() else 0o444)

    def reopen() -> None:
        for path in paths():
            path.chmod(0o755 if path.is_dir() else 0o644)

    return _closed_and_opened(url, close=close, reopen=reopen)


def shut_while_open(*, store: str, folder: str) -> dict[str, object]:
    """No new file can be made, while those that are open can be written."""
    place = _made_by_nobody(store, folder)
    url = _url(store, place)
    faults: list[str] = []
    promised = ["a"]
    with open_at(url) as board:
        inner = place if store == "sqlite" else Path(url)
        inner.chmod(0o555)
        try:
            for name in ("b", "c"):
                try:
                    promised.append(board.post(Task(task_type="work", task_id=name)))
                except StigmergyError:
                    continue  # said so
            if [task.task_id for task in board.list_all()] != promised:
                faults.append(f"promised {promised}, there is {board.list_all()}")
        finally:
            inner.chmod(0o755)
        promised.append(board.post(Task(task_type="work", task_id="d")))
        with open_at(url) as fresh:
            found = [[task.task_id for task in each.list_all()] for each in (board, fresh)]
        if found != [promised, promised]:
            faults.append(f"promised {promised}, there is {found}")
    if store == "files" and len(list(Path(url).glob("*.json"))) != len(promised):
        faults.append("the files of tasks were not written when they could be")
    return {"injected": 1, "faults": faults}


def _url(store: str, place: Path) -> str:
    return str(place / ("board.db" if store == "sqlite" else "board"))


def _made_by_nobody(store: str, folder: str) -> Path:
    """A folder with a board of one task; this process becomes a user whom permissions hold back."""
    place = Path(folder)
    place.mkdir()
    with open_at(_url(store, place)) as board:
        board.post(Task(task_type="work", task_id="a"))
    if os.geteuid() == 0:
        place.parent.chmod(0o755)
        for path in (place, *place.rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)
        os.setgroups([])
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)
    return place


def _closed_and_opened(
    url: str, *, close: Callable[[], None], reopen: Callable[[], None]
) -> dict[str, object]:
    faults: list[str] = []
    with open_at(url) as board:
        board.post(Task(task_type="work", task_id="a"))
        held = board.claim("ann")
        before = snapshot(board)
    close()
    try:
        with open_at(url) as board:
            if snapshot(board) != before:
                faults.append("it was opened, and shows something else")
            try:
                board.post(Task(task_type="work", task_id="b"))
                faults.append("it took a task that it cannot keep")
            except StigmergyError:
                pass
    except StigmergyError as error:
        if "board" not in str(error):
            faults.append(f"it does not say what is wrong: {error}")
    finally:
        reopen()
    with open_at(url) as board:
        if snapshot(board) != before:
            faults.append("it came back changed")
        if held is not None:
            board.complete(held, {"done": True})
        board.post(Task(task_type="work", task_id="b"))
        if board.progress().total != 2:
            faults.append("it does not go on")
    return {"injected": 1, "faults": faults}


def _violations(rule: str, faults: list[str]) -> list[Violation]:
    return [Violation(rule=rule, harm="other", task_id="", what=f"{rule}: {w}") for w in faults]
