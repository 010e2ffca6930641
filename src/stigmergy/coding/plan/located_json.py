"""JSON with the place of every value, so that a fault in a file can name its line. Pure."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

__all__ = ["JsonSyntaxError", "Node", "parse_located"]

MAX_DEPTH: Final = 100

# Valid JSON only: `json.loads` has judged the text before it is cut up.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s{}\[\]:,"]+', re.DOTALL)


class JsonSyntaxError(ValueError):
    """The text is not JSON; `line` and `column` count from 1."""

    def __init__(self, message: str, *, line: int, column: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column


@dataclass(slots=True)
class Node:
    """A value of a document and where it stands. Lines and columns count from 1."""

    line: int
    column: int
    value: Any = None
    """Of a text, number, boolean or null; the other two are in `members` and `elements`."""
    members: dict[str, Node] | None = None
    """Of an object, the last of those that have the same name."""
    elements: list[Node] | None = None
    """Of a list."""
    repeated: list[tuple[str, Node]] = field(default_factory=list["tuple[str, Node]"])
    """Of an object: names that came again, and what they then stood for."""

    @property
    def kind(self) -> str:
        """What sort of value it is, for a message."""
        match self.value:
            case _ if self.members is not None:
                return "an object"
            case _ if self.elements is not None:
                return "a list"
            case None:
                return "null"
            case bool():
                return str(self.value).lower()
            case str():
                return "a text"
            case _:
                return f"the number {self.value}"


def parse_located(text: str) -> Node:
    """The document's root.

    Raises:
        JsonSyntaxError: it is not JSON, has NaN or Infinity, or is nested deeper than `MAX_DEPTH`.
    """
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise JsonSyntaxError(error.msg, line=error.lineno, column=error.colno) from None
    except RecursionError:
        raise JsonSyntaxError("nested too deeply", line=1, column=1) from None
    except ValueError as error:  # a constant, or a number with too many digits
        raise JsonSyntaxError(str(error), line=1, column=1) from None
    return _build(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _build(text: str) -> Node:
    root = Node(1, 1, elements=[])  # holds the document as its only element
    opened = [root]
    name: str | None = None
    for word, line, column in _tokens(text):
        container = opened[-1]
        if word in ("}", "]"):
            opened.pop()
        elif word in (",", ":"):
            continue
        elif container.members is not None and name is None:
            name = json.loads(word)
        else:
            node = _node(word, line, column)
            _put(container, name, node)
            name = None
            if word in ("{", "["):
                opened.append(node)
            if len(opened) > MAX_DEPTH:
                raise JsonSyntaxError("nested too deeply", line=line, column=column)
    assert root.elements
    return root.elements[0]


def _tokens(text: str) -> Iterator[tuple[str, int, int]]:
    starts = [0, *(found.end() for found in re.finditer("\n", text))]
    for token in _TOKEN.finditer(text):
        line = bisect.bisect_right(starts, token.start())
        yield token.group(), line, token.start() - starts[line - 1] + 1


def _node(word: str, line: int, column: int) -> Node:
    if word == "{":
        return Node(line, column, members={})
    if word == "[":
        return Node(line, column, elements=[])
    return Node(line, column, value=json.loads(word))


def _put(container: Node, name: str | None, node: Node) -> None:
    if container.elements is not None:
        container.elements.append(node)
        return
    assert container.members is not None
    assert name is not None
    if name in container.members:
        container.repeated.append((name, node))
    container.members[name] = node
