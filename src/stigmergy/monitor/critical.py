"""The critical path: the longest chain of unfinished tasks that wait for one another. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

__all__ = ["critical_path"]


def critical_path(
    needs: Mapping[str, Iterable[str]], duration_s: Callable[[str], float]
) -> tuple[str, ...]:
    """The chain that takes longest, from what can begin now to what ends last.

    Ties go to the name that sorts first. A chain of one task is none. What is on a cycle, which a
    board refuses but a journal by hand may hold, is left out.

    Args:
        needs: under each unfinished task, the tasks that it waits for; others are ignored.
        duration_s: how long a task takes, as far as that is known; above 0.
    """
    known = {name: [n for n in needed if n in needs] for name, needed in needs.items()}
    waiting = {name: len(needed) for name, needed in known.items()}
    after: dict[str, list[str]] = {name: [] for name in known}
    for name, needed in known.items():
        for other in needed:
            after[other].append(name)
    ends: dict[str, tuple[float, str | None]] = {}
    ready = sorted(name for name, count in waiting.items() if count == 0)
    for name in ready:  # grows as it goes
        before = [(ends[other][0], other) for other in sorted(known[name])]
        # Of equals, the first is taken.
        so_far, last = max(before, key=lambda end: end[0], default=(0.0, None))
        ends[name] = so_far + duration_s(name), last
        for follower in after[name]:
            waiting[follower] -= 1
            if waiting[follower] == 0:
                ready.append(follower)
    if not ends:
        return ()
    name = min(ends, key=lambda each: (-ends[each][0], each))
    path: list[str] = []
    step: str | None = name
    while step is not None:
        path.append(step)
        step = ends[step][1]
    return tuple(reversed(path)) if len(path) > 1 else ()
