"""Clocks that jump by an hour or a day while agents work: leases may end early or late, no more.

Safety never depends on a clock. What does is liveness, and that is counted: reclaims that came
before the lease was over in truth, and those that came long after.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from stigmergy.testing.faults.checker import Evidence, check
from stigmergy.testing.faults.crew import Crew, Plan, gather
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.table import Row, Setting

__all__ = ["faked_clocks", "faketime_missing", "passed_clocks", "reclaims"]

_HOUR_S: Final = 3600
_DAY_S: Final = 24 * _HOUR_S
_JUMPS_S: Final = (-_DAY_S, -_HOUR_S, 0, _HOUR_S, _DAY_S)
_AFTER_ALL_S: Final = 4 * _DAY_S
"""Whoever has such a clock finds every lease run out and nothing that has to wait."""
_AGENTS: Final = 4
_LATE_LEASES: Final = 3.0


def passed_clocks(setting: Setting) -> Row:
    """Each agent's store is given a clock of its own."""
    files = _clock_files(setting.folder, str)
    with ForkServer() as server:
        return _jump_about(setting, [server], files, write=str, clocks=files)


def faked_clocks(setting: Setting) -> Row:
    """The clocks of machines, as libfaketime shows them to whole processes.

    Processes on one machine have one clock, and those on a database server one each.
    """
    files = _clock_files(setting.folder, _as_faketime)
    if setting.store != "postgres":
        files = files[:1]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(ForkServer(environment=_faketime_environment(file)))
            for file in files
        ]
        return _jump_about(setting, servers, files, write=_as_faketime, clocks=())


def faketime_missing() -> str | None:
    """Why libfaketime cannot be used here, or None."""
    return None if _faketime_library() else "libfaketime is not installed"


def _faketime_library() -> Path | None:
    found = shutil.which("faketime")
    places = [Path("/usr/lib"), Path("/usr/local/lib")] if found else []
    libraries = (path for place in places for path in place.glob("**/faketime/libfaketime.so.1"))
    return next(libraries, None)


def _faketime_environment(file: Path) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(_faketime_library()),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


def _as_faketime(offset_s: int) -> str:
    return f"{offset_s:+d}"


def _clock_files(folder: Path, write: Callable[[int], str]) -> list[Path]:
    # One for each agent, and one for the poster and whoever comes last.
    files = [folder / f"clock{number}" for number in range(_AGENTS + 1)]
    for file in files:
        file.write_text(write(0))
    return files


def _jump_about(
    setting: Setting,
    servers: Sequence[ForkServer],
    files: Sequence[Path],
    *,
    write: Callable[[int], str],
    clocks: Sequence[Path],
) -> Row:
    rng = setting.rng
    plan = Plan(
        url=setting.url,
        folder=setting.folder,
        seed=setting.seed,
        agents=_AGENTS,
        clocks=clocks,
    )
    jumps = 25 if setting.short else 1000
    with Crew(plan, servers) as crew:
        for _ in range(jumps):
            crew.roles[0].child.has_ended(timeout_s=rng.uniform(0.0, 0.08))
            _set(rng.choice(files[1:] or files), write(rng.choice(_JUMPS_S)))
        for file in files:
            _set(file, write(0))
        # What was leased or put off by a clock that ran ahead would be free in a day.
        crew.end_posting()
        _set(files[0], write(_AFTER_ALL_S))
        crew.hire(number=0)
        crew.settle()
    evidence = gather(plan, clocks_agree=False)
    early, late = reclaims(evidence, lease_s=plan.lease_s)
    notes = (
        f"{early} early and {late} late reclaims; {len(evidence.said('refused'))} reports refused"
    )
    return Row(injected=jumps, violations=check(evidence), notes=notes)


def _set(file: Path, text: str) -> None:
    draft = file.with_suffix(".new")
    draft.write_text(text)
    draft.replace(file)  # whoever reads sees the one or the other


def reclaims(evidence: Evidence, *, lease_s: float) -> tuple[int, int]:
    """Leases that ended before their time was over, and those long after, by a true clock."""
    held_since: dict[tuple[str, int], float] = {}
    for entry in evidence.entries:
        if entry.kind in {"claimed", "renewed"}:
            held_since[entry.task_id, entry.fence] = entry.at
    claimed_at = {(e.task_id, e.fence): e.at for e in evidence.said("claimed")}
    early = late = 0
    fences: dict[str, int] = {}
    for event in evidence.events:
        if event.kind == "claimed":
            fences[event.task_id] = int(event.data["fence"])
        elif event.kind == "expired":
            fence = fences[event.task_id]
            since = held_since.get((event.task_id, fence))
            again = claimed_at.get((event.task_id, fence + 1))
            if since is not None and again is not None:
                early += again - since < lease_s
                late += again - since > _LATE_LEASES * lease_s
    return early, late
