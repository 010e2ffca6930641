"""The order in which things that depend on each other can be done. Pure; nothing recurses.

A graph maps each key to the keys it waits for. Keys that are waited for but not in the graph are
taken as done.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence

__all__ = ["Graph", "critical_path", "find_cycles", "levels", "linear_order", "waits_for"]

Graph = Mapping[str, Sequence[str]]


def find_cycles(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Cycles, each as its keys in the order of waiting, the first not repeated at the end.

    Every cyclic part of the graph shows at least one; without a cycle the answer is empty.
    """
    cycles: list[tuple[str, ...]] = []
    finished: set[str] = set()
    for root in graph:
        path: list[str] = []
        on_path: dict[str, int] = {}
        stack: list[tuple[str, int]] = [(root, 0)]
        while stack:
            key, at = stack.pop()
            if at == 0:
                if key in finished:
                    continue
                on_path[key] = len(path)
                path.append(key)
            waited = graph[key]
            if at == len(waited):
                path.pop()
                del on_path[key]
                finished.add(key)
                continue
            stack.append((key, at + 1))
            following = waited[at]
            if following in on_path:
                cycles.append(tuple(path[on_path[following] :]))
            elif following in graph and following not in finished:
                stack.append((following, 0))
    return tuple(cycles)


def linear_order(graph: Graph, rank: Mapping[str, int]) -> tuple[str, ...]:
    """Every key after those it waits for; among the free ones the lowest rank first.

    Keys in a cycle, and those behind it, are left out.
    """
    missing = {key: len(set(waited) & graph.keys()) for key, waited in graph.items()}
    waiting = _reversed(graph)
    place = {key: at for at, key in enumerate(graph)}
    free = [(rank[key], place[key], key) for key, count in missing.items() if count == 0]
    heapq.heapify(free)
    order: list[str] = []
    while free:
        *_, key = heapq.heappop(free)
        order.append(key)
        for follower in waiting[key]:
            missing[follower] -= 1
            if missing[follower] == 0:
                heapq.heappush(free, (rank[follower], place[follower], follower))
    return tuple(order)


def levels(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Waves: the keys of a wave wait only for keys of earlier waves. Cyclic keys are left out."""
    depth = _depths(graph)
    waves: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for key in graph:
        if key in depth:
            waves[depth[key]].append(key)
    return tuple(tuple(wave) for wave in waves)


def critical_path(graph: Graph) -> tuple[str, ...]:
    """A longest chain of keys that wait for each other, the first to be done first."""
    depth = _depths(graph)
    if not depth:
        return ()
    key = max(depth, key=lambda key: depth[key])
    path = [key]
    while depth[key]:
        key = next(k for k in graph[key] if depth.get(k, -1) == depth[key] - 1)
        path.append(key)
    return tuple(reversed(path))


def waits_for(graph: Graph, key: str, other: str, *, place: Mapping[str, int]) -> bool:
    """`key` comes after `other` because it waits for it, near or far.

    `place` is where each key stands in a `linear_order`: what stands before `other` cannot wait
    for it, so that the search stays between the two, however long the chains are.
    """
    seen = {key}
    ahead = [key]
    while ahead:
        for waited in graph[ahead.pop()]:
            if waited == other:
                return True
            if waited not in seen and place.get(waited, -1) > place[other]:
                seen.add(waited)
                ahead.append(waited)
    return False


def _depths(graph: Graph) -> dict[str, int]:
    depth: dict[str, int] = {}
    for key in linear_order(graph, dict.fromkeys(graph, 0)):
        depth[key] = max((depth[k] + 1 for k in graph[key] if k in graph), default=0)
    return depth


def _reversed(graph: Graph) -> dict[str, list[str]]:
    waiting: dict[str, list[str]] = {key: [] for key in graph}
    for key, waited in graph.items():
        for other in dict.fromkeys(waited):
            if other in waiting:
                waiting[other].append(key)
    return waiting
