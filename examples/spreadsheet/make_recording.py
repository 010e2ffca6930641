"""Compile `conversations/*.md` into `recording.jsonl`; with --check, only see that it is current.

A conversation is the model's side of one task, in Markdown:

    # F01: Cell references          the task id, a colon, anything
    Remarks for the reader.         not in the recording
    ## Turn 0                       one answer of the model, counted from 0
    What it says.
    ### read_file `SPEC.md`         a tool call, see TOOLS

What a tool takes beyond its heading stands below it: the content of `write_file` and the two
texts of `edit_file` in fenced blocks, the message of `commit` and the summary of `finish` as
text, concerns of `finish` as a list. `(fails)` behind the command of `run` says that it is meant
to fail; the tests hold the conversation to that, the recording does not contain it.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CONVERSATIONS = HERE / "conversations"
RECORDING = HERE / "recording.jsonl"
MODEL = "demo-recorded"
HEADER = {
    "recording": 1,
    "label": "spreadsheet demonstration, recorded answers",
    "origin": "written",
    "note": "Written for this demonstration, not captured from a live endpoint.",
}

_TASK = re.compile(r"# (?P<task>[A-Za-z0-9][A-Za-z0-9._-]*): .+")
_CALL = re.compile(r"### (?P<tool>\w+)(?: `(?P<argument>[^`]+)`)?(?P<fails> \(fails\))?")
_FENCE = re.compile(r"(?P<fence>`{3,})\w*")


class ConversationError(Exception):
    """A conversation is not in its form; the message names the file and the place."""


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call."""

    tool: str
    arguments: dict[str, Any]
    fails: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One answer of the model."""

    says: str
    calls: tuple[Call, ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """All answers to one task."""

    task: str
    turns: tuple[Turn, ...]


@dataclass(slots=True)
class _Body:
    """What stands below a heading."""

    heading: str
    text: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)

    @property
    def paragraph(self) -> str:
        """The text as one line, without the lists in it."""
        return " ".join(line for line in self.text if line and not line.startswith("- "))

    @property
    def items(self) -> list[str]:
        return [line.removeprefix("- ") for line in self.text if line.startswith("- ")]


def _write_file(path: str, body: _Body) -> dict[str, Any]:
    (content,) = body.blocks
    return {"path": path, "content": content}


def _edit_file(path: str, body: _Body) -> dict[str, Any]:
    old, new = (block.removesuffix("\n") for block in body.blocks)
    return {"path": path, "old": old, "new": new}


def _finish(status: str, body: _Body) -> dict[str, Any]:
    concerns = {"concerns": body.items} if body.items else {}
    return {"status": status, "summary": body.paragraph, **concerns}


TOOLS: dict[str, Callable[[str, _Body], dict[str, Any]]] = {
    "read_file": lambda path, _: {"path": path},
    "list_files": lambda glob, _: {"glob": glob},
    "search": lambda pattern, _: {"pattern": pattern},
    "write_file": _write_file,
    "edit_file": _edit_file,
    "run": lambda command, _: {"argv": shlex.split(command)},
    "commit": lambda _, body: {"message": body.paragraph},
    "finish": _finish,
}
"""The arguments of each tool, from what stands in its heading and below it."""


def load_conversations(folder: Path = CONVERSATIONS) -> list[Conversation]:
    """The conversations, sorted by task."""
    return [read_conversation(path) for path in sorted(folder.glob("*.md"))]


def read_conversation(path: Path) -> Conversation:
    """The conversation in a file, which must be named after its task."""
    title, *sections = _sections(path)
    match = _TASK.fullmatch(title.heading)
    if match is None or match["task"] != path.stem:
        raise ConversationError(f"{path.name}: must begin with '# {path.stem}: …'")
    turns: list[Turn] = []
    for section in sections:
        if section.heading.startswith("## "):
            if section.heading != f"## Turn {len(turns)}":
                raise ConversationError(f"{path.name}: {section.heading!r} is out of order")
            turns.append(Turn(section.paragraph, ()))
        elif not turns:
            raise ConversationError(f"{path.name}: {section.heading!r} stands before turn 0")
        else:
            turns[-1] = Turn(turns[-1].says, (*turns[-1].calls, _call(section, path)))
    return Conversation(match["task"], tuple(turns))


def _call(section: _Body, path: Path) -> Call:
    match = _CALL.fullmatch(section.heading)
    if match is None or match["tool"] not in TOOLS:
        raise ConversationError(f"{path.name}: {section.heading!r} is not a tool call")
    try:
        arguments = TOOLS[match["tool"]](match["argument"] or "", section)
    except ValueError:
        message = f"{path.name}: {section.heading!r} has {len(section.blocks)} fenced blocks"
        raise ConversationError(message) from None
    return Call(match["tool"], arguments, fails=bool(match["fails"]))


def _sections(path: Path) -> Iterator[_Body]:
    body: _Body | None = None
    lines = iter(path.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if re.match("#{1,3} ", line):
            if body:
                yield body
            body = _Body(line)
        elif body is None:
            raise ConversationError(f"{path.name}: text before the title")
        elif fence := _FENCE.fullmatch(line):
            body.blocks.append(_block(lines, fence["fence"], path))
        else:
            body.text.append(line)
    if body is None:
        raise ConversationError(f"{path.name}: is empty")
    yield body


def _block(lines: Iterator[str], fence: str, path: Path) -> str:
    content: list[str] = []
    for line in lines:
        if line == fence:
            return "".join(f"{each}\n" for each in content)
        content.append(line)
    raise ConversationError(f"{path.name}: a fenced block has no end")


def compile_recording(conversations: list[Conversation]) -> str:
    """The recording as JSON Lines. No model ran, so usage is null: unknown, not nothing."""
    lines = [HEADER]
    for conversation in conversations:
        for number, turn in enumerate(conversation.turns):
            lines.append(_line(conversation.task, number, turn))
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _line(task: str, number: int, turn: Turn) -> dict[str, Any]:
    calls = [
        {
            "id": f"call_{number}_{place}",
            "type": "function",
            "function": {
                "name": call.tool,
                "arguments": json.dumps(call.arguments, ensure_ascii=False),
            },
        }
        for place, call in enumerate(turn.calls)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": turn.says}
    if calls:
        message["tool_calls"] = calls
    return {
        "task": task,
        "turn": number,
        "model": MODEL,
        "response": {
            "message": message,
            "finish_reason": "tool_calls" if calls else "stop",
            "usage": None,
        },
    }


def main(arguments: list[str]) -> int:
    """Write the recording, or with --check compare it; 1 if it is out of date."""
    compiled = compile_recording(load_conversations())
    if arguments == ["--check"]:
        current = RECORDING.exists() and RECORDING.read_text(encoding="utf-8") == compiled
        print("recording.jsonl is current" if current else "recording.jsonl is out of date")
        return 0 if current else 1
    RECORDING.write_text(compiled, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
