"""Slots as an index of numpy's: mostly they follow on one another, and then a slice is quicker."""

from stigmergy.wasm.engine import Slots

__all__ = ["slot_index"]

_MANY = 256
"""Of fewer, looking takes longer than it saves."""


def slot_index(slots: Slots) -> slice | Slots:
    """Return what selects the rows of these slots: a slice where they follow on one another.

    What is read by it may be a view: copy what is kept, or handed out.
    """
    count = len(slots)
    if count < _MANY:
        return slots
    first = int(slots[0])
    if int(slots[-1]) - first != count - 1 or not (slots[1:] > slots[:-1]).all():
        return slots
    return slice(first, first + count)
