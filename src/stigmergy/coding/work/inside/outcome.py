"""How an agent's work ended, and the document that says so (`result.json`). Pure.

The fields of the document are those of `stigmergy.coding.work.handoff.Handoff`; its bounds are
kept here, so that a long summary is cut and never costs a finished piece of work.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from .commits import Facts
from .text import clip, clip_middle

__all__ = ["STATUSES", "Counted", "Outcome", "document", "interrupted"]

STATUSES = ("complete", "partial", "blocked")
"""What an agent can claim; `failed` is decided by the runner."""

_TEXT = 20_000
_LINE = 1_000
_LINES = 100
_PATHS = 10_000
_PATHS_CHARACTERS = 150_000
"""Of all paths together: written as JSON they stay far below the largest handoff."""


class Outcome(NamedTuple):
    """How the work ended, before anything was counted."""

    status: str
    summary: str = ""
    error: str | None = None
    concerns: tuple[str, ...] = ()
    suggestions: tuple[str, ...] = ()
    exit_code: int | None = None
    salvage: bool = False
    """The agent was cut off: what it committed until then makes it `partial`, not `failed`."""


class Counted:
    """What the runner counts while an agent works. None is unknown."""

    def __init__(self) -> None:
        self.steps: int | None = None
        self.tool_calls: int | None = None
        self.prompt_tokens: int | None = None
        self.completion_tokens: int | None = None

    @property
    def tokens(self) -> int:
        """Of prompts and completions together, as far as they are known."""
        return (self.prompt_tokens or 0) + (self.completion_tokens or 0)


def interrupted(limit: str, *, summary: str = "") -> Outcome:
    """The agent was stopped from outside or by a limit, which `limit` names."""
    return Outcome("failed", summary, error=limit, salvage=True)


def document(
    outcome: Outcome, facts: Facts | None, counted: Counted, *, duration_ms: int
) -> dict[str, object]:
    """The handoff as a JSON object; `facts` None: git could not be asked."""
    status = outcome.status
    if outcome.salvage and facts is not None and facts.commits > 0:
        status = "partial"
    return {
        "version": 1,
        "status": status,
        "summary": clip_middle(outcome.summary, _TEXT),
        "changes": _paths(facts.paths if facts else ()),
        "concerns": [clip(line, _LINE) for line in outcome.concerns[:_LINES]],
        "suggestions": [clip(line, _LINE) for line in outcome.suggestions[:_LINES]],
        "commits": facts.commits if facts else 0,
        "exit_code": outcome.exit_code,
        "error": None if outcome.error is None else clip_middle(outcome.error, _TEXT),
        "metrics": {
            "steps": counted.steps,
            "tool_calls": counted.tool_calls,
            "prompt_tokens": counted.prompt_tokens,
            "completion_tokens": counted.completion_tokens,
            "duration_ms": duration_ms,
            "files_changed": len(facts.paths) if facts else None,
            "lines_added": facts.lines_added if facts else None,
            "lines_removed": facts.lines_removed if facts else None,
        },
    }


def _paths(paths: Iterable[str]) -> list[str]:
    kept: list[str] = []
    room = _PATHS_CHARACTERS
    for path in paths:
        room -= min(len(path), _LINE)
        if room < 0 or len(kept) == _PATHS:
            break
        kept.append(clip(path, _LINE))
    return kept
