"""What the program says of itself, on stderr: lines for people, or one JSON object a line.

Python's own logging, set up once where a command starts. Secrets are taken out of every line: the
values of environment variables that are named like one, passwords in addresses, bearer tokens.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TextIO, cast

import typer

from stigmergy.cli.console import clean
from stigmergy.models.redaction import Redactor

__all__ = ["JsonLines", "LogFormat", "LogLevel", "PlainLines", "secrets_of", "write_log"]

LogFormat = Annotated[
    Literal["text", "json"] | None,
    typer.Option(
        "--log-format",
        metavar="FORM",
        help="Of the program's log on stderr: text or json.",
        rich_help_panel="Watching",
    ),
]
LogLevel = Annotated[
    Literal["debug", "info", "warning", "error"] | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help="The least that is logged: debug, info (what happens), warning or error.",
        rich_help_panel="Watching",
    ),
]

_SECRET_NAME: Final = re.compile(r"(?:^|_)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|HEADERS)$")
_SECRET_TEXT: Final = (
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]+:)[^\s@/]+@", re.IGNORECASE), r"\1[redacted]@"),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]+", re.IGNORECASE), r"\1[redacted]"),
)
_OWN: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
"""What every record has; the rest was given with `extra`."""


def write_log(
    form: Literal["text", "json"],
    level: str,
    *,
    environ: Mapping[str, str],
    out: TextIO | None = None,
) -> None:
    """Write the log of this process in that form, from that level on. Called again, it replaces."""
    handler = _ToStderr() if out is None else logging.StreamHandler(out)
    redactor = Redactor(secrets_of(environ))
    handler.setFormatter(JsonLines(redactor) if form == "json" else PlainLines(redactor))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries tell much that is theirs: below a warning only this program speaks.
    root.setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level.upper()]))
    logging.getLogger("stigmergy").setLevel(level.upper())
    # What happens in a run is told on stdout; here for whoever asks for more, or for programs.
    told = form == "text" and level == "warning"
    logging.getLogger("stigmergy.run").setLevel("ERROR" if told else logging.NOTSET)


def secrets_of(environ: Mapping[str, str]) -> Iterable[str]:
    """The values of variables that are named like a secret."""
    return [value for name, value in environ.items() if _SECRET_NAME.search(name.upper())]


class _ToStderr(logging.Handler):
    """Onto stderr as it is now: a live table has one of its own while it is shown."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line."""
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except (OSError, ValueError):  # it is closed, or full
            self.handleError(record)


class PlainLines(logging.Formatter):
    """`12:00:01 warning stigmergy.board: text`, on one line unless there is a traceback."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")  # noqa: DTZ006 - the user's
        head = f"{at} {record.levelname.lower()} {record.name}"
        lines = [f"{head}: {clean(record.getMessage())}"]
        if record.exc_info:
            lines += [clean(line) for line in self.formatException(record.exc_info).splitlines()]
        return _without_secrets("\n".join(lines), self._redactor)


class JsonLines(logging.Formatter):
    """One JSON object: `time`, `level`, `logger`, `message`, and what came with `extra`."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        said: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        more = {name: value for name, value in vars(record).items() if name not in _OWN}
        said |= {name: value for name, value in more.items() if name not in said}
        if record.exc_info:
            said["exception"] = self.formatException(record.exc_info)
        # Whatever JSON has no word for becomes text first, and loses its secrets like all text.
        plain = json.loads(json.dumps(said, default=str))
        return json.dumps(_each_text(plain, self._redactor), ensure_ascii=True)


def _each_text(value: object, redactor: Redactor) -> object:
    match value:
        case str():
            return _without_secrets(value, redactor)
        case list():
            return [_each_text(each, redactor) for each in cast("list[object]", value)]
        case dict():
            members = cast("dict[str, object]", value).items()
            return {name: _each_text(each, redactor) for name, each in members}
        case _:
            return value


def _without_secrets(text: str, redactor: Redactor) -> str:
    text = redactor.text(text)
    for pattern, instead in _SECRET_TEXT:
        text = pattern.sub(instead, text)
    return text
