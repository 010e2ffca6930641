"""What a line of the journal says to a person. Pure; outside data in it comes out clean."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from stigmergy.board import Event
from stigmergy.cli.console import amount, clean, clean_lines, duration

__all__ = ["describe"]


def describe(event: Event) -> list[str]:
    """The event in words, mostly one line; none for what nobody wants to read."""
    handler = _EVENTS.get(event.kind)
    return handler(event) if handler else []


def _text(event: Event, name: str) -> str:
    value = event.data.get(name)
    return "" if value is None else clean(str(value))


def _many(event: Event, name: str) -> list[str]:
    value = event.data.get(name)
    return [line for line in clean_lines(value) if line] if isinstance(value, str) else []


def _with(first: str, rest: list[str]) -> list[str]:
    """A heading and the lines that belong to it."""
    if len(rest) <= 1:
        return [": ".join([first, *rest])]
    return [f"{first}:", *(f"  {line}" for line in rest)]


def _posted(event: Event) -> list[str]:
    return [f"posted as {_text(event, 'task_type')}"]


def _claimed(event: Event) -> list[str]:
    return [f"claimed, attempt {_text(event, 'attempt')}"]


def _completed(event: Event) -> list[str]:
    if event.data.get("approved") is True:
        return _with("approved", _many(event, "reason"))
    if commit := _text(event, "commit"):
        batch = _text(event, "batch_size") or "1"
        proof = _text(event, "proof") or "unknown"
        return [f"landed as {commit[:10]} (batch of {batch}, proof: {proof})"]
    if event.data.get("already"):
        return ["nothing to land: the target has all of it already"]
    if handoff := _text(event, "handoff"):
        made = f"handed in as {handoff}, commits: {_text(event, 'commits') or 'unknown'}"
        return _with(made, _many(event, "summary"))
    return ["completed"]


def _failed(event: Event) -> list[str]:
    again = ", tried again" if event.data.get("status") == "pending" else ""
    attempt = _text(event, "attempt")
    which = f"attempt {attempt} failed" if attempt else "failed"
    return _with(f"{which}{again}", _many(event, "error"))


def _expired(event: Event) -> list[str]:
    return _with("lost: the agent fell silent", _many(event, "error"))


def _released(event: Event) -> list[str]:
    lines: list[str] = []
    if commit := _text(event, "commit"):
        lines.append(f"a part landed as {commit[:10]}")
    if returned := _text(event, "returned"):
        fix = _text(event, "fix") or "nobody"
        lines += _with(f"came back ({returned}), {fix} mends it", _many(event, "detail"))
    if not lines:
        lines = _with("given back", _many(event, "reason"))
    return lines


def _reported(event: Event) -> list[str]:
    said = [f"{clean(str(name))} {clean(str(value))}" for name, value in event.data.items()]
    return [f"reports {', '.join(said)}"] if said else []


def _stuck_ended(event: Event) -> list[str]:
    return _with("ended by the monitor", _many(event, "reason"))


def _prioritized(event: Event) -> list[str]:
    return [f"priority {_text(event, 'priority')}, was {_text(event, 'before')}"]


def _cancelled(event: Event) -> list[str]:
    return _with("cancelled", _many(event, "error"))


def _model_call(event: Event) -> list[str]:
    replayed = " (replayed)" if event.data.get("replayed") else ""
    parts = [f"model {_text(event, 'model')}{replayed}"]
    parts.append(f"{_count(event, 'prompt_tokens')} tokens in")
    parts.append(f"{_count(event, 'completion_tokens')} out")
    if error := _text(event, "error"):
        parts.append(f"error: {error}")
    return [", ".join(parts)]


def _count(event: Event, name: str) -> str:
    value = event.data.get(name)
    return amount(value) if isinstance(value, int | float) else "unknown"


def _memory_read(event: Event) -> list[str]:
    keys = event.data.get("keys")
    count = len(cast("list[object]", keys)) if isinstance(keys, list) else "unknown"
    return [f"was told what the memory has in {_text(event, 'namespace')}, entries: {count}"]


def _memory_written(event: Event) -> list[str]:
    return [f"left a {_text(event, 'kind')} at {_text(event, 'namespace')}/{_text(event, 'key')}"]


def _landing(event: Event) -> list[str]:
    return [f"about to land as {_text(event, 'commit')[:10]}"]


def _progress(event: Event) -> list[str]:
    kind = event.data.get("kind")
    handler = _PROGRESS.get(kind) if isinstance(kind, str) else None
    if handler is not None:
        return handler(event)
    # A kind of a later version: what it says is worth more than silence.
    rest = {key: value for key, value in event.data.items() if key != "kind"}
    said = ", ".join(f"{clean(str(key))} {clean(str(value))}" for key, value in rest.items())
    return [f"{clean(str(kind))}: {said}" if said else clean(str(kind))]


def _tool(event: Event) -> list[str]:
    return [f"> {' '.join(part for name in ('name', 'brief') if (part := _text(event, name)))}"]


def _done(event: Event) -> list[str]:
    ok = event.data.get("ok")
    if ok:
        return []  # the next line tells that it went on
    return [f"  {_text(event, 'name')} went wrong{_after(event)}"]


def _after(event: Event) -> str:
    value = event.data.get("duration_ms")
    return f" after {duration(value / 1000)}" if isinstance(value, int | float) else ""


def _retry(event: Event) -> list[str]:
    return [
        f"the model is asked again (attempt {_text(event, 'attempt')}): {_text(event, 'reason')}"
    ]


def _commit(event: Event) -> list[str]:
    return [f"commit: {_text(event, 'message')} ({_text(event, 'paths')} paths)"]


def _end(event: Event) -> list[str]:
    return _with(f"the agent ends: {_text(event, 'status')}", _many(event, "error"))


Words = Callable[[Event], list[str]]
_EVENTS: Final[Mapping[str, Words]] = {
    "posted": _posted,
    "claimed": _claimed,
    "completed": _completed,
    "failed": _failed,
    "expired": _expired,
    "released": _released,
    "cancelled": _cancelled,
    "retried": lambda _: ["begun anew"],
    "reported": _reported,
    "stuck_ended": _stuck_ended,
    "prioritized": _prioritized,
    "landing": _landing,
    "memory_read": _memory_read,
    "memory_written": _memory_written,
    "model_call": _model_call,
    "progress": _progress,
}
_PROGRESS: Final[Mapping[str, Words]] = {
    "start": lambda event: [f"the {_text(event, 'agent')} agent starts"],
    "step": lambda _: [],  # the model's own line follows, with its tokens
    "model": lambda _: [],  # the gateway counts the same call, and is to be trusted
    "retry": _retry,
    "text": lambda event: [f'"{line}"' for line in _many(event, "text")],
    "tool": _tool,
    "done": _done,
    "output": lambda event: [f"| {line}" for line in _many(event, "text")],
    "notice": lambda event: _many(event, "text"),
    "commit": _commit,
    "end": _end,
}
