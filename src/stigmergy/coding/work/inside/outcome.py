"""How an agent's work ended, and the document that says so (`result.json`). Pure.

The fields of the document are those of `stigmergy.coding.work.handoff.Handoff`; its bounds are
kept here, so that a long summary is cut and never costs a finished piece of work.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from .commits import Facts
from .text import clip, clip_middle

__all__ = ["STATUSES", "Counted", "Outcome", "document", "encoded", "interrupted"]

STATUSES = ("complete", "partial", "blocked")
"""What an agent can claim; `failed` is decided by the runner."""

# Characters. A character is at most four bytes of JSON, so a result stays below the MiB that a
# handoff may have.
_TEXT = 20_000
_LINE = 500
_LINES = 50
_PATHS = 10_000
_PATHS_TOGETHER = 100_000

_CONTROLS = {code: "\N{REPLACEMENT CHARACTER}" for code in range(32) if chr(code) not in "\n\t"}
"""JSON would write each of them in six bytes, and no terminal should be sent them."""


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
        "summary": clip_middle(_plain(outcome.summary), _TEXT),
        "changes": _paths(facts.paths if facts else ()),
        "concerns": [clip(_plain(line), _LINE) for line in outcome.concerns[:_LINES]],
        "suggestions": [clip(_plain(line), _LINE) for line in outcome.suggestions[:_LINES]],
        "commits": facts.commits if facts else 0,
        "exit_code": outcome.exit_code,
        "error": None if outcome.error is None else clip_middle(_plain(outcome.error), _TEXT),
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


def encoded(result: Mapping[str, object]) -> bytes:
    """The bytes of `result.json`."""
    return json.dumps(result, ensure_ascii=False).encode()


def _paths(paths: Iterable[str]) -> list[str]:
    kept: list[str] = []
    room = _PATHS_TOGETHER
    for path in paths:
        shown = clip(_plain(path), _LINE)
        room -= len(shown)
        if room < 0 or len(kept) == _PATHS:
            break
        kept.append(shown)
    return kept


def _plain(text: str) -> str:
    return text.translate(_CONTROLS).encode(errors="replace").decode()
