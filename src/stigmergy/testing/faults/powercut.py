"""The power goes: what was synced is there, of the rest anything may be missing, or half there.

A process works on a board under strace. From its trace of writes, syncs and renames come the
disks that a power cut at any point may leave: of what was not synced each write is kept, dropped
or torn at a sector, and names that were not synced stay away from some point on. On each of them
the board has to open and to hold all that was acknowledged, and nothing that never was.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.damage import look
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.machine import trouble
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.trace import COMMAND, Op, read_trace

__all__ = ["Disk", "after_a_cut", "power_cuts", "strace_missing"]

_SECTOR: Final = 512
_EXPLAINED: Final = frozenset({"quarantined", "restored"})
"""Events that recovery may add: task files were behind, and were written anew."""


def strace_missing() -> str | None:
    """Why nothing can be traced here, or None."""
    return trouble(["strace", "-o", "/dev/null", "true"])


def power_cuts(setting: Setting) -> Row:
    """Cuts at random points, or at every one in the long form, several disks each."""
    rng = setting.rng
    root = setting.folder / "disk"
    root.mkdir()
    ops, states = _trace(setting, root)
    acknowledged = _acknowledged(ops, str(setting.folder / "acks"))
    ops = [op for op in ops if op.path.startswith(str(root))]
    cuts = list(range(len(ops) + 1))
    chosen = rng.sample(cuts, 100) if setting.short else cuts * 4
    violations: list[Violation] = []
    with ForkServer() as server:
        for number, cut in enumerate(chosen):
            place = setting.folder / f"cut{number}"
            at = rng.randrange(2**32)
            Disk(ops[:cut]).leave(place, random.Random(at), instead_of=root)
            told = server.call(after_a_cut, url=str(place / "new" / Path(setting.url).name))
            permitted = states[acknowledged[cut] : acknowledged[cut] + 2]
            for what in _judge(told, permitted, settled=acknowledged[cut]):
                name = f"cut {cut} of {len(ops)}, draw {at}"
                violations.append(Violation(rule="power cut", harm="lost", task_id=name, what=what))
            shutil.rmtree(place)
    return Row(
        injected=len(chosen),
        violations=violations,
        notes=f"{len(ops)} writes, syncs and names; {len(states) - 1} acknowledged steps",
    )


def _trace(setting: Setting, root: Path) -> tuple[list[Op], list[Any]]:
    folder = setting.folder
    url = root / "new" / Path(setting.url).name
    acks, states, trace = folder / "acks", folder / "states", folder / "trace"
    words = [*COMMAND, str(trace), sys.executable, "-m", "stigmergy.testing.faults.trail"]
    done = subprocess.run(
        [*words, str(url), str(acks), str(states)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StigmergyError(f"the traced process failed:\n{done.stderr}")
    nothing: list[Any] = [[], []]
    told = [nothing, *map(json.loads, states.read_text().splitlines())]
    with trace.open() as lines:
        ops = read_trace(lines, under=str(folder))
    return ops, told


def _acknowledged(ops: Sequence[Op], acks: str) -> list[int]:
    """For each number of operations on the disk: so many steps were acknowledged by then."""
    numbers = [0]
    for op in ops:
        if op.path == acks:
            numbers[-1] += op.kind == "write"
        elif "/disk" in op.path:
            numbers.append(numbers[-1])
    return numbers


def _judge(told: dict[str, Any], permitted: Sequence[Any], *, settled: int) -> list[str]:
    if told["error"]:
        return [f"the board is unusable: {told['error']}"]
    events = [event for event in told["events"] if event["kind"] not in _EXPLAINED]
    for tasks, known in permitted:
        if told["tasks"] == tasks and events == known:
            return []
    sizes = [(len(tasks), len(known)) for tasks, known in permitted]
    found = len(told["tasks"]), len(events)
    return [f"{settled} steps were acknowledged; tasks and events: {found}, permitted: {sizes}"]


def after_a_cut(*, url: str) -> dict[str, Any]:
    """What the board says when the machine is up again."""
    from stigmergy.board.stores import files

    files.boot_id = lambda: "after the power cut"
    return look(url=url)


# The disk -----------------------------------------------------------------------------------------


@dataclass(slots=True)
class _File:
    synced: bytes = b""
    pending: list[Op] = field(default_factory=list[Op])


@dataclass(slots=True)
class _Name:
    """A change of a folder."""

    op: Op
    file: _File | None
    is_synced: bool = False


class Disk:
    """A disk on which these operations were done, and what a power cut may leave of them."""

    def __init__(self, ops: Sequence[Op]) -> None:
        self._files: dict[str, _File] = {}
        self._names: list[_Name] = []
        for op in ops:
            self._do(op)

    def _do(self, op: Op) -> None:
        match op.kind:
            case "create":
                self._files[op.path] = _File()
                self._names.append(_Name(op, self._files[op.path]))
            case "write" | "truncate":
                self._files[op.path].pending.append(op)
            case "sync":
                self._sync(op.path)
            case "rename":
                self._files[op.to] = self._files.pop(op.path)
                self._names.append(_Name(op, self._files[op.to]))
            case "unlink":
                self._names.append(_Name(op, self._files.pop(op.path)))
            case "mkdir":
                self._names.append(_Name(op, None))

    def _sync(self, path: str) -> None:
        if (file := self._files.get(path)) is not None:
            for op in file.pending:
                file.synced = _applied(file.synced, op)
            file.pending = []
            return
        for name in self._names:
            name.is_synced |= path in {_folder(name.op.path), _folder(name.op.to)}

    def leave(self, place: Path, rng: random.Random, *, instead_of: Path) -> None:
        """Make, at another place, what a power cut may leave. One draw of many."""
        kept_share = rng.choice([0.0, 0.5, 0.9, 1.0])
        unsynced = sum(not name.is_synced for name in self._names)
        kept_names = rng.choice([unsynced, rng.randint(0, unsynced)])
        folders, files = {str(instead_of)}, dict[str, _File]()
        for name in self._names:
            if not name.is_synced:
                kept_names -= 1
                if kept_names < 0:
                    continue
            _rename(name, folders, files)
        for folder in sorted(folders):
            _moved(folder, instead_of, place).mkdir(exist_ok=True)
        for path, file in files.items():
            content = file.synced
            for op in file.pending:
                if rng.random() < kept_share:
                    content = _applied(content, _torn(op, rng))
            _moved(path, instead_of, place).write_bytes(content)


def _rename(name: _Name, folders: set[str], files: dict[str, _File]) -> None:
    op = name.op
    if op.kind == "unlink":
        files.pop(op.path, None)
    elif _folder(op.to or op.path) not in folders:
        return
    elif op.kind == "mkdir":
        folders.add(op.path)
    elif op.kind == "rename":
        files.pop(op.path, None)
        if name.file is not None:
            files[op.to] = name.file
    elif name.file is not None:
        files[op.path] = name.file


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _applied(content: bytes, op: Op) -> bytes:
    if op.kind == "truncate":
        return content[: op.offset].ljust(op.offset, b"\0")
    content = content.ljust(op.offset, b"\0")
    return content[: op.offset] + op.data + content[op.offset + len(op.data) :]


def _torn(op: Op, rng: random.Random) -> Op:
    """The write, or what is left of it up to a sector's end."""
    if op.kind != "write" or rng.random() < 0.7:
        return op
    first = _SECTOR - op.offset % _SECTOR
    ends = range(first, len(op.data), _SECTOR)
    if not ends:
        return op
    return Op(kind="write", path=op.path, offset=op.offset, data=op.data[: rng.choice(ends)])


def _moved(path: str, instead_of: Path, place: Path) -> Path:
    return place / Path(path).relative_to(instead_of)
