"""Cutting texts to size. Pure."""

from __future__ import annotations

__all__ = ["clip", "clip_middle", "first_line"]


def clip(text: str, limit: int) -> str:
    """The start of `text`, at most `limit` characters, marked where it was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clip_middle(text: str, limit: int) -> str:
    """`text` with a note in place of its middle when it is longer than `limit` characters.

    The start says what something is and the end how it ended; the result is at most `limit`
    characters and the note long.
    """
    if len(text) <= limit:
        return text
    half = limit // 2
    left_out = len(text) - 2 * half
    return f"{text[:half]}\n[… {left_out:,} characters left out …]\n{text[len(text) - half :]}"


def first_line(text: str, limit: int) -> str:
    """The first line with something on it, without the spaces around it."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    return clip(line, limit)
