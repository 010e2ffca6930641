"""How many tasks a second a system takes and finishes, with one worker and with several."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from board.bench import Bench, Kind
from board.crew import Outcome, percentile, run_crew
from board.peers import load, why_not
from board.report import Report

__all__ = ["Contest", "run"]

_POSTS = 300
_BATCH = 100
_BATCH_PROCESSES = (1, 4)


@dataclass(frozen=True, slots=True)
class Contest:
    """Systems on one kind of place, and which of them are ours, the quickest first."""

    name: str
    kind: Kind
    peers: tuple[str, ...]
    ours: tuple[str, ...]


def run(report: Report, bench: Bench, contest: Contest) -> None:
    there = [peer for peer in contest.peers if why_not(peer) is None]
    _introduce(report, contest)
    outcomes = {peer: _Rounds() for peer in there}
    for peer in there:
        outcomes[peer].posts = _posts(bench, contest.kind, peer)
    for processes in bench.scale.processes:
        for _ in range(bench.scale.rounds):
            for peer in tuple(there):
                outcomes[peer].appends_ms.append(bench.synced_append_ms())
                try:
                    outcome = _empty(bench, contest.kind, peer, processes=processes, batch=1)
                except RuntimeError as error:
                    if peer in contest.ours:
                        raise
                    _give_up(report, there, peer, f"with {processes} processes: {error}")
                else:
                    outcomes[peer].add(processes, outcome)
    _report_rates(report, bench, contest, outcomes)
    _report_claims(report, bench, contest, outcomes)
    _report_ratios(report, bench, contest, outcomes)
    _batches(report, bench, contest, there)


def _give_up(report: Report, there: list[str], peer: str, reason: str) -> None:
    """A peer that failed is measured no further, and that is said."""
    there.remove(peer)
    report.say(f"{peer}: not measured any further, {reason}")
    report.facts[f"{peer}: not measured any further"] = reason


class _Rounds:
    """All that one system did, by the number of processes."""

    def __init__(self) -> None:
        self.posts: tuple[float | None, float | None] = (None, None)
        self.appends_ms: list[float] = []
        """What a synced append took just before each run: how busy the disk was."""
        self._outcomes: dict[int, list[Outcome]] = {}

    def add(self, processes: int, outcome: Outcome) -> None:
        self._outcomes.setdefault(processes, []).append(outcome)

    def of(self, processes: int) -> list[Outcome]:
        return self._outcomes.get(processes, [])

    def rates(self, processes: int) -> list[float]:
        return [outcome.rate for outcome in self.of(processes)]


def _introduce(report: Report, contest: Contest) -> None:
    report.say(f"\n== {contest.name}: what a finished task survives")
    for peer in contest.peers:
        if (reason := why_not(peer)) is not None:
            report.say(f"{peer}: not measured, {reason}")
            report.facts[f"{peer}: not measured"] = reason
            continue
        system = load(peer)
        report.say(f"{peer}: {system.durability}; {system.remark}")
        report.facts[f"{peer}: durability"] = system.durability


def _posts(bench: Bench, kind: Kind, peer: str) -> tuple[float, float | None]:
    """Tasks a second, posted one by one and many at once."""
    scale = bench.scale
    with bench.place(kind) as place:
        system = load(peer)(place)
        system.setup()
        one = _rate(system.post, _POSTS, scale.cap_s)
        many = _rate(system.fill, scale.tasks, scale.cap_s) if system.posts_many else None
    return one, many


def _rate(post: Callable[[int, float], int], number: int, cap_s: float) -> float:
    began = time.monotonic()
    posted = post(number, began + cap_s)
    return posted / (time.monotonic() - began)


def _empty(bench: Bench, kind: Kind, peer: str, *, processes: int, batch: int) -> Outcome:
    """Fill a fresh queue and let a crew empty it."""
    scale = bench.scale
    with bench.place(kind) as place:
        system = load(peer)(place)
        system.setup()
        number = system.fill(scale.tasks, time.monotonic() + 2 * scale.cap_s)
        bench.settle(kind, place)
        return run_crew(
            peer, place, number=number, processes=processes, cap_s=scale.cap_s, batch=batch
        )


def _report_rates(
    report: Report, bench: Bench, contest: Contest, outcomes: dict[str, _Rounds]
) -> None:
    section = f"{contest.name}: tasks a second"
    for peer in contest.peers:
        rounds = outcomes.get(peer, _Rounds())
        report.add(section, peer, "post one by one", [rounds.posts[0]], "/s")
        report.add(section, peer, "post many", [rounds.posts[1]], "/s")
        for processes in bench.scale.processes:
            measure = f"take and finish, {processes} proc."
            note = _note(rounds.of(processes), bench.scale.cap_s)
            report.add(section, peer, measure, rounds.rates(processes), "/s", note=note)
        report.add(section, peer, "a synced append then", rounds.appends_ms, "ms")
    report.show(section)


def _note(outcomes: Sequence[Outcome], cap_s: float) -> str:
    """What a reader has to know about a rate."""
    notes: list[str] = []
    if any(outcome.capped for outcome in outcomes):
        done = min(outcome.done for outcome in outcomes)
        notes.append(f"stopped after {cap_s:g} s with {done:,} of {outcomes[0].number:,} done")
    if twice := sum(outcome.twice for outcome in outcomes):
        notes.append(f"{twice:,} tasks were finished twice")
    if busy := sum(outcome.busy for outcome in outcomes):
        notes.append(f"{busy:,} times 'database is locked'")
    return "; ".join(notes)


def _report_claims(
    report: Report, bench: Bench, contest: Contest, outcomes: dict[str, _Rounds]
) -> None:
    section = f"{contest.name}: claims"
    few, many = min(bench.scale.processes), max(bench.scale.processes)
    for peer in contest.peers:
        rounds = outcomes.get(peer, _Rounds())
        for processes in (few, many):
            for share in (0.5, 0.99):
                values = [percentile(o.claims_ms, share) for o in rounds.of(processes)]
                measure = f"p{share * 100:.0f}, {processes} proc."
                report.add(section, peer, measure, values, "ms")
        crowd = rounds.of(many)
        worst = [max(o.claims_ms) for o in crowd if o.claims_ms]
        report.add(section, peer, f"worst, {many} proc.", [max(worst, default=None)], "ms")
        fair = [outcome.fairness for outcome in crowd]
        report.add(section, peer, "slowest/fastest worker", fair, "x")
        report.add(section, peer, "worker's RSS", [o.rss_mb for o in rounds.of(few)], "MB")
    report.show(section)


def _report_ratios(
    report: Report, bench: Bench, contest: Contest, outcomes: dict[str, _Rounds]
) -> None:
    """Ours through theirs, round by round, so that a busy minute hits both."""
    ours = next((name for name in contest.ours if name in outcomes), None)
    if ours is None:
        report.say(f"\n== {contest.name}: no ratios, for ours is not measured")
        return
    section = f"{contest.name}: {ours} as a multiple of"
    for peer in contest.peers:
        if peer == ours:
            continue
        rounds = outcomes.get(peer, _Rounds())
        for processes in bench.scale.processes:
            pairs = zip(outcomes[ours].rates(processes), rounds.rates(processes), strict=False)
            ratios = [mine / theirs for mine, theirs in pairs if theirs]
            report.add(section, peer, f"{processes} proc.", ratios, "x")
    report.show(section)


def _batches(report: Report, bench: Bench, contest: Contest, there: Sequence[str]) -> None:
    section = f"{contest.name}: batches of {_BATCH}, tasks a second"
    peers = [peer for peer in there if load(peer).takes_many]
    rates: dict[tuple[str, int], list[float]] = {}
    for processes in _BATCH_PROCESSES:
        for _ in range(bench.scale.rounds):
            for peer in peers:
                outcome = _empty(bench, contest.kind, peer, processes=processes, batch=_BATCH)
                rates.setdefault((peer, processes), []).append(outcome.rate)
    for peer in peers:
        for processes in _BATCH_PROCESSES:
            report.add(section, peer, f"{processes} proc.", rates[peer, processes], "/s")
    if peers:
        report.show(section)
