"""The fields of one feature in a features file: their names, what each may hold, what is wrong.

Pure. Faults and warnings go into a `Report`, so that one reading finds all of them.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from stigmergy.coding.plan.located_json import Node
from stigmergy.coding.plan.workitem import DEFAULT_PRIORITY, WorkItem

__all__ = ["FIELDS", "Feature", "FeatureFault", "Report"]

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "id": ("id",),
    "title": ("title", "name"),
    "description": ("description",),
    "category": ("category",),
    "priority": ("priority",),
    "status": ("status",),
    "files": ("files", "scope"),
    "acceptance": ("acceptance", "acceptance_criteria"),
    "depends_on": ("depends_on", "dependencies"),
}
"""Each field with all the names it may have in a file."""

PRIORITIES: Final[Mapping[str, int]] = {
    "critical": 1,
    "highest": 1,
    "high": 3,
    "medium": 5,
    "normal": 5,
    "low": 8,
    "lowest": 10,
}
PLANNED: Final = (
    "pending", "todo", "open", "new", "planned", "not_started", "in_progress", "partial",
    "failing", "failed",
)  # fmt: skip
DONE: Final = ("done", "complete", "completed", "passing", "passed", "landed", "closed")

_NAMES: Final = tuple(name for names in FIELDS.values() for name in names)


@dataclass(frozen=True, slots=True)
class FeatureFault:
    """One thing wrong with a features file. Lines and columns count from 1."""

    file: str
    line: int
    column: int
    feature: str | None
    field: str | None
    message: str

    def __str__(self) -> str:
        feature = f"feature {self.feature!r}" if self.feature else None
        name = f"field {self.field!r}" if self.field else None
        about = ", ".join(part for part in (feature, name) if part)
        place = f"{self.file}:{self.line}:{self.column}: "
        return f"{place}{about}: {self.message}" if about else place + self.message


@dataclass(slots=True)
class Report:
    """What one reading of a file found."""

    file: str
    faults: list[FeatureFault] = field(default_factory=list[FeatureFault])
    warnings: list[FeatureFault] = field(default_factory=list[FeatureFault])

    def fault(
        self, node: Node, message: str, *, feature: str | None = None, name: str | None = None
    ) -> None:
        """Note something that keeps the file from being used."""
        self.faults.append(self._at(node, message, feature, name))

    def warn(self, node: Node, message: str, *, feature: str | None, name: str) -> None:
        """Note something that the user should know."""
        self.warnings.append(self._at(node, message, feature, name))

    def _at(self, node: Node, message: str, feature: str | None, name: str | None) -> FeatureFault:
        return FeatureFault(self.file, node.line, node.column, feature, name, message)


class Feature:
    """One object of the file's list, as the fields that stand in it."""

    def __init__(self, node: Node, report: Report) -> None:
        assert node.members is not None
        self.node = node
        self._members = node.members
        self._report = report
        self.key = self._key()
        self._note_odd_names()
        self.is_done = self._is_done()
        self.item = self._make_item()
        """Fields with faults have their defaults in it."""

    def fault(self, name: str, message: str) -> None:
        """Note a fault of a field, at its value, or at the feature when it has no such field."""
        used, node = self._find(name)
        self._report.fault(node or self.node, message, feature=self.key or None, name=used)

    def _make_item(self) -> WorkItem:
        title, description = self._text("title"), self._text("description")
        if not (title or description).strip():
            self.fault("description", "is missing; say in a sentence what is to be done")
        return WorkItem(
            key=self.key,
            title=title or description,
            description=description if title else "",
            scope=self._texts("files"),
            acceptance=self._texts("acceptance", one_is_enough=True),
            depends_on=self._texts("depends_on"),
            priority=self._priority(),
            category=self._text("category"),
        )

    def _find(self, name: str) -> tuple[str, Node | None]:
        """The name that the file uses for a field, and its value."""
        for used in FIELDS[name]:
            if used in self._members:
                return used, self._members[used]
        return name, None

    def _key(self) -> str:
        node = self._members.get("id")
        if node is None:
            self._report.fault(self.node, "is missing; give each feature a unique id", name="id")
        elif not isinstance(node.value, str) or not node.value:
            self._report.fault(node, f"must be a text such as F01, not {node.kind}", name="id")
        else:
            return node.value
        return ""

    def _note_odd_names(self) -> None:
        for used, again in self.node.repeated:
            message = "stands twice in this feature; keep one"
            self._report.fault(again, message, feature=self.key or None, name=used)
        for names in FIELDS.values():
            both = [used for used in names if used in self._members]
            if len(both) > 1:
                self.fault(both[0], f"stands beside {both[1]!r}, which means the same; keep one")
        for used, node in self._members.items():
            if used not in _NAMES:
                near = difflib.get_close_matches(used.lower(), _NAMES, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(FIELDS)}"
                message = f"is not a field of a feature and is ignored; {hint}"
                self._report.warn(node, message, feature=self.key or None, name=used)

    def _is_done(self) -> bool:
        status = self._text("status").strip().lower().replace("-", "_").replace(" ", "_")
        if status and status not in (*PLANNED, *DONE):
            self.fault("status", f"{status!r} is not a status; {_choice(status, PLANNED, DONE)}")
        return status in DONE

    def _priority(self) -> int:
        _, node = self._find("priority")
        value = DEFAULT_PRIORITY if node is None else node.value
        if isinstance(value, str) and value.strip().lower() in PRIORITIES:
            return PRIORITIES[value.strip().lower()]
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 10:
            return value
        wrong = repr(value) if isinstance(value, str) else (node.kind if node else "")
        words = ", ".join(PRIORITIES)
        self.fault("priority", f"must be 1 (most urgent) to 10, or one of {words}; not {wrong}")
        return DEFAULT_PRIORITY

    def _text(self, name: str) -> str:
        used, node = self._find(name)
        if node is None:
            return ""
        if isinstance(node.value, str):
            return node.value
        self._report.fault(node, f"must be a text, not {node.kind}", feature=self.key, name=used)
        return ""

    def _texts(self, name: str, *, one_is_enough: bool = False) -> tuple[str, ...]:
        used, node = self._find(name)
        if node is None:
            return ()
        if one_is_enough and isinstance(node.value, str):
            return (node.value,)
        if node.elements is None:
            hint = "a text or a list of texts" if one_is_enough else "a list of texts"
            self.fault(name, f"must be {hint}, not {node.kind}")
            return ()
        for element in node.elements:
            if not isinstance(element.value, str):
                message = f"must hold texts only, not {element.kind}"
                self._report.fault(element, message, feature=self.key or None, name=used)
        return tuple(e.value for e in node.elements if isinstance(e.value, str))


def _choice(word: str, *choices: Sequence[str]) -> str:
    known = [name for names in choices for name in names]
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
