"""The `command` agent: any program, run once on the task.

Its exit status decides: 0 is complete, anything else has failed. What it left in the checkout is
committed by the program that called us.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from . import process
from .outcome import Counted, Outcome, interrupted
from .progress import Progress
from .text import clip

__all__ = ["PLACEHOLDERS", "BadCommandError", "Values", "expand", "work"]

PLACEHOLDERS = ("path", "task", "description", "prompt")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(PLACEHOLDERS) + r")\}")
_TAIL_BYTES = 16_384


class BadCommandError(Exception):
    """The command cannot be used as it is written; the text says how to write it."""


class Values(NamedTuple):
    """What stands for the placeholders."""

    path: str
    """The first path or glob of the task's scope; `.` without one."""
    task: str
    """The path of `task.json`."""
    description: str
    prompt: str
    """The whole task as a text for an agent: description, scope, acceptance, context."""


def expand(argv: Sequence[str], values: Values) -> list[str]:
    """`argv` with its placeholders replaced. Each stays within its own argument.

    What a task says never becomes a program's name or an option of it: a value that would start
    an argument with `-` gets a space before it, a path `./`.
    """
    if _PLACEHOLDER.search(argv[0]):
        raise BadCommandError(f"the program itself cannot come from the task: {argv[0]!r}")
    texts = values._asdict() | {"path": _safe_path(values.path)}
    return [argv[0], *(_replace(argument, texts) for argument in argv[1:])]


def work(
    agent: Mapping[str, object],
    values: Values,
    *,
    repo: str,
    env: Mapping[str, str],
    progress: Progress,
    counted: Counted,
) -> Outcome:
    """Run the agent's command and say how it ended."""
    argv = [str(part) for part in _list(agent.get("argv"))]
    wall_s = float(str(agent.get("wall_s", 1800.0)))
    try:
        line, environment = _command(argv, values, env, shell=agent.get("shell") is True)
    except BadCommandError as error:
        return Outcome("failed", error=str(error))
    progress.tell("tool", name="command", brief=" ".join(argv))
    counted.tool_calls = 1
    try:
        ended = process.run(
            line,
            cwd=repo,
            env=environment,
            timeout_s=wall_s,
            head_bytes=0,
            tail_bytes=_TAIL_BYTES,
            on_line=progress.output,
        )
    except OSError as error:
        return _not_started(argv[0], error, environment.get("PATH", ""))
    passed = ended.code == 0 and not ended.timed_out
    progress.tell("done", name="command", ok=passed, duration_ms=int(ended.duration_s * 1000))
    return _outcome(ended, wall_s)


def _command(
    argv: Sequence[str], values: Values, env: Mapping[str, str], *, shell: bool
) -> tuple[list[str], dict[str, str]]:
    if not argv:
        raise BadCommandError("the command is empty")
    named = {f"STIG_{name.upper()}": _plain(text) for name, text in values._asdict().items()}
    if not shell:
        # The texts are left out: they would only make a long task's environment too large.
        few = {name: named[name] for name in ("STIG_PATH", "STIG_TASK")}
        return expand(argv, values), {**env, **few}
    if found := _PLACEHOLDER.search(argv[0]):
        raise BadCommandError(
            f'write "$STIG_{found[1].upper()}" (in double quotes) for {found[0]} in a shell '
            "command: what a task says must not become shell text"
        )
    return ["/bin/sh", "-c", argv[0], "sh", *argv[1:]], {**env, **named}


def _replace(argument: str, texts: Mapping[str, str]) -> str:
    replaced = _PLACEHOLDER.sub(lambda found: _plain(texts[found[1]]), argument)
    became_option = replaced.startswith("-") and not argument.startswith("-")
    return " " + replaced if became_option else replaced


def _safe_path(path: str) -> str:
    return f"./{path}" if path.startswith("-") else path


def _plain(text: str) -> str:
    """Neither an argument nor a variable can hold a NUL."""
    return text.replace("\0", "")


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType] - JSON


def _outcome(ended: process.Ended, wall_s: float) -> Outcome:
    output = ended.output.strip()
    if ended.timed_out:
        return interrupted(f"time limit: killed after {wall_s:g} s", summary=output)._replace(
            exit_code=ended.code
        )
    if ended.code == 0:
        return Outcome("complete", output, exit_code=0)
    reason = f"the command ended with {ended.code}"
    if ended.code == 127:
        reason += " (a program that it calls was not found)"
    elif ended.code < 0:
        reason += f" (killed by signal {-ended.code})"
    error = f"{reason}:\n{output}" if output else f"{reason} and printed nothing"
    return Outcome("failed", error=error, exit_code=ended.code)


def _not_started(program: str, error: OSError, path: str) -> Outcome:
    if isinstance(error, FileNotFoundError) and not os.path.isabs(program):
        text = f"the program {program!r} was not found in the sandbox; PATH is {clip(path, 1_000)}"
    else:
        text = f"the program {program!r} could not be started: {error.strerror or error}"
    return Outcome("failed", error=text, exit_code=127)
