"""Reading the data of an event, whoever wrote it: a wrong type reads as nothing. Pure."""

from __future__ import annotations

import math
from typing import cast

from stigmergy.board import Event, JsonObject

__all__ = ["amount", "first_line", "names", "number", "rows", "text"]


def text(event: Event, name: str) -> str:
    """A text; "" where there is none."""
    value = event.data.get(name)
    return "" if value is None else str(value)


def amount(event: Event, name: str) -> float | None:
    """A number; None where there is none, so that unknown is not taken for 0."""
    value = event.data.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def number(event: Event, name: str) -> float:
    """A number; 0.0 where there is none."""
    return float(amount(event, name) or 0.0)


def names(event: Event, name: str) -> tuple[str, ...]:
    """A list of names; empty where there is none."""
    value: object = event.data.get(name)
    return (
        tuple(str(item) for item in cast("list[object]", value)) if isinstance(value, list) else ()
    )


def rows(event: Event, name: str) -> list[JsonObject]:
    """A list of objects; what is none in it is left out."""
    value: object = event.data.get(name)
    found = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("JsonObject", row) for row in found if isinstance(row, dict)]


def first_line(words: str, limit: int = 160) -> str:
    """The first line that says something, and the next where it ends with a colon; cut."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    line = " ".join(lines[: 2 if lines and lines[0].endswith(":") else 1])
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
