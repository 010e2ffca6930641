"""Which candidates are gated together, and who is to blame when the gate is red. Pure.

A batch takes candidates in order of (priority, time ready), preferring changes that touch
different files. Its size is a window that grows by one on green and halves on red, as Zuul's.
A red batch is bisected; a single red candidate is gated once more, and then rejected.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Bisection", "Candidate", "Probe", "Window", "choose_batch", "in_order"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A branch that wants to land."""

    task_id: str
    commit: str
    """The branch's tip, a full object id."""
    base: str
    """The commit its sandbox started from."""
    priority: int = 5
    """1 is highest."""
    ready_at: float = 0.0
    """Unix time; among equal priorities the earlier goes first."""
    files: frozenset[str] = frozenset()
    """The paths it touches, as far as known; empty is taken to overlap nothing."""
    ref: str | None = None
    """The ref that holds the branch; the fast-forward strategy moves it when it rebases."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """How many candidates are gated together."""

    size: int = 16
    floor: int = 1
    ceiling: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.floor <= self.size <= self.ceiling:
            raise ValueError(
                f"a window needs 1 <= floor <= size <= ceiling, not "
                f"{self.floor}, {self.size}, {self.ceiling}."
            )

    def after(self, *, green: bool) -> Window:
        """The window after a batch: one more on green, half on red."""
        if green:
            return replace(self, size=min(self.size + 1, self.ceiling))
        return replace(self, size=max(self.size // 2, self.floor))


def in_order(candidates: Iterable[Candidate]) -> list[Candidate]:
    """By priority, then by time ready; the id decides between equals."""
    return sorted(candidates, key=lambda one: (one.priority, one.ready_at, one.task_id))


def choose_batch(candidates: Iterable[Candidate], *, size: int) -> list[Candidate]:
    """Up to `size` candidates, in landing order.

    No candidate is passed over for one of a lower priority. Within a priority those that touch
    other files than the batch does come first; the first in order is always taken, so none
    starves.
    """
    chosen: list[Candidate] = []
    touched: set[str] = set()
    ordered = in_order(candidates)
    for priority in sorted({one.priority for one in ordered}):
        level = [one for one in ordered if one.priority == priority]
        overlapping: list[Candidate] = []
        for one in level:
            if touched.isdisjoint(one.files) and len(chosen) < size:
                chosen.append(one)
                touched |= one.files
            else:
                overlapping.append(one)
        chosen += overlapping[: size - len(chosen)]
        touched.update(*(one.files for one in overlapping))
    return in_order(chosen)


@dataclass(frozen=True, slots=True)
class _Group:
    members: tuple[str, ...]
    red: bool = False
    """It was seen red on the tip that it would be gated on next."""
    red_if_green: bool = False
    """Red follows without a gate run, should the group before it turn out green: the two
    together were red, on the same tip."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The next thing to gate: these candidates, stacked in this order on the target's tip."""

    members: tuple[str, ...]
    retry: bool
    """A single candidate that was red already; red again rejects it, green makes it flaky."""


@dataclass(frozen=True, slots=True)
class Bisection:
    """The search for what makes a batch red, as a value.

    The caller gates `probe`, lands its members when green (the next probe is stacked on them),
    and reports. It ends when `probe` is None: by then each member was landed or rejected. With k
    candidates at fault among n it takes at most k·(2·log2(n) + 2) + 1 gate runs.
    """

    _groups: tuple[_Group, ...]

    @classmethod
    def of_red(cls, members: Sequence[str]) -> Bisection:
        """The start: `members`, stacked in this order, were red."""
        return cls(_split(_Group(tuple(members), red=True)))

    @property
    def probe(self) -> Probe | None:
        """What to gate next, or None at the end."""
        if not self._groups:
            return None
        first = self._groups[0]
        return Probe(first.members, retry=first.red)

    @property
    def members(self) -> tuple[str, ...]:
        """All that are not decided yet, in order."""
        return tuple(member for group in self._groups for member in group.members)

    def green(self) -> Bisection:
        """The probe was green, and its members have landed."""
        rest = self._groups[1:]
        if rest and rest[0].red_if_green:
            known = _Group(rest[0].members, red=True)
            rest = (*_split(known), *rest[1:])
        return Bisection(rest)

    def red(self) -> tuple[Bisection, str | None]:
        """The probe was red; the second value is the candidate that this rejects, if any."""
        first, *rest = self._groups
        # What follows was red only together with this group, of which not all will land.
        unknown = tuple(replace(group, red_if_green=False) for group in rest[:1])
        after = (*unknown, *rest[1:])
        if len(first.members) == 1 and first.red:
            return Bisection(after), first.members[0]
        return Bisection((*_split(replace(first, red=True)), *after)), None

    def without(self, gone: Iterable[str]) -> Bisection:
        """The search without some members: they no longer stack, and are decided elsewhere."""
        out = set(gone)
        kept = (tuple(m for m in group.members if m not in out) for group in self._groups)
        return Bisection(tuple(_Group(members) for members in kept if members))


def _split(group: _Group) -> tuple[_Group, ...]:
    """The halves of a group known to be red; a single candidate stays whole, to be retried."""
    if len(group.members) == 1:
        return (group,)
    middle = len(group.members) // 2
    return (
        _Group(group.members[:middle]),
        _Group(group.members[middle:], red_if_green=True),
    )
