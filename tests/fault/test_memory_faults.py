"""The memory under fire: many processes, kills at any moment, a full disk, flipped bytes."""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from stigmergy.errors import CorruptError, StigmergyError, TransientError, UsageError
from stigmergy.memory import Memory

STORE = """
import sys
from stigmergy.memory import Memory
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Memory(path) as memory:
    print("open", flush=True)
    sys.stdin.readline()
    for number in range(count):
        memory.store(name, f"k{number}", f"word{number} of {name}", tags=[name])
        memory.store("shared", "counter", f"{name} {number}")
        print(number, flush=True)
"""
IMPORT = """
import json, sys
from stigmergy.memory import Memory
path, count = sys.argv[1], int(sys.argv[2])
lines = [{"stigmergy_memory": 1}]
for number in range(count):
    lines.append({"namespace": "bulk", "key": f"k{number}", "kind": "note",
                  "value": f"bulk {number} " + "word " * 40, "created_at": 1.0, "updated_at": 1.0})
lines.append({"end": count})
with Memory(path) as memory:
    print("open", flush=True)
    memory.import_([json.dumps(line).encode() for line in lines], source="child")
    print("done", flush=True)
"""


def child(program: str, *words: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def check_sound(path: Path) -> None:
    """SQLite finds no fault, and the index says what the entries say."""
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
        db.execute("INSERT INTO words (words, rank) VALUES ('integrity-check', 1)")
    finally:
        db.close()


def test_processes_write_side_by_side_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    writers = [child(STORE, str(path), f"p{n}", "40") for n in range(4)]
    for writer in writers:
        go(writer)
    for writer in writers:
        assert writer.communicate(timeout=60)[0].split() == [str(n) for n in range(40)]
        assert writer.returncode == 0
    with Memory(path) as memory:
        assert memory.stats().entries == 4 * 40 + 1
        assert memory.history("shared", "counter")[0].version == 4 * 40
        for n in range(4):
            found = memory.search("word7", namespaces=[f"p{n}"])
            assert [(f.entry.key, f.entry.tags) for f in found] == [("k7", (f"p{n}",))]
    check_sound(path)


def test_processes_that_open_a_new_memory_at_once_share_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "memory.db"
    code = "import sys; from stigmergy.memory import Memory; print(Memory(sys.argv[1]).memory_id)"
    made = [
        subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert len({process.communicate(timeout=60)[0] for process in made}) == 1


@pytest.mark.parametrize("seed", range(6))
def test_what_a_killed_writer_was_told_is_stored_is_there(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "memory.db"
    rng = random.Random(seed)
    writer = child(STORE, str(path), "p", "900")  # as many as are listed at once
    go(writer)
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(rng.randrange(1, 40))]
    os.kill(writer.pid, signal.SIGKILL)
    told += [int(line) for line in writer.stdout.read().split()]
    with writer:  # closes its pipes
        writer.wait(timeout=60)
    with Memory(path) as memory:
        keys = {entry.key for entry in memory.list("p", limit=1000).entries}
        assert {f"k{number}" for number in told} <= keys
        assert len(keys) - len(told) in (0, 1)
        assert memory.search(f"word{told[-1]}")[0].entry.key == f"k{told[-1]}"
        memory.store("p", "after", "the next one can write")
    check_sound(path)


@pytest.mark.parametrize("seed", range(4))
def test_an_import_that_is_killed_leaves_all_or_nothing(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "memory.db"
    with Memory(path) as memory:
        memory.store("ns", "before", "it was here before")
    importer = child(IMPORT, str(path), "2000")
    # Longer than reading the lines takes and, for some seeds, shorter than writing them.
    try:
        importer.wait(timeout=0.3 + 0.25 * seed)
    except subprocess.TimeoutExpired:
        importer.kill()
    importer.communicate(timeout=60)
    with Memory(path) as memory:
        entries = {stats.namespace: stats.entries for stats in memory.namespaces()}
        assert entries.get("bulk", 0) in (0, 2000)
        assert memory.get("ns", "before") is not None
        assert len(memory.search("bulk", limit=1000)) in (0, 1000)
    check_sound(path)


def test_a_reader_is_not_held_up_by_a_writer_that_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    writer = child(STORE, str(path), "p", "100000")
    go(writer)
    assert writer.stdout is not None
    writer.stdout.readline()
    os.kill(writer.pid, signal.SIGSTOP)
    try:
        # Opening waits for the lock, which the writer may hold; who has it open reads on.
        os.kill(writer.pid, signal.SIGCONT)
        with Memory(path) as memory:
            os.kill(writer.pid, signal.SIGSTOP)
            assert memory.get("p", "k0") is not None
            assert memory.search("word0")[0].entry.key == "k0"
            os.kill(writer.pid, signal.SIGCONT)
            memory.store("ns", "k", "v")
    finally:
        writer.kill()
        writer.communicate(timeout=60)


def test_a_full_disk_is_told_and_leaves_what_was_there(tmp_path: Path) -> None:
    with Memory(tmp_path / "memory.db") as memory:
        memory.store("ns", "k", "v")
        pages = memory._database._db.execute("PRAGMA page_count").fetchone()[0]
        memory._database._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(TransientError, match="free some space"):
            memory.store("ns", "large", "word " * 12_000)
        assert memory.get("ns", "k") is not None
        memory._database._db.execute("PRAGMA max_page_count = 1000000")
        memory.store("ns", "later", "there is room again")
        assert memory.search("room")[0].entry.key == "later"
    check_sound(tmp_path / "memory.db")


def test_a_damaged_file_is_told_and_never_taken_for_another(tmp_path: Path) -> None:
    path = tmp_path / "memory.db"
    with Memory(path) as memory:
        for number in range(200):
            memory.store("ns", f"k{number}", f"word{number} " * 20)
    whole = path.read_bytes()
    told = 0
    for seed in range(40):
        rng = random.Random(seed)
        broken = bytearray(whole)
        start = rng.randrange(0, len(broken) - 600)
        broken[start : start + 512] = rng.randbytes(512)
        path.write_bytes(broken)
        try:
            with Memory(path) as memory:
                for entry in memory.list(limit=1000).entries:
                    json.dumps(entry.to_json())
                memory.search("word7 word8")
                memory.stats()
        except (CorruptError, UsageError, TransientError):
            told += 1
        except StigmergyError as error:  # pragma: no cover - says which
            pytest.fail(f"seed {seed}: {error!r}")
    assert told >= 5


def test_a_memory_is_not_carried_over_a_fork(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom stigmergy.memory import Memory\n"
        "memory = Memory(sys.argv[1])\n"
        "if os.fork() == 0:\n"
        "    try:\n        memory.get('ns', 'k')\n"
        "    except Exception as error:\n        print(error, flush=True)\n"
        "    memory.close()\n    os._exit(0)\n"
        "os.wait()\nmemory.store('ns', 'k', 'v')\nprint(memory.get('ns', 'k').value)\n"
    )
    words = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "m.db")]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "cannot be carried over a fork" in done.stdout
    assert done.stdout.endswith("v\n")
