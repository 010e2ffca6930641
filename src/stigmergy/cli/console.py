"""What may be put on a terminal, and how figures read.

What a model, a task, a file name or an agent's program said is outside data: it passes `clean`
and becomes a `Text`, so that neither an escape sequence nor rich's markup in it has any effect.
"""

from __future__ import annotations

import re
import time
from typing import Final

from rich.text import Text

__all__ = [
    "amount",
    "clean",
    "clean_lines",
    "clock_time",
    "data",
    "day_time",
    "duration",
    "first_line",
    "money",
    "plural",
    "short_agent",
]

_ESCAPE: Final = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"  # colours, cursor, screen
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"  # title, link
    r"|\x1b[ -/]*[0-~]?"
)
_LINE_BREAK: Final = re.compile(r"[\r\n\t\v\f\x1c-\x1f\x85\u2028\u2029]+")
# Control characters; signs that turn the direction of what follows, or show nothing; surrogates.
_UNSAFE: Final = re.compile(
    r"[\x00-\x08\x0e-\x1b\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\ud800-\udfff]"
)


def clean(text: str) -> str:
    """The text on one line, without anything that a terminal would act on."""
    return _UNSAFE.sub("", _LINE_BREAK.sub(" ", _ESCAPE.sub("", text))).strip()


def clean_lines(text: str) -> list[str]:
    """As `clean`, but the text's lines stay apart; empty ones at the end are dropped."""
    lines = [
        _UNSAFE.sub("", _LINE_BREAK.sub("  ", line)).rstrip()
        for line in re.split(r"\r\n|\r|\n", _ESCAPE.sub("", text))
    ]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def data(text: str, style: str = "") -> Text:
    """Outside data for the terminal."""
    return Text(clean(text), style=style, overflow="ellipsis", no_wrap=True)


def first_line(text: str, limit: int = 160) -> str:
    """The first line that says something, and the next where it ends with a colon; cut."""
    lines = [clean(line) for line in text.splitlines() if line.strip()]
    line = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def short_agent(agent_id: str) -> str:
    """`agent-3` of `20261121-101500-3fa2/agent-3`."""
    return clean(agent_id.rpartition("/")[2])


def duration(seconds: float | None) -> str:
    """`0.8 s`, `42 s`, `3 m 05 s`, `2 h 10 m`, or `unknown`."""
    if seconds is None:
        return "unknown"
    seconds = max(0.0, seconds)
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} m {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} m"


def amount(value: float | None) -> str:
    """A whole number with its thousands apart, or `unknown`."""
    return "unknown" if value is None else f"{value:,.0f}"


def money(usd: float | None) -> str:
    """Dollars, to the cent or, below a dollar, to four digits; or `unknown`."""
    if usd is None:
        return "unknown"
    return f"${usd:,.2f}" if usd >= 1 or usd == 0 else f"${usd:.4f}"


def plural(count: int, noun: str) -> str:
    """`1 item`, `2 items`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def clock_time(at: float) -> str:
    """The local time of day."""
    return _local(at, "%H:%M:%S")


def day_time(at: float) -> str:
    """The local day and time."""
    return _local(at, "%Y-%m-%d %H:%M:%S")


def _local(at: float, form: str) -> str:
    try:
        return time.strftime(form, time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return "beyond all calendars"  # whoever posts a task may write any number
