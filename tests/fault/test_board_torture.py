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
ALL_ROWS = [(fault.name, store) for fault in FAULTS for store in fault.stores]


def marked(fault: str, store: str) -> object:
    marks = [NEEDS[fault]] if fault in NEEDS else []
    if store == "postgres":
        marks.append(pytest.mark.needs_postgres)
    return pytest.param(fault, store, marks=marks, id=f"{fault}-{store}")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not under tmp_path, which is closed to the other users that some faults are about."""
    path = Path(tempfile.mkdtemp(prefix="faults-"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize(("fault", "store"), [marked(*row) for row in ALL_ROWS])
def test_a_fault_breaks_no_promise(
    fault: str, store: str, folder: Path, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    seed = str(rng.randrange(10**6))
    print(f"seed {seed}")
    server = request.getfixturevalue("postgres_url") if store == "postgres" else ""
    row = find(fault).run(Setting(store=store, server=server, folder=folder, seed=seed, short=True))
    print(row)
    assert [str(violation) for violation in row.violations] == []
    assert row.injected > 0


def test_every_part_of_the_machine_that_a_fault_needs_is_marked() -> None:
    assert {fault.name for fault in FAULTS if fault.missing() is not None} <= NEEDS.keys()
    assert {"power cut", "full disk"} <= {fault.name for fault in FAULTS}
