"""All faults, in the order of the table, and where their boards come from."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from stigmergy.testing.faults.clocks import faked_clocks, faketime_missing, passed_clocks
from stigmergy.testing.faults.crowds import crowd, newcomers, newer_schema
from stigmergy.testing.faults.kills import kills
from stigmergy.testing.faults.steps import steps
from stigmergy.testing.faults.stops import stops
from stigmergy.testing.faults.table import Fault

__all__ = ["FAULTS", "boards", "find"]

_LOCAL: Final = ("sqlite", "files")
_ALL: Final = (*_LOCAL, "postgres")

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(name="kill -9 at random", stores=_ALL, run=kills),
    Fault(name="kill -9 at every step", stores=_LOCAL, run=steps),
    Fault(name="stopped beyond the lease", stores=_ALL, run=stops),
    Fault(name="clocks that jump", stores=_ALL, run=passed_clocks),
    Fault(
        name="clocks that jump, libfaketime",
        stores=_ALL,
        run=faked_clocks,
        missing=faketime_missing,
    ),
    Fault(name="a crowd on one board", stores=_ALL, run=crowd),
    Fault(name="many open a new board", stores=_LOCAL, run=newcomers),
    Fault(name="a newer schema", stores=_LOCAL, run=newer_schema),
)


def find(name: str) -> Fault:
    """The fault of that name."""
    (fault,) = (fault for fault in FAULTS if fault.name == name)
    return fault


@contextmanager
def boards(store: str) -> Generator[tuple[str, str]]:
    """A URL for boards of a store, empty where a folder will do, and why there is none."""
    if store != "postgres":
        yield "", ""
    else:
        yield "", "the store is not part of this version"
