"""When an item is large enough to be planned again, and what its parts may touch. Pure.

This is the seam of the recursive subplanner: it turns one item into several through the same
`Planner`, and what it makes must pass `find_part_faults`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from stigmergy.coding.plan.globs import is_glob, pattern_contains, pattern_matches
from stigmergy.coding.plan.workitem import Fault, WorkItem, find_faults

__all__ = ["MAX_DEPTH", "MIN_FILES", "find_part_faults", "is_decomposable", "scope_within"]

MIN_FILES: Final = 4
"""An item about fewer files is one agent's work."""
MAX_DEPTH: Final = 3
MAX_PARTS: Final = 10


def is_decomposable(item: WorkItem, *, files: int, depth: int) -> bool:
    """The item may be planned again.

    `files` is how many its scope means, tracked or named; `depth` is 0 for an item of the run's
    own planner.
    """
    return bool(item.scope) and files >= MIN_FILES and depth < MAX_DEPTH


def scope_within(
    inner: Sequence[str], outer: Sequence[str], *, is_folder: Callable[[str], bool]
) -> bool:
    """Whatever `inner` means, `outer` means as well; an empty scope is the whole repository.

    `is_folder` tells of a path without wildcards whether files are tracked below it: one that is
    no folder means itself alone. Patterns that cannot be compared count as outside.
    """
    if not outer:
        return True
    return bool(inner) and all(
        any(_within(pattern, wide, is_folder) for wide in outer) for pattern in inner
    )


def find_part_faults(
    parts: Sequence[WorkItem], parent: WorkItem, *, is_folder: Callable[[str], bool]
) -> tuple[Fault, ...]:
    """Why the parts cannot stand for their parent; empty when they can."""
    faults = list(find_faults(parts, known=(parent.key,)))
    if len(parts) > MAX_PARTS:
        faults.append(Fault(parent.key, "parts", f"has {len(parts)}; at most {MAX_PARTS}"))
    faults += [
        Fault(part.key, "scope", f"is not within the scope of {parent.key!r}")
        for part in parts
        if not scope_within(part.scope, parent.scope, is_folder=is_folder)
    ]
    return tuple(faults)


def _within(inner: str, outer: str, is_folder: Callable[[str], bool]) -> bool:
    if pattern_contains(outer, inner):
        return True
    is_file = not is_glob(inner) and not inner.endswith("/") and not is_folder(inner)
    return is_file and pattern_matches(outer, inner)
