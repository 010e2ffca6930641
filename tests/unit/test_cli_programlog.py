"""The program's own log: JSON or lines, no secrets, and as much as was asked for."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from stigmergy.board import Event
from stigmergy.cli.programlog import secrets_of, write_log
from stigmergy.coding.logbook import log_events

ENVIRON = {
    "OPENROUTER_API_KEY": "sk-verysecret123",
    "STIG_TOKEN": "tok-alsosecret",
    "HOME": "/home",
}


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root, own = logging.getLogger(), logging.getLogger("stigmergy")
    run = logging.getLogger("stigmergy.run")
    before = root.handlers[:], root.level, own.level, run.level
    yield
    root.handlers[:], root.level, own.level, run.level = before


def written(form: str, level: str) -> io.StringIO:
    out = io.StringIO()
    write_log(form, level, environ=ENVIRON, out=out)  # type: ignore[arg-type] - a test's words
    return out


def test_json_lines_have_the_message_and_what_came_with_it() -> None:
    out = written("json", "info")
    logging.getLogger("stigmergy.x").info("took %d", 3, extra={"task_id": "F1", "data": {"n": 1}})
    (line,) = out.getvalue().splitlines()
    said = json.loads(line)
    assert said.pop("time").endswith("+00:00")
    assert said == {
        "level": "info",
        "logger": "stigmergy.x",
        "message": "took 3",
        "task_id": "F1",
        "data": {"n": 1},
    }


@pytest.mark.parametrize(
    ("form", "level", "is_logged"),
    [("text", "warning", False), ("text", "info", True), ("json", "warning", True)],
)
def test_what_a_run_tells_on_stdout_is_not_told_twice(form, level, is_logged) -> None:
    out = written(form, level)
    logging.getLogger("stigmergy.run").warning("gate_ended r/queue")
    assert bool(out.getvalue()) is is_logged


def test_lines_go_to_stderr_as_it_is_when_they_are_written(monkeypatch) -> None:
    write_log("text", "warning", environ={})
    table = io.StringIO()
    monkeypatch.setattr("sys.stderr", table)
    logging.getLogger("stigmergy.x").warning("beware")
    assert table.getvalue().endswith("warning stigmergy.x: beware\n")


@pytest.mark.parametrize("form", ["json", "text"])
def test_secrets_are_taken_out_wherever_they_stand(form: str) -> None:
    out = written(form, "info")
    log = logging.getLogger("stigmergy.x")
    log.info("key sk-verysecret123 of %s", "tok-alsosecret", extra={"data": ["tok-alsosecret"]})
    log.info("postgresql://ann:hunter22@db/x and Authorization: Bearer abc.def-123")
    try:
        raise ValueError("with sk-verysecret123")
    except ValueError:
        log.exception("it went wrong")
    text = out.getvalue()
    for secret in ("verysecret", "alsosecret", "hunter22", "abc.def"):
        assert secret not in text
    assert text.count("[redacted]") >= 5
    assert "postgresql://ann:[redacted]@db/x" in text


def test_a_line_stays_a_line_and_nothing_acts_on_a_terminal() -> None:
    out = written("text", "info")
    logging.getLogger("stigmergy.x").info("one\ntwo \x1b[2Jthree")
    (line,) = out.getvalue().splitlines()
    assert line.endswith("info stigmergy.x: one two three")


@pytest.mark.parametrize(
    ("level", "said"),
    [
        ("debug", ["debug", "info", "warning", "error"]),
        ("warning", ["warning", "error"]),
        ("error", ["error"]),
    ],
)
def test_the_level_is_the_least_that_is_logged(level: str, said: list[str]) -> None:
    out = written("json", level)
    for name in ("debug", "info", "warning", "error"):
        logging.getLogger("stigmergy.x").log(logging.getLevelNamesMapping()[name.upper()], "x")
        logging.getLogger("library").log(logging.DEBUG, "libraries are quiet below a warning")
    assert [json.loads(line)["level"] for line in out.getvalue().splitlines()] == said


def test_what_json_has_no_word_for_is_told_as_text() -> None:
    out = written("json", "info")
    logging.getLogger("stigmergy.x").info("x", extra={"what": {1, 2}.__class__})
    assert "class" in json.loads(out.getvalue())["what"]


def test_variables_that_are_named_like_a_secret_are_secrets() -> None:
    assert set(secrets_of(ENVIRON)) == {"sk-verysecret123", "tok-alsosecret"}
    assert list(secrets_of({"KEYBOARD": "x", "MONKEY": "y", "PATH": "z"})) == []


def test_a_runs_events_are_logged_by_weight_and_their_texts_are_cut() -> None:
    out = written("json", "info")
    log_events(
        "r1",
        [
            Event(seq=1, at=1.0, kind="claimed", task_id="F1", agent_id="a", data={"attempt": 1}),
            Event(seq=2, at=1.0, kind="progress", task_id="F1", agent_id="a"),
            Event(seq=3, at=1.0, kind="failed", task_id="F1", data={"error": "x" * 9999, "l": []}),
        ],
    )
    first, second = map(json.loads, out.getvalue().splitlines())
    assert first["message"] == "claimed F1 a"
    assert (first["event"], first["run_id"], first["data"]) == ("claimed", "r1", {"attempt": 1})
    assert second["level"] == "warning"
    assert second["data"] == {"error": "x" * 500}
