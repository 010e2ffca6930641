"""The wire between two networks does to packets what it is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from stigmergy.testing.faults.machine import inside
from stigmergy.testing.faults.networks import TROUBLES, round_trips


@pytest.mark.needs_network
def test_a_wire_carries_delays_loses_and_parts(tmp_path: Path) -> None:
    told = inside(["net"], round_trips, folder=str(tmp_path))
    assert told.keys() == {"calm", *TROUBLES, "calm again"}
    assert told["calm"] is not None
    assert told["latency"] >= 0.4, "a tenth of a second each way, to connect and to ask"
    assert told["loss"] is not None, "what is lost is sent again"
    assert told["partition"] is told["one way out"] is told["one way in"] is None
    assert told["calm again"] is not None
