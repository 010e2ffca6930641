"""A piece of work before it stands on the board, and what must hold of a set of them. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from stigmergy.coding.plan.globs import pattern_fault
from stigmergy.coding.plan.graph import find_cycles
from stigmergy.errors import UsageError

__all__ = [
    "DEFAULT_PRIORITY",
    "MAX_KEY_CHARS",
    "Fault",
    "InvalidPlanError",
    "WorkItem",
    "check_items",
    "find_faults",
    "key_fault",
]

MAX_KEY_CHARS: Final = 100
"""The board takes 128; the rest is for the tasks made from an item (`F07.land`, `F07.fix12`)."""
DEFAULT_PRIORITY: Final = 5
MAX_SHOWN: Final = 20

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_RESERVED = re.compile(r".*\.(?:land|fix\d*|approval\d*)|sweep\d*|plan(?:[.-]\d+)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """One piece of work: a feature, a file to change, a step of a model's plan."""

    key: str
    """The id of its task on the board; safe as a file name and in a ref."""
    title: str
    description: str = ""
    scope: tuple[str, ...] = ()
    """Paths or globs that it is about (see `globs`); empty is the whole repository."""
    acceptance: tuple[str, ...] = ()
    """What must hold when it is done, one sentence each."""
    depends_on: tuple[str, ...] = ()
    """Keys of the items that must have landed before it starts."""
    priority: int = DEFAULT_PRIORITY
    """1 is the most urgent, 10 the least."""
    category: str = ""
    task_type: str = ""
    """What its task is on the board, of the hive's strategy; empty is `code`."""

    @property
    def brief(self) -> str:
        """Title and description as one text, for the agent that does it."""
        return "\n\n".join(part for part in (self.title, self.description) if part)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with one field of one item."""

    key: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"item {self.key!r}, field {self.field!r}: {self.message}"


class InvalidPlanError(UsageError):
    """A set of work items cannot be done as it stands; `faults` has every reason."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        shown = [f"  {fault}" for fault in self.faults[:MAX_SHOWN]]
        if len(self.faults) > MAX_SHOWN:
            shown.append(f"  … and {len(self.faults) - MAX_SHOWN} more")
        super().__init__("\n".join([f"The plan has {_count(len(self.faults))}:", *shown]))


def _count(faults: int) -> str:
    return "a fault" if faults == 1 else f"{faults} faults"


def check_items(items: Sequence[WorkItem], *, known: Collection[str] = ()) -> None:
    """See that the items can be posted.

    Raises:
        InvalidPlanError: they cannot; see `find_faults`.
    """
    faults = find_faults(items, known=known)
    if faults:
        raise InvalidPlanError(faults)


def find_faults(items: Sequence[WorkItem], *, known: Collection[str] = ()) -> tuple[Fault, ...]:
    """Everything that keeps the items from being posted.

    `known` are keys that are on the board already: they may be waited for, not be used again.
    """
    earlier = frozenset(known)
    keys = earlier.union(item.key for item in items)
    taken = Counter(item.key for item in items)
    faults: list[Fault] = []
    for item in items:
        faults += [Fault(item.key, *fault) for fault in _own_faults(item)]
        if item.key in earlier:
            faults.append(Fault(item.key, "id", "is used by an earlier item; choose another"))
        faults += _dependency_faults(item, keys)
    faults += [
        Fault(key, "id", f"is used by {count} items; ids must be unique")
        for key, count in taken.items()
        if count > 1
    ]
    graph = {item.key: item.depends_on for item in items}
    faults += [_cycle_fault(cycle) for cycle in find_cycles(graph) if len(cycle) > 1]
    return tuple(faults)


def key_fault(key: str) -> str | None:
    """Why `key` cannot be an item's key, or None when it can."""
    if _KEY.fullmatch(key) is None:
        return (
            f"{key[:60]!r} is not an id: start with a letter or a digit, "
            "go on with letters, digits, '.', '_' or '-'"
        )
    if len(key) > MAX_KEY_CHARS:
        return f"has {len(key)} characters; at most {MAX_KEY_CHARS} are allowed"
    # What git refuses in a ref, although each character is allowed.
    if ".." in key or key.endswith((".", ".lock")):
        return f"{key!r} cannot be part of a git ref: no '..', no '.' or '.lock' at the end"
    if _RESERVED.fullmatch(key):
        return f"{key!r} is kept for the tasks of the run itself (F1.land, F1.fix1, sweep1, plan)"
    return None


def _own_faults(item: WorkItem) -> Iterator[tuple[str, str]]:
    if (fault := key_fault(item.key)) is not None:
        yield "id", fault
    if not item.brief.strip():
        yield "description", "is empty; say what is to be done"
    if not 1 <= item.priority <= 10:
        yield "priority", f"{item.priority} is not between 1 (most urgent) and 10"
    for pattern in item.scope:
        if (fault := pattern_fault(pattern)) is not None:
            yield "scope", f"{pattern[:80]!r} {fault}"


def _dependency_faults(item: WorkItem, keys: Collection[str]) -> Iterable[Fault]:
    for other in item.depends_on:
        if other == item.key:
            yield Fault(item.key, "depends_on", f"{other!r} waits for itself")
        elif other not in keys:
            yield Fault(item.key, "depends_on", f"{other!r} is not an item of this plan")


def _cycle_fault(cycle: tuple[str, ...]) -> Fault:
    path = " → ".join((*cycle, cycle[0]))
    return Fault(cycle[0], "depends_on", f"these items wait for each other: {path}")
