"""The benchmark of the server in a smaller form: nothing is lost under load, and it would tell."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from bench_server import Load, Seen, measure  # noqa: E402 - lies in benchmarks/


@pytest.mark.slow
def test_a_hundred_workers_and_twenty_streams_lose_nothing(tmp_path: Path) -> None:
    load = Load(workers=100, streams=20, slow=3, tasks=300)
    seen, faults = measure(tmp_path, load)
    assert faults == []
    assert len(seen.waited_s) == 300
    assert sum(seen.completed.values()) == 300


def test_what_is_lost_or_comes_twice_is_told() -> None:
    seen = Seen(load=Load(tasks=2), completed={"a": 2}, streamed=[[1, 2, 3], [1, 3], [1, 2, 2]])
    told = seen.faults(3)
    assert told[0] == "1 of 2 done, 1 twice"
    assert [each.split()[1] for each in told[1:]] == ["1", "2"]
