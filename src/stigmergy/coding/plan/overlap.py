"""Items that may run at the same time and touch the same files: who, where, and how to order them.

Pure. An item without a scope says nothing about its files, so nothing is said about it here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

from stigmergy.coding.plan.globs import is_glob, patterns_overlap
from stigmergy.coding.plan.graph import Graph, linear_order, waits_for
from stigmergy.coding.plan.workitem import WorkItem

__all__ = ["Overlap", "find_overlaps", "serialise_overlaps"]


@dataclass(frozen=True, slots=True)
class Overlap:
    """Items whose scopes meet although nothing orders all of them.

    `scopes` is the one pattern that they share, or the two that meet. `keys` are in the order in
    which the items would be done one after another.
    """

    scopes: tuple[str, ...]
    keys: tuple[str, ...]

    def __str__(self) -> str:
        where = " and ".join(repr(scope) for scope in self.scopes)
        shown = ", ".join(self.keys[:6]) + (" …" if len(self.keys) > 6 else "")
        return f"{len(self.keys)} items may change {where} at the same time: {shown}"


def find_overlaps(items: Sequence[WorkItem]) -> tuple[Overlap, ...]:
    """Where items that nothing orders may change the same file. The items must be valid."""
    graph = _graph(items)
    place = _places(items, graph)
    return tuple(
        overlap
        for overlap in _meetings(items, place)
        if any(
            not waits_for(graph, later, earlier, place=place)
            for earlier, later in pairwise(overlap.keys)
        )
    )


def serialise_overlaps(items: Sequence[WorkItem]) -> tuple[WorkItem, ...]:
    """The items with dependencies added, so that those whose scopes meet come one by one.

    The order keeps the dependencies there are, then goes by priority, then by place; every added
    dependency points backwards in that one order, so no cycle can arise.
    """
    graph = _graph(items)
    place = _places(items, graph)
    added: dict[str, list[str]] = defaultdict(list)
    for overlap in _meetings(items, place):
        for earlier, later in pairwise(overlap.keys):
            if not waits_for(graph, later, earlier, place=place):
                added[later].append(earlier)
    return tuple(
        replace(item, depends_on=tuple(dict.fromkeys((*item.depends_on, *added[item.key]))))
        for item in items
    )


def _graph(items: Sequence[WorkItem]) -> Graph:
    return {item.key: item.depends_on for item in items}


def _places(items: Sequence[WorkItem], graph: Graph) -> Mapping[str, int]:
    """Where each item stands when all are done one after another."""
    order = linear_order(graph, {item.key: item.priority for item in items})
    return {key: at for at, key in enumerate(order)}


def _meetings(items: Sequence[WorkItem], place: Mapping[str, int]) -> Iterator[Overlap]:
    """Every pattern held by several items, and every two patterns that meet."""
    holders: dict[str, list[str]] = defaultdict(list)
    for item in items:
        for pattern in dict.fromkeys(pattern.removesuffix("/") for pattern in item.scope):
            holders[pattern].append(item.key)
    for pattern, keys in holders.items():
        if len(keys) > 1:
            yield Overlap((pattern,), tuple(sorted(keys, key=place.__getitem__)))
    for one, other in _meeting_patterns(tuple(holders)):
        keys = {*holders[one], *holders[other]}
        if len(keys) > 1:
            yield Overlap((one, other), tuple(sorted(keys, key=place.__getitem__)))


def _meeting_patterns(patterns: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Different patterns that meet."""
    # Two plain paths meet only when one is a folder of the other: looked up, not compared in pairs.
    globs = [pattern for pattern in patterns if is_glob(pattern)]
    plain = {pattern for pattern in patterns if not is_glob(pattern)}
    for path in sorted(plain):
        parts = path.split("/")
        for end in range(1, len(parts)):
            if (folder := "/".join(parts[:end])) in plain:
                yield folder, path
        for glob in globs:
            if patterns_overlap(path, glob):
                yield path, glob
    for one, other in combinations(globs, 2):
        if patterns_overlap(one, other):
            yield one, other
