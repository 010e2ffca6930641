"""The plan as the model writes it, and the good items in it. Pure.

The schema is what the model is shown. What it writes is read item by item, so that one bad item
does not cost the others.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from stigmergy.coding.plan.globs import is_glob, pattern_matches, patterns_overlap
from stigmergy.coding.plan.scratchpad import Scratchpad
from stigmergy.coding.plan.workitem import DEFAULT_PRIORITY, Fault, WorkItem, find_faults

__all__ = ["Plan", "PlannedItem", "Sifted", "sift"]

OVERFLOW: Final = "items"
"""The field of a fault that says there were too many items, which is no item's own mistake."""


class PlannedItem(BaseModel):
    """A piece of work for one agent."""

    model_config = ConfigDict(extra="ignore")

    id: str = Field(description="Short and unique, such as F07. Letters, digits, '.', '_', '-'.")
    title: str = Field(description="What is to be done, in one line.")
    description: str = Field(
        default="", description="Everything an agent needs that it cannot look up."
    )
    scope: list[str] = Field(
        default_factory=list[str],
        description="Files or globs it may change, relative to the repository. Name new files.",
    )
    acceptance: list[str] = Field(
        default_factory=list[str], description="What must hold when it is done, each checkable."
    )
    depends_on: list[str] = Field(
        default_factory=list[str], description="Ids of the items that must have landed before."
    )
    priority: int = Field(
        default=DEFAULT_PRIORITY, ge=1, le=10, description="1 is the most urgent."
    )
    category: str = ""
    type: str = Field(
        default="", description="Of the types that you were told of, if any, the one it has."
    )

    def work_item(self) -> WorkItem:
        """As the rest of the program knows it."""
        return WorkItem(
            key=self.id,
            title=self.title,
            description=self.description,
            scope=tuple(self.scope),
            acceptance=tuple(self.acceptance),
            depends_on=tuple(self.depends_on),
            priority=self.priority,
            category=self.category,
            task_type=self.type,
        )


class Plan(BaseModel):
    """One sprint of a plan."""

    model_config = ConfigDict(extra="ignore")

    scratchpad: Scratchpad = Field(default_factory=Scratchpad)
    items: list[PlannedItem] = Field(default_factory=list[PlannedItem])
    done: bool = Field(
        default=False, description="True when the objective is reached and nothing is left to plan."
    )
    reason: str = Field(default="", description="Why it is done, or why there are no items now.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sifted:
    """A sprint's items, and why others of it cannot be used."""

    items: tuple[WorkItem, ...]
    dropped: tuple[Fault, ...]

    @property
    def mistakes(self) -> tuple[Fault, ...]:
        """What the model can mend: not that there were too many."""
        return tuple(fault for fault in self.dropped if fault.field != OVERFLOW)


def sift(
    drafts: Sequence[Any],
    *,
    known: Collection[str] = (),
    failed: Collection[str] = (),
    paths: Collection[str] = (),
    types: Collection[str] = (),
    max_items: int,
) -> Sifted:
    """The items that can be posted as they stand.

    Args:
        drafts: items as JSON values, from a model.
        known: keys that are on the board.
        failed: those of `known` that will never land.
        paths: the tracked files; a glob that means none of them, and no file that an item names,
            is a mistake (a file that is not there yet must be named).
        types: what an item may have as its type; where there are none, it has none.
        max_items: how many may come; the rest is dropped from the end.

    An item that waits for a dropped one is dropped as well.
    """
    items, dropped = _parsed(drafts)
    if not types:
        items = [replace(item, task_type="") for item in items]
    if len(items) > max_items:
        message = f"is beyond the {max_items} items that this sprint may have"
        dropped += [Fault(item.key, OVERFLOW, message) for item in items[max_items:]]
        items = items[:max_items]
    while True:
        named = [pattern for item in items for pattern in item.scope if not is_glob(pattern)]
        faults = [*find_faults(items, known=known)]
        for item in items:
            faults += _failed_dependencies(item, failed)
            faults += _unknown_scopes(item, paths, named)
            faults += _unknown_type(item, types)
        if not faults:
            return Sifted(items=tuple(items), dropped=tuple(dropped))
        dropped += faults
        bad = {fault.key for fault in faults}
        items = [item for item in items if item.key not in bad]


def _parsed(drafts: Sequence[Any]) -> tuple[list[WorkItem], list[Fault]]:
    items: dict[str, WorkItem] = {}
    faults: list[Fault] = []
    for number, draft in enumerate(drafts, 1):
        try:
            item = PlannedItem.model_validate(draft).work_item()
        except ValidationError as error:
            faults.append(_shape_fault(draft, number, error))
            continue
        if item.key in items:
            faults.append(Fault(item.key, "id", "is used twice; the later item is dropped"))
        items.setdefault(item.key, item)
    return list(items.values()), faults


def _shape_fault(draft: Any, number: int, error: ValidationError) -> Fault:
    first = error.errors(include_url=False, include_input=False)[0]
    key = draft.get("id") if isinstance(draft, dict) else None  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] # JSON
    field = ".".join(str(part) for part in first["loc"]) or "item"
    return Fault(key[:100] if isinstance(key, str) else f"#{number}", field, first["msg"])


def _failed_dependencies(item: WorkItem, failed: Collection[str]) -> list[Fault]:
    return [
        Fault(item.key, "depends_on", f"{key!r} has failed and will not land; plan its work anew")
        for key in item.depends_on
        if key in failed
    ]


def _unknown_type(item: WorkItem, types: Collection[str]) -> list[Fault]:
    if not item.task_type or item.task_type in types:
        return []
    return [Fault(item.key, "type", f"{item.task_type[:60]!r} is none of {', '.join(types)}")]


def _unknown_scopes(item: WorkItem, paths: Collection[str], named: Sequence[str]) -> list[Fault]:
    return [
        Fault(item.key, "scope", f"{pattern!r} means no file; name the files that are to be made")
        for pattern in item.scope
        if is_glob(pattern)
        and not any(pattern_matches(pattern, path) for path in paths)
        and not any(patterns_overlap(pattern, path) for path in named)
    ]
