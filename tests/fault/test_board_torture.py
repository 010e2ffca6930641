"""The fault table in its short form: `make torture` has the long one."""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stigmergy.testing.faults.catalogue import FAULTS, find
from stigmergy.testing.faults.table import Setting

NEEDS = {
    "clocks that jump, libfaketime": pytest.mark.needs_faketime,
    "full disk": pytest.mark.needs_mount,
    "read-only disk": pytest.mark.needs_mount,
    "power cut": pytest.mark.needs_strace,
    "bad network": pytest.mark.needs_network,
}


def rows(*, on_server: bool) -> list[object]:
    """Each fault and store, with the marks of what it needs."""
    return [
        pytest.param(
            fault.name,
            store,
            marks=[NEEDS[fault.name]] if fault.name in NEEDS else [],
            id=f"{fault.name}-{store}",
        )
        for fault in FAULTS
        for store in fault.stores
        if (store == "postgres") == on_server
    ]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not under tmp_path, which is closed to the other users that some faults are about."""
    path = Path(tempfile.mkdtemp(prefix="faults-"))
    yield path
    shutil.rmtree(path)


def run(fault: str, store: str, *, server: str, folder: Path, rng: random.Random) -> None:
    seed = str(rng.randrange(10**6))
    print(f"seed {seed}")
    row = find(fault).run(Setting(store=store, server=server, folder=folder, seed=seed, short=True))
    print(row)
    assert [str(violation) for violation in row.violations] == []
    assert row.injected > 0


@pytest.mark.parametrize(("fault", "store"), rows(on_server=False))
def test_a_fault_breaks_no_promise(
    fault: str, store: str, folder: Path, rng: random.Random
) -> None:
    run(fault, store, server="", folder=folder, rng=rng)


@pytest.mark.needs_postgres
@pytest.mark.parametrize(("fault", "store"), rows(on_server=True))
def test_a_fault_breaks_no_promise_on_a_server(
    fault: str, store: str, folder: Path, rng: random.Random, postgres_url: str
) -> None:
    run(fault, store, server=postgres_url, folder=folder, rng=rng)


def test_every_part_of_the_machine_that_a_fault_needs_is_marked() -> None:
    assert {fault.name for fault in FAULTS if fault.missing() is not None} <= NEEDS.keys()
    assert {"power cut", "full disk"} <= {fault.name for fault in FAULTS}
