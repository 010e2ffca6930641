"""The texts that a planner's model is sent. Pure but for reading this package's own files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from string import Template

from stigmergy.coding.plan.policy import ItemOutcome
from stigmergy.coding.plan.request import PlanRequest
from stigmergy.coding.plan.view import render_view
from stigmergy.coding.plan.workitem import Fault

__all__ = ["faults_prompt", "first_prompt", "follow_up_prompt", "instructions"]

_MAX_LINE_CHARS = 1_000
_MAX_SHOWN = 200


def instructions(guidance: str = "") -> str:
    """What a planner is told about its work once and for all; `guidance` is of its strategy."""
    general = _text("planner.md")
    return f"{general}\n{guidance}\n" if guidance else general


def first_prompt(request: PlanRequest) -> str:
    """Everything: for a new conversation, the run's first or one after a restart."""
    parts = [f"# Objective\n{request.objective.strip()}", render_view(request.view)]
    if request.open or request.ended:
        parts.append("# Items so far\n" + _items(request, request.ended))
    if request.memory:
        parts.append(f"# Notes from the swarm's memory\n{request.memory}")
    parts += [*_scratchpad(request), _sprint(request)]
    return "\n\n".join(parts)


def follow_up_prompt(request: PlanRequest) -> str:
    """Only what is new since the last sprint, and the scratchpad."""
    news = {key: end for key, end in request.ended.items() if key not in request.told}
    parts = [
        f"# Since the last sprint\nThe branch is at commit {request.view.commit[:12]}.",
        _items(request, news),
        *_scratchpad(request),
        _sprint(request),
    ]
    return "\n\n".join(parts)


def faults_prompt(faults: Iterable[Fault]) -> str:
    """What comes back to the model that made a plan with mistakes."""
    lines = [f"- {_line(str(fault))}" for fault in faults]
    shown = "\n".join(lines[:20] + ([f"- … and {len(lines) - 20} more"] if lines[20:] else []))
    return Template(_text("faults.md")).substitute(faults=shown)


def _items(request: PlanRequest, ended: Mapping[str, ItemOutcome]) -> str:
    lines = [_outcome(key, end) for key, end in ended.items()]
    hidden = len(lines) - _MAX_SHOWN
    if hidden > 0:
        lines = [f"({hidden} earlier ones are not shown)", *lines[-_MAX_SHOWN:]]
    if request.open:
        lines.append(f"Still open: {', '.join(sorted(request.open))}.")
    return "\n".join(lines) or "No item has ended."


def _outcome(key: str, end: ItemOutcome) -> str:
    lines = [f"- {key} {end.status}. {end.summary}".rstrip()]
    if end.error:
        lines.append(f"  Error: {end.error}")
    lines += _bullets("Concern", end.concerns)
    lines += _bullets("Suggestion", end.suggestions)
    return "\n".join(map(_line, lines))


def _bullets(name: str, texts: Sequence[str]) -> list[str]:
    return [f"  {name}: {text}" for text in texts[:10]]


def _scratchpad(request: PlanRequest) -> list[str]:
    text = request.scratchpad.render()
    return [f"# Your scratchpad\n{text}"] if text else []


def _sprint(request: PlanRequest) -> str:
    return f"# Sprint {request.sprint}\nPlan at most {request.max_items} items."


def _line(text: str) -> str:
    return text if len(text) <= _MAX_LINE_CHARS else f"{text[:_MAX_LINE_CHARS]} …"


@cache
def _text(name: str) -> str:
    return files("stigmergy.coding.plan").joinpath("prompts", name).read_text(encoding="utf-8")
