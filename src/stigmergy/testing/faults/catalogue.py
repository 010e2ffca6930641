"""All faults, in the order of the table, and where their boards come from."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from stigmergy.testing.faults.answers import lost_answers
from stigmergy.testing.faults.clocks import faked_clocks, faketime_missing, passed_clocks
from stigmergy.testing.faults.crowds import crowd, newcomers
from stigmergy.testing.faults.damage import damaged_database, damaged_files, damaged_log
from stigmergy.testing.faults.disks import full_disk, read_only_disk, unwritable_folder
from stigmergy.testing.faults.kills import kills
from stigmergy.testing.faults.machine import mount_missing
from stigmergy.testing.faults.networks import bad_network
from stigmergy.testing.faults.powercut import power_cuts, strace_missing
from stigmergy.testing.faults.servers import (
    cut_connections,
    own_server,
    postgres_missing,
    restarted_server,
)
from stigmergy.testing.faults.steps import steps
from stigmergy.testing.faults.stops import stops
from stigmergy.testing.faults.table import Fault
from stigmergy.testing.faults.versions import newer_schema
from stigmergy.testing.faults.wire import wire_missing

__all__ = ["FAULTS", "boards", "find"]

_LOCAL: Final = ("sqlite", "files")
_SERVER: Final = ("postgres",)
_ALL: Final = (*_LOCAL, *_SERVER)

FAULTS: Final[tuple[Fault, ...]] = (
    Fault(name="kill -9 at random", stores=_ALL, run=kills),
    Fault(name="kill -9 at every step", stores=_ALL, run=steps),
    Fault(name="stopped beyond the lease", stores=_ALL, run=stops),
    Fault(name="clocks that jump", stores=_LOCAL, run=passed_clocks),
    Fault(
        name="clocks that jump, libfaketime",
        stores=_ALL,
        run=faked_clocks,
        missing=faketime_missing,
    ),
    Fault(name="a crowd on one board", stores=_ALL, run=crowd),
    Fault(name="many open a new board", stores=_ALL, run=newcomers),
    Fault(name="a newer schema", stores=_ALL, run=newer_schema),
    Fault(name="full disk", stores=_LOCAL, run=full_disk, missing=mount_missing),
    Fault(name="read-only disk", stores=_LOCAL, run=read_only_disk, missing=mount_missing),
    Fault(name="unwritable folder", stores=_LOCAL, run=unwritable_folder),
    Fault(name="damaged task files and journal", stores=("files",), run=damaged_files),
    Fault(name="damaged database page", stores=("sqlite",), run=damaged_database),
    Fault(name="damaged write-ahead log", stores=("sqlite",), run=damaged_log),
    Fault(name="power cut", stores=_LOCAL, run=power_cuts, missing=strace_missing),
    Fault(name="server restarted", stores=_SERVER, run=restarted_server),
    Fault(name="connections cut", stores=_SERVER, run=cut_connections),
    Fault(name="connection lost at every message", stores=_SERVER, run=lost_answers),
    Fault(name="bad network", stores=_SERVER, run=bad_network, missing=wire_missing),
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
    elif (why := postgres_missing()) is not None:
        yield "", why
    else:
        with own_server() as server:
            yield server.create_database("board"), ""
