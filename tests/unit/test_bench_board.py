"""The comparison of the board with other queues counts right, and never invents a number."""

from __future__ import annotations

import json
import multiprocessing
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "benchmarks"))

from board import peers  # noqa: E402 - lies in benchmarks/, found by the line above
from board.bench import QUICK, Bench  # noqa: E402 - likewise
from board.crew import Outcome, percentile, run_crew  # noqa: E402 - likewise
from board.peers.peer import Work  # noqa: E402 - likewise
from board.report import Report  # noqa: E402 - likewise


@pytest.fixture(scope="module", autouse=True)
def shared_memory() -> Iterator[None]:
    """Opened before any test: multiprocessing keeps what it maps for the whole process."""
    kept = multiprocessing.get_context("spawn").Value("q", 0)
    yield
    del kept


def test_what_was_not_measured_is_shown_as_such_and_never_as_zero(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = Report()
    report.add("s", "one", "rate", [None], "/s")
    report.add("s", "two", "rate", [30.0, 10.0, 20.0], "/s", note="stopped early")
    report.show("s")
    shown = capsys.readouterr().out
    assert "one  not measured" in shown
    assert "20*" in shown
    assert "* two, rate: stopped early" in shown
    report.write(tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert [figure["value"] for figure in figures] == [None, 20.0]


def test_a_rate_runs_from_the_first_begin_to_the_last_end() -> None:
    works = (Work(done=30, began=10.0, ended=11.0), Work(done=10, began=10.5, ended=12.0))
    crew = Outcome(number=38, works=works, capped=False)
    assert crew.rate == 20.0
    assert crew.fairness == pytest.approx(1 / 3)
    assert crew.twice == 2


def test_a_crew_that_did_nothing_has_no_rate() -> None:
    assert Outcome(number=5, works=(Work(),), capped=True).rate == 0.0
    assert percentile([], 0.5) is None


def test_a_crew_empties_a_board_once() -> None:
    with Bench(QUICK) as bench, bench.place("folder") as place:
        system = peers.load("stigmergy")(place)
        system.setup()
        assert system.fill(40, float("inf")) == 40
        crew = run_crew("stigmergy", place, number=40, processes=2, cap_s=60.0)
    assert (crew.done, crew.twice, crew.busy, crew.capped) == (40, 0, 0, False)
    assert len(crew.claims_ms) == 42  # each worker's last claim found nothing


def test_a_worker_that_fails_is_told_with_its_traceback() -> None:
    with Bench(QUICK) as bench, bench.place("folder") as place:
        Path(place, "board.db").mkdir()
        with pytest.raises(RuntimeError, match=r"stigmergy: a worker failed\nTraceback"):
            run_crew("stigmergy", place, number=1, cap_s=1.0)


def test_a_system_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huey", None)
    monkeypatch.delitem(sys.modules, "board.peers.huey_sqlite", raising=False)
    assert peers.why_not("huey") == "not installed (huey)"
    assert peers.why_not("stigmergy") is None


@pytest.mark.parametrize("name", [*peers.SQLITE, *peers.POSTGRES])
def test_every_system_says_what_it_promises_or_why_it_is_not_there(name: str) -> None:
    if (reason := peers.why_not(name)) is not None:
        assert reason
        return
    system = peers.load(name)
    assert system.durability
    assert system.remark
