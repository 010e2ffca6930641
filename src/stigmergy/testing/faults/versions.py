"""Two versions of the program on one board: the older one is refused and writes nothing."""

from __future__ import annotations

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

from stigmergy.board import Task
from stigmergy.errors import CorruptError, UsageError
from stigmergy.testing.faults.checker import Violation
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.verbs import open_at

__all__ = ["newer_schema"]

_RULE = "a newer schema is refused"


def newer_schema(setting: Setting) -> Row:
    """A newer version took the board over: who opens it and who has it open are refused."""
    faults: list[str] = []
    with open_at(setting.url) as older:
        older.post(Task(task_type="work", task_id="a"))
        _make_newer(setting)
        before = _content(setting)
        for name, act in (
            ("one that opens it", lambda: open_at(setting.url).close()),
            ("one that has it open", lambda: older.post(Task(task_type="work", task_id="b"))),
            ("one that claims", lambda: older.claim("ann")),
        ):
            try:
                act()
            except (UsageError, CorruptError) as error:
                if not any(word in str(error) for word in ("newer", "unknown")):
                    faults.append(f"{name}: {error}")
            else:
                faults.append(f"{name} goes on")
        if _content(setting) != before:
            faults.append("something was written")
    violations = [
        Violation(rule=_RULE, harm="other", task_id="", what=f"{_RULE}: {fault}")
        for fault in faults
    ]
    return Row(injected=3, violations=violations)


def _make_newer(setting: Setting) -> None:
    """What a later version might do."""
    if setting.store == "sqlite":
        with closing(sqlite3.connect(setting.url, isolation_level=None)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            db.execute("ALTER TABLE tasks ADD COLUMN mood TEXT NOT NULL DEFAULT ''")
            db.execute(f"PRAGMA user_version = {version + 1}")
    elif setting.store == "postgres":
        import psycopg

        with psycopg.connect(setting.server) as db:
            db.execute("UPDATE board.meta SET value = value::int + 1 WHERE key = 'version'")
            db.execute(_DROP_FUNCTIONS)  # their names are of a version
    else:
        with _journal(setting).open("rb+") as file:
            lines = file.read().rstrip(b" ")  # room for more follows them
            file.seek(len(lines))
            file.write(_with_another_field(lines.splitlines(keepends=True)[-1]))


def _journal(setting: Setting) -> Path:
    return Path(setting.url) / ".board" / "journal.jsonl"


def _with_another_field(line: bytes) -> bytes:
    """The line as a version writes it whose tasks have moods."""
    _, _, rest = line.partition(b'",')
    rest = rest.replace(b'"task_type":', b'"mood":"","task_type":')
    return b'{"crc32":"%08x",' % zlib.crc32(rest) + rest


def _content(setting: Setting) -> object:
    if setting.store == "sqlite":
        with closing(sqlite3.connect(setting.url)) as db:
            return [db.execute(query).fetchall() for query in _ALL]
    if setting.store == "postgres":
        import psycopg

        with psycopg.connect(setting.server, options="-c search_path=board") as db:
            return [db.execute(query).fetchall() for query in _ALL]
    return _journal(setting).read_bytes()


_DROP_FUNCTIONS = """
    DO $$ DECLARE old text; BEGIN
      FOR old IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'board'::regnamespace
      LOOP EXECUTE 'DROP FUNCTION ' || old || ' CASCADE'; END LOOP;
    END $$"""
_ALL = ("SELECT * FROM tasks", "SELECT * FROM events")
