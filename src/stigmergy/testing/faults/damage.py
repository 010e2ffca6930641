"""Files of a board that were damaged on disk: one of them, somewhere, by a bit or by a block.

What may come of it: nothing (the place mattered to nobody), an error or an event that says so, or,
worst, other data without a word. The last is counted as what it is.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from stigmergy.board import Task, TaskBoard
from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.steps import Snapshot, snapshot
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.verbs import open_at, tune

__all__ = ["damaged_database", "damaged_files", "damaged_log", "fill", "look"]

Outcome = Literal["harmless", "detected", "silent"]

_SAID: Final = frozenset({"damaged", "quarantined", "edited", "restored", "removed"})
_TASKS: Final = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class _Damage:
    """Where something was damaged, and how."""

    file: str
    how: str
    at: int

    def __str__(self) -> str:
        return f"{self.how} at byte {self.at} of {self.file}"


def damaged_files(setting: Setting) -> Row:
    """Task files, the journal, its archive and its notes, one at a time."""
    return _damage_over_and_over(
        setting,
        victims=lambda home: [
            sorted(home.rglob(pattern))
            for pattern in ("*.json", "journal.jsonl", "journal.jsonl", "0*.jsonl", "progress")
        ],
        rounds=60 if setting.short else 3000,
    )


def damaged_database(setting: Setting) -> Row:
    """A page of a database that was closed in order."""
    return _damage_over_and_over(
        setting,
        victims=lambda home: [[home / "board.db"]],
        rounds=60 if setting.short else 3000,
    )


def damaged_log(setting: Setting) -> Row:
    """The write-ahead log of a database whose processes were killed."""
    return _damage_over_and_over(
        setting,
        victims=lambda home: [[home / "board.db-wal"]],
        rounds=60 if setting.short else 2000,
    )


def _damage_over_and_over(
    setting: Setting, *, victims: Callable[[Path], list[list[Path]]], rounds: int
) -> Row:
    """`victims` gives kinds of files, which are equally likely."""
    rng = setting.rng
    home = setting.folder / "home"
    counts = Counter[str]()
    violations: list[Violation] = []
    name = Path(setting.url).name
    with ForkServer() as server:
        server.spawn(fill, url=str(home / name), killed="wal" in str(victims(home))).wait()
        sound = setting.folder / "sound"
        shutil.copytree(home, sound)
        before = server.call(look, url=str(sound / name))
        for number in range(rounds):
            place = setting.folder / f"round{number}"
            shutil.copytree(home, place)
            damage = _damage(rng, rng.choice(rng.choice(victims(place))))
            told = server.call(look, url=str(place / name))
            outcome, fault = _judge(before, told)
            counts[outcome] += 1
            if outcome == "silent" and setting.store == "sqlite":
                counts["silent, found by integrity_check"] += _is_found(place / name)
            if fault:
                violations.append(
                    Violation(rule="damage", harm="other", task_id=str(damage), what=fault)
                )
            shutil.rmtree(place)
    known = counts["detected"], counts["harmless"]
    notes = f"{known[0]} detected, {known[1]} harmless, {counts['silent']} silent"
    limit = ""
    if counts["silent"]:
        limit = "damage can pass unnoticed"
        if setting.store == "sqlite":
            limit += f" ({counts['silent, found by integrity_check']} found by integrity_check)"
    return Row(injected=rounds, violations=violations, notes=notes, limit=limit)


def _damage(rng: random.Random, path: Path) -> _Damage:
    content = bytearray(path.read_bytes())
    at = rng.randrange(max(len(content), 1))
    how = rng.choice(["a flipped bit", "a flipped bit", "a cut", "zeros", "foreign bytes"])
    if how == "a flipped bit" and content:
        content[at] ^= 1 << rng.randrange(8)
    elif how == "a cut":
        del content[at:]
    else:
        size = min(rng.choice([16, 512, 4096]), len(content) - at)
        content[at : at + size] = bytes(size) if how == "zeros" else rng.randbytes(size)
    path.write_bytes(content)
    os.utime(path, (1, 1))
    return _Damage(file=path.name, how=how, at=at)


def _judge(before: dict[str, Any], told: dict[str, Any]) -> tuple[Outcome, str]:
    """What came of it, and what of that may not be."""
    if told["error"]:
        crash = "" if told["in words"] else f"it fails without words of its own: {told['error']}"
        return "detected", crash
    if (told["tasks"], told["events"]) == (before["tasks"], before["events"]):
        return "harmless", ""
    said = {event["kind"] for event in told["events"]} & _SAID
    if not said:
        return "silent", ""
    names = {task["task_id"] for task in before["tasks"]}
    lost = names - {task["task_id"] for task in told["tasks"]}
    return "detected", f"lost, though one file was damaged: {sorted(lost)}" if lost else ""


def _is_found(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path)) as db:
            return db.execute("PRAGMA integrity_check").fetchall() != [("ok",)]
    except sqlite3.Error:
        return True


# In children --------------------------------------------------------------------------------------


def fill(*, url: str, killed: bool) -> None:
    """A board with tasks in every state and some history; the process is killed if wanted."""
    Path(url).parent.mkdir(exist_ok=True)
    with open_at(url, 1_000_000.0) as board:
        names = [f"t{number:03}" for number in range(_TASKS)]
        board.post_many(
            Task(task_type="work", task_id=name, payload={"text": name * 20}) for name in names
        )
        _work(board)
    tune(journal_bytes=0, log_pages=1000)  # so that there is an archive
    with open_at(url, 1_000_100.0) as board:
        _work(board)
    tune(journal_bytes=10**9, log_pages=1000)  # and a journal that is more than a snapshot
    board = open_at(url, 1_000_200.0)
    _work(board)
    if not killed:
        board.close()
    os._exit(0)  # a closed SQLite database has no log


def _work(board: TaskBoard) -> None:
    for held in board.claim_many("ann", 8):
        board.complete(held, {"by": held.task_id})
    for held in board.claim_many("bob", 3):
        board.fail(held, "no", retry=False)
    board.claim_many("cid", 3)


def look(*, url: str) -> dict[str, Any]:
    """All that a board says when it is opened, and whether it can be worked on."""
    empty: Snapshot = ([], [])
    try:
        with open_at(url, 1_000_300.0) as board:
            tasks, events = json.loads(json.dumps(snapshot(board), default=repr))
            for task in board.list_all():
                board.load(task.payload)
            for held in board.claim_many("dan", 10):
                board.complete(held, {"by": "dan"})
    except StigmergyError as error:
        return _told(empty, error, in_words=True)
    except Exception as error:  # noqa: BLE001 - to be reported as a fault of the board
        return _told(empty, error, in_words=False)
    return _told((tasks, events), None, in_words=True)


def _told(seen: Sequence[Any], error: Exception | None, *, in_words: bool) -> dict[str, Any]:
    text = f"{type(error).__name__}: {error}" if error else ""
    return {"tasks": seen[0], "events": seen[1], "error": text, "in words": in_words}
