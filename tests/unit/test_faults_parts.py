"""The parts of the fault table: traces, disks after a power cut, child processes, rows."""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path

import pytest

from stigmergy.errors import StigmergyError
from stigmergy.testing.faults import __main__ as program
from stigmergy.testing.faults.catalogue import FAULTS
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.powercut import Disk
from stigmergy.testing.faults.table import Fault, Row, Setting, format_row, row_to_json
from stigmergy.testing.faults.trace import Op, read_trace

# --- traces ---


def hexed(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def call(name: str, *arguments: str, result: str = "0") -> str:
    return f"{name}({', '.join(arguments)}) = {result}"


def at(fd: int, path: str) -> str:
    return f"{fd}<{hexed(path)}>"


def test_a_trace_is_read_in_order() -> None:
    new, name = "/d/b.new", "/d/b"
    lines = [
        call("mkdir", f'"{hexed("/d")}"', "0777"),
        call(
            "openat", "AT_FDCWD<>", f'"{hexed(new)}"', "O_RDWR|O_CREAT", "0644", result=at(3, new)
        ),
        call("write", at(3, new), f'"{hexed("ab")}"', "2", result="2"),
        call("write", at(3, new), f'"{hexed("c, 9")}"', "4", result="3"),
        call("pwrite64", at(3, new), f'"{hexed("x")}"', "1", "7", result="1"),
        call("write", at(1, "/elsewhere"), f'"{hexed("said")}"', "4", result="4"),
        call("ftruncate", at(3, new), "5"),
        call("fsync", at(3, new)),
        call("rename", f'"{hexed(new)}"', f'"{hexed(name)}"'),
        call("fsync", at(4, "/d")),
        call("unlink", f'"{hexed(name)}"'),
        call("unlink", f'"{hexed("/d/none")}"', result="-1 ENOENT"),
        call("pwrite64", at(3, name) + "(deleted)", f'"{hexed("y")}"', "1", "0", result="1"),
        "+++ exited with 0 +++",
    ]
    assert read_trace(lines, under="/d") == [
        Op(kind="mkdir", path="/d"),
        Op(kind="create", path=new),
        Op(kind="write", path=new, offset=0, data=b"ab"),
        Op(kind="write", path=new, offset=2, data=b"c, "),
        Op(kind="write", path=new, offset=7, data=b"x"),
        Op(kind="truncate", path=new, offset=5),
        Op(kind="sync", path=new),
        Op(kind="rename", path=new, to=name),
        Op(kind="sync", path="/d"),
        Op(kind="unlink", path=name),
    ]


@pytest.mark.parametrize(
    "line",
    [
        call("fallocate", at(3, "/d/a"), "0", "0", "10"),
        call("rename", f'"{hexed("/d/a")}"', f'"{hexed("/e/a")}"'),
        call("link", f'"{hexed("/d/a")}"', f'"{hexed("/d/b")}"'),
    ],
)
def test_a_trace_with_something_unknown_proves_nothing(line: str) -> None:
    with pytest.raises(StigmergyError):
        read_trace([line], under="/d")


# --- disks ---


def left_by(ops: list[Op], folder: Path) -> set[tuple[tuple[str, bytes], ...]]:
    """What power cuts left, by name and content."""
    found: set[tuple[tuple[str, bytes], ...]] = set()
    for draw in range(200):
        place = folder / str(draw)
        Disk(ops).leave(place, random.Random(draw), instead_of=Path("/d"))
        files = [path for path in sorted(place.rglob("*")) if path.is_file()]
        found.add(tuple((str(path.relative_to(place)), path.read_bytes()) for path in files))
    return found


CREATE = Op(kind="create", path="/d/a")
WRITE = Op(kind="write", path="/d/a", data=b"new")
SYNC = Op(kind="sync", path="/d/a")
SYNC_NAMES = Op(kind="sync", path="/d")


@pytest.mark.parametrize(
    ("ops", "wanted"),
    [
        ([CREATE, WRITE], {(), (("a", b""),), (("a", b"new"),)}),
        ([CREATE, WRITE, SYNC], {(), (("a", b"new"),)}),
        ([CREATE, SYNC_NAMES, WRITE], {(("a", b""),), (("a", b"new"),)}),
        ([CREATE, WRITE, SYNC, SYNC_NAMES], {(("a", b"new"),)}),
        (
            [CREATE, WRITE, SYNC, SYNC_NAMES, Op(kind="rename", path="/d/a", to="/d/b")],
            {(("a", b"new"),), (("b", b"new"),)},
        ),
        (
            [CREATE, WRITE, SYNC, SYNC_NAMES, Op(kind="truncate", path="/d/a", offset=1)],
            {(("a", b"new"),), (("a", b"n"),)},
        ),
        (
            [CREATE, WRITE, SYNC, SYNC_NAMES, Op(kind="unlink", path="/d/a")],
            {(("a", b"new"),), ()},
        ),
        (
            [Op(kind="mkdir", path="/d/e"), Op(kind="create", path="/d/e/f")],
            {(), (("e/f", b""),)},
        ),
    ],
)
def test_a_power_cut_leaves_what_was_synced_and_any_part_of_the_rest(
    tmp_path: Path, ops: list[Op], wanted: set[object]
) -> None:
    assert left_by(ops, tmp_path) == wanted


def test_a_write_is_torn_at_the_end_of_a_sector(tmp_path: Path) -> None:
    long = Op(kind="write", path="/d/a", offset=100, data=b"x" * 1000)
    sizes = {len(files[0][1]) for files in left_by([CREATE, SYNC_NAMES, long], tmp_path)}
    assert sizes == {0, 512, 1024, 1100}


# --- child processes ---


def test_a_child_returns_what_its_function_does() -> None:
    with ForkServer() as server:
        assert server.call(os.path.basename, p="a/b") == "b"


def test_a_child_that_fails_says_why() -> None:
    with ForkServer() as server, pytest.raises(StigmergyError, match="takes no keyword arguments"):
        server.call(divmod, x=1)


def test_a_child_that_is_killed_returns_nothing() -> None:
    with ForkServer() as server:
        child = server.spawn(os.kill, pid=0)
        child.end()
        sleeper = server.spawn(signal.pause)
        assert not sleeper.has_ended()
        assert sleeper.kill().was_killed
        assert sleeper.wait().value is None


def test_a_child_that_takes_too_long_is_killed() -> None:
    with ForkServer() as server:
        sleeper = server.spawn(signal.pause)
        with pytest.raises(StigmergyError, match="did not end"):
            sleeper.wait(timeout_s=0.01)
        assert sleeper.is_over


def test_children_end_with_their_server() -> None:
    with ForkServer() as server:
        pids = [server.spawn(signal.pause).pid for _ in range(3)]
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


# --- rows ---

LOST = Violation(rule="r", harm="lost", task_id="t", what="it is gone")


@pytest.mark.parametrize(
    ("row", "verdict", "counts"),
    [
        (Row(injected=3), "holds", "3      0            0       0"),
        (Row(injected=3, violations=[LOST, LOST]), "BROKEN", "3      2            0       0"),
        (Row(injected=3, limit="no checksums"), "limit", "3      0            0       0"),
        (Row(injected=3, limit="x", violations=[LOST]), "BROKEN", "3      1            0       0"),
        (None, "not run", "-      -            -       -"),
    ],
)
def test_a_row_says_what_was_broken(row: Row | None, verdict: str, counts: str) -> None:
    line = format_row("a fault", "sqlite", row, seconds=1.0, why="no such part")
    assert line.startswith("a fault")
    assert f"{counts}  {verdict}" in line
    record = row_to_json("a fault", "sqlite", row, seconds=1.0, why="no such part")
    assert record["verdict"] == verdict
    assert record.get("why") == (None if row else "no such part")


def test_the_program_ends_with_1_when_a_promise_was_broken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(setting: Setting) -> Row:
        raise StigmergyError(f"{setting.store} cannot go on")

    faults = (
        Fault(name="good", stores=("sqlite",), run=lambda _: Row(injected=1)),
        Fault(name="missing", stores=("sqlite",), run=fails, missing=lambda: "no part"),
        Fault(name="bad", stores=("files",), run=fails),
    )
    monkeypatch.setattr(program, "FAULTS", faults)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    told = tmp_path / "told.json"
    assert program.main(["--short", "--seed", "7", "--json", str(told)]) == 1
    assert program.main(["--only", "good"]) == 0
    assert program.main(["--only", "missing"]) == 0, "not run is not broken, and not kept"
    assert program.main(["--only", "none such"]) == 2
    assert program.main(["--list"]) == 0
    document = json.loads(told.read_text())
    assert document["seed"] == 7
    assert [row["verdict"] for row in document["rows"]] == ["holds", "not run", "BROKEN"]
    output = capsys.readouterr().out
    assert "files cannot go on" in output
    assert "1 holds, 1 not run, 1 BROKEN" in output


def test_faults_have_names_of_their_own() -> None:
    names = [fault.name for fault in FAULTS]
    assert sorted(names) == sorted(set(names))
