"""How the slots of a cohort are spread over windows, each a set of buffers of a bounded size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from stigmergy.wasm.engine import Slots

__all__ = ["Part", "Window", "next_stride", "runs_of", "split", "widest_stride"]

_GROWTH = 8
"""A cohort that grows bit by bit grows by at least this part of it, so that windows stay few."""


@dataclass(slots=True)
class Window:
    """The buffers of `stride` slots, the first of which is the cohort's slot `base`."""

    base: int
    stride: int
    state: Any
    memory: Any
    output: Any
    mail: Any
    agents: Any
    parameters: Any
    listed: npt.NDArray[np.uint32] | None = None
    """What the buffer `agents` holds."""
    bound: dict[int, Any] = field(default_factory=dict[int, Any])
    """Its buffers, bound to a shader, by the shader's number."""


@dataclass(frozen=True, slots=True)
class Part:
    """Those of some slots that are in one window."""

    window: Window
    local: Slots
    """Which of the window's, ascending."""
    positions: npt.NDArray[np.int64] | slice
    """Where they are among the slots that were asked for."""

    @property
    def span(self) -> tuple[int, int]:
        """The first slot of the window that is meant, and the one after the last."""
        return int(self.local[0]), int(self.local[-1]) + 1

    @property
    def whole(self) -> bool:
        """Whether the slots are all that lie in the span."""
        first, end = self.span
        return end - first == len(self.local)


def widest_stride(words: Sequence[int], *, binding_bytes: int, block: int) -> int:
    """Return how many agents fit a window, a multiple of the block; 0 if not one block does.

    `words` are an agent's in each buffer of a window.
    """
    return binding_bytes // (max(words) * 4) // block * block


def next_stride(capacity: int, wanted: int, *, widest: int, block: int) -> int:
    """Return the stride of the window that is added to a cohort that is too small."""
    missing = max(wanted - capacity, capacity // _GROWTH)
    return min(widest, -(-missing // block) * block)


def split(slots: Slots, windows: Sequence[Window]) -> Iterator[Part]:
    """Divide slots among windows."""
    if not len(slots):
        return
    order: npt.NDArray[np.int64] | None = None
    if len(slots) > 1 and not bool((slots[1:] > slots[:-1]).all()):
        order = np.argsort(slots, kind="stable")
        slots = slots[order]
    bases = np.array([window.base for window in windows], dtype=np.int64)
    bounds = np.append(np.searchsorted(slots, bases), len(slots))
    for number, window in enumerate(windows):
        start, end = int(bounds[number]), int(bounds[number + 1])
        if start < end:
            local = slots[start:end] - window.base
            yield Part(window, local, slice(start, end) if order is None else order[start:end])


def runs_of(ascending: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the runs of numbers that follow on one another, each by its first and its end."""
    if not len(ascending):
        return []
    breaks = np.flatnonzero(ascending[1:] != ascending[:-1] + 1)
    firsts = ascending[np.concatenate(([0], breaks + 1))]
    lasts = ascending[np.concatenate((breaks, [len(ascending) - 1]))]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]
