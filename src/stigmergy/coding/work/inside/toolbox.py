"""The tools of the `own` agent: what the model is told of them, and calling them.

The names and arguments are fixed: recordings of models call them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from . import process
from .commits import Checkout, GitFailedError
from .files import Files
from .outcome import STATUSES
from .paths import ToolError
from .progress import Progress
from .text import clip, first_line

__all__ = ["FINISH", "TOOLS", "Toolbox", "UnknownToolError", "brief", "check_arguments"]

Json = dict[str, Any]

FINISH = "finish"
_RUN_S = 120
_LONGEST_RUN_S = 1_800

_TEXT: Json = {"type": "string"}
_WHOLE: Json = {"type": "integer", "minimum": 1}
_TEXTS: Json = {"type": "array", "items": {"type": "string"}}


def _tool(name: str, description: str, required: Json, optional: Json | None = None) -> Json:
    parameters = {
        "type": "object",
        "properties": {**required, **(optional or {})},
        "required": list(required),
        "additionalProperties": False,
    }
    function = {"name": name, "description": description, "parameters": parameters}
    return {"type": "function", "function": function}


TOOLS: Sequence[Json] = (
    _tool(
        "read_file",
        "Read a text file, or the lines from start_line to end_line of it (counted from 1).",
        {"path": _TEXT},
        {"start_line": _WHOLE, "end_line": _WHOLE},
    ),
    _tool(
        "write_file",
        "Create a file, or replace the whole of it. Folders are made as needed.",
        {"path": _TEXT, "content": _TEXT},
    ),
    _tool(
        "edit_file",
        "Replace one passage of a file. `old` must occur in it exactly once, white space included.",
        {"path": _TEXT, "old": _TEXT, "new": _TEXT},
    ),
    _tool(
        "list_files",
        "List the repository's files that match a glob such as 'src/**/*.py' (all without one). "
        "What git ignores is left out.",
        {},
        {"glob": _TEXT},
    ),
    _tool(
        "search",
        "Search the files' lines with a regular expression; a glob limits which files.",
        {"pattern": _TEXT},
        {"glob": _TEXT},
    ),
    _tool(
        "run",
        "Run a program in the repository's root and see its output and exit status. There is no "
        "shell: argv is a list such as ['python', '-m', 'pytest', '-q']. It is killed after "
        f"timeout_s seconds ({_RUN_S} unless given), with everything that it started.",
        {"argv": {**_TEXTS, "minItems": 1}},
        {"timeout_s": {"type": "number", "exclusiveMinimum": 0}},
    ),
    _tool(
        "commit",
        "Commit everything that changed so far.",
        {"message": _TEXT},
    ),
    _tool(
        FINISH,
        "End the task. What is uncommitted is committed. complete: done, and checked. partial: "
        "some of it works, the rest is described in concerns. blocked: it cannot be done as asked.",
        {"status": {"type": "string", "enum": list(STATUSES)}, "summary": _TEXT},
        {"concerns": _TEXTS, "suggestions": _TEXTS},
    ),
)

_PARAMETERS: Mapping[str, Json] = {
    tool["function"]["name"]: tool["function"]["parameters"] for tool in TOOLS
}


class UnknownToolError(ToolError):
    """The call cannot be understood: no such tool, or arguments that do not fit it."""


def check_arguments(name: str, arguments: Mapping[str, Any]) -> None:
    """See that a call fits the tool's parameters.

    Raises:
        UnknownToolError: it does not; the text says what would.
    """
    if name not in _PARAMETERS:
        raise UnknownToolError(f"there is no tool {name!r}; there are {', '.join(_PARAMETERS)}")
    parameters = _PARAMETERS[name]
    properties: Mapping[str, Json] = parameters["properties"]
    missing = [key for key in parameters["required"] if key not in arguments]
    if missing:
        raise UnknownToolError(f"{name}: {', '.join(missing)} is missing; it takes {_list(name)}")
    for key, value in arguments.items():
        if key not in properties:
            raise UnknownToolError(f"{name} has no argument {key!r}; it takes {_list(name)}")
        if value is None and key not in parameters["required"]:
            continue  # some models write out what they leave out
        if reason := _misfit(properties[key], value):
            raise UnknownToolError(f"{name}: {key} {reason}")


@dataclass(frozen=True, slots=True)
class Toolbox:
    """The tools on one checkout; `deadline` (of `time.monotonic`) ends what `run` started."""

    checkout: Checkout
    env: Mapping[str, str]
    deadline: float
    progress: Progress

    def call(self, name: str, arguments: Mapping[str, Any]) -> str:
        """The tool's result for the model.

        Raises:
            ToolError: it could not be done; the text says why, for the model.
        """
        check_arguments(name, arguments)
        files = Files(self.checkout)
        get = arguments.get
        tools: Mapping[str, Callable[[], str]] = {
            "read_file": lambda: files.read_file(
                get("path", ""), get("start_line"), get("end_line")
            ),
            "write_file": lambda: files.write_file(get("path", ""), get("content", "")),
            "edit_file": lambda: files.edit_file(get("path", ""), get("old", ""), get("new", "")),
            "list_files": lambda: files.list_files(get("glob")),
            "search": lambda: files.search(get("pattern", ""), get("glob")),
            "run": lambda: self._run(get("argv", []), get("timeout_s")),
            "commit": lambda: self._commit(get("message", "")),
        }
        return tools[name]()

    def _run(self, argv: list[str], timeout_s: float | None) -> str:
        asked = min(float(timeout_s or _RUN_S), _LONGEST_RUN_S)
        limit_s = min(asked, self.deadline - time.monotonic())
        if limit_s <= 0:
            raise ToolError("no time is left for this task")
        # An agent's programs have no business with the model; its token stays with us.
        env = {name: value for name, value in self.env.items() if name != "OPENAI_API_KEY"}
        try:
            ended = process.run(argv, cwd=self.checkout.path, env=env, timeout_s=limit_s)
        except FileNotFoundError:
            raise ToolError(
                f"the program {argv[0]!r} was not found. There is no shell: pipes and '&&' need "
                "argv ['sh', '-c', '…']"
            ) from None
        except (OSError, ValueError) as error:
            raise ToolError(f"{argv[0]!r} could not be started: {error}") from None
        how = f"killed after {limit_s:.0f} s" if ended.timed_out else f"exit status {ended.code}"
        output = ended.output if ended.output.strip() else "(no output)"
        return f"{how}, {ended.duration_s:.1f} s\n{output}"

    def _commit(self, message: str) -> str:
        if not message.strip():
            raise ToolError("the message is empty: say what changed and why")
        try:
            paths = self.checkout.commit(clip(message, 20_000).replace("\0", ""))
        except GitFailedError as error:
            raise ToolError(str(error)) from None
        if not paths:
            return "nothing has changed since the last commit"
        self.progress.tell("commit", message=first_line(message, 200), paths=paths)
        return f"committed {paths} {'path' if paths == 1 else 'paths'}"


def brief(name: str, arguments: Mapping[str, Any]) -> str:
    """A call in a few words, for people."""
    if name == "run":
        argv: Sequence[str] = arguments.get("argv") or ()
        return " ".join(argv)
    keys = ("path", "pattern", "message", "glob", "status")
    return next((str(arguments[key]) for key in keys if arguments.get(key)), "")


def _list(name: str) -> str:
    parameters = _PARAMETERS[name]
    required = set(parameters["required"])
    return ", ".join(key if key in required else f"{key}?" for key in parameters["properties"])


def _misfit(schema: Json, value: object) -> str | None:
    """Why a value does not fit; None when it does. As much of JSON Schema as the tools use."""
    match schema["type"]:
        case "string":
            return _text_misfit(value, schema.get("enum"))
        case "integer":
            whole = isinstance(value, int) and not isinstance(value, bool) and value >= 1
            return None if whole else "must be a whole number from 1"
        case "number":
            number = isinstance(value, int | float) and not isinstance(value, bool) and value > 0
            return None if number else "must be a number above 0"
        case _:
            items = cast("list[object]", value) if isinstance(value, list) else [None]
            if any(_text_misfit(item, None) for item in items):
                return "must be a list of strings, such as ['python', '-m', 'pytest']"
            return "must not be empty" if schema.get("minItems") and not items else None


def _text_misfit(value: object, allowed: Sequence[str] | None) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if value.encode(errors="ignore").decode() != value:
        return "is not valid Unicode text"
    if allowed and value not in allowed:
        return f"must be one of {', '.join(allowed)}"
    return None
