"""Runs that are killed without warning and resumed, and what must be true of them in the end.

A small run of a command agent goes on in a process of its own; `survive` kills that process, or
an agent of it, at drawn moments, resumes it, and looks at the branch when it has ended. Simulated
agents: it proves recovery, nothing about a model.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import psutil

from stigmergy.coding.git.process import run_git
from stigmergy.coding.rundir import StateFolder
from stigmergy.errors import StigmergyError
from stigmergy.testing.runs import item, resume_run, run_items

__all__ = ["FILES", "Kill", "Survival", "survive", "undisturbed"]

Victim = Literal["orchestrator", "agent"]

FILES: Final = {"gate.sh": "for file in *.txt; do [ -s $file ] || exit 1; done\n", "a.txt": "a\n"}
"""What the repository of such a run begins with."""

_ITEMS: Final = 12
_LAST: Final = f"F{_ITEMS - 1:02}.txt"
_AGENT: Final = 'sleep 0.1; echo "$STIG_DESCRIPTION" > "$STIG_PATH"'
_SETTINGS: Final[dict[str, Any]] = {
    "agents": 3,
    "agent_shell": True,
    "gate": "sh gate.sh",
    "max_attempts": 20,  # killed agents count as attempts
}
_MOST_RESUMES: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Something that was killed with SIGKILL."""

    victim: Victim
    after_s: float
    """Since its process, or the one that resumed, was started."""


@dataclass(slots=True)
class Survival:
    """What was left of a run after its kills."""

    kills: list[Kill] = field(default_factory=list[Kill])
    recovery_s: list[float] = field(default_factory=list[float])
    """From each start of a resuming process until the run was at work again."""
    lost: list[str] = field(default_factory=list[str])
    """Items that are not on the branch."""
    twice: list[str] = field(default_factory=list[str])
    """Items with more than one commit on it."""
    tree: str = ""
    clean: bool = False
    """The working tree is the branch's tip."""


def undisturbed(repository: Path) -> tuple[str, float]:
    """Run to the end without a kill; the final tree, and how long it took in seconds."""
    began = time.monotonic()
    _let_it_end(repository)
    with _Process(repository) as process:
        _expect_green(process)
    return _tree(repository), time.monotonic() - began


def survive(
    repository: Path,
    *,
    kills: int,
    within_s: float,
    rng: random.Random,
    victims: Sequence[Victim] = ("orchestrator",),
) -> Survival:
    """Run to the end with `kills` kills, each within so long after a (re)start.

    The last item is held back until there were so many, or a quick run would be over before.
    """
    survival = Survival()
    for _ in range(_MOST_RESUMES):
        resumed = bool(StateFolder(repository).runs())
        with _Process(repository) as process:
            _disturb(process, survival, kills=kills, within_s=within_s, rng=rng, victims=victims)
            if len(survival.kills) == kills:
                _let_it_end(repository)
            process.wait()
        if resumed and process.ready_s is not None:
            survival.recovery_s.append(process.ready_s)
        if not process.killed:
            _expect_green(process)
            _examine(repository, survival)
            return survival
    raise StigmergyError(f"the run did not end after {_MOST_RESUMES} resumes")


def _gate_of(repository: Path) -> Path:
    """The file that the last item waits for. Its folder is shared with the agents."""
    folder = repository.with_name(f"{repository.name}.signals")
    folder.mkdir(exist_ok=True)
    return folder / "end"


def _let_it_end(repository: Path) -> None:
    _gate_of(repository).touch()


def _disturb(
    process: _Process,
    survival: Survival,
    *,
    kills: int,
    within_s: float,
    rng: random.Random,
    victims: Sequence[Victim],
) -> None:
    """Kill until it is dead, has ended, or enough were killed."""
    while len(survival.kills) < kills and not process.killed:
        victim = rng.choice(victims)
        if process.ends_within(rng.uniform(0.0, within_s)):
            return
        if process.kill(victim, rng):
            survival.kills.append(Kill(victim=victim, after_s=process.age_s))


class _Process:
    """The process that a run is in."""

    def __init__(self, repository: Path) -> None:
        self._began = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(repository)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self.killed = False
        self.ready_s: float | None = None
        """Until the run was at work; None when it did not come to that."""
        self._reader = threading.Thread(target=self._read, name="killed-run")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.wait()

    @property
    def age_s(self) -> float:
        """Since it was started."""
        return time.monotonic() - self._began

    @property
    def exit_code(self) -> int:
        """How it ended."""
        return self._process.returncode

    def ends_within(self, seconds: float) -> bool:
        """Wait so long; whether it ended by itself."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self, victim: Victim, rng: random.Random) -> bool:
        """Kill it, or one of its agents; False when there was nobody to kill."""
        if victim == "orchestrator":
            self._process.kill()
            self.killed = self._process.wait() < 0
            return self.killed
        agents = [child for child in self._descendants() if _is_agent(child)]
        if not agents:
            return False
        try:
            rng.choice(agents).kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def wait(self) -> None:
        """Until it has ended and all it said was read."""
        self._process.wait()
        self._reader.join()

    def _descendants(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                if self.ready_s is None and line.startswith("run "):
                    self.ready_s = self.age_s
                self.lines.append(line.rstrip("\n"))


def _is_agent(process: psutil.Process) -> bool:
    try:
        return any("STIG_DESCRIPTION" in word for word in process.cmdline())
    except psutil.Error:
        return False


def _expect_green(process: _Process) -> None:
    process.wait()
    if process.exit_code != 0:
        said = "\n".join(process.lines[-30:])
        raise StigmergyError(f"the run ended with {process.exit_code}:\n{said}")


def _examine(repository: Path, survival: Survival) -> None:
    log = run_git(("log", "--format=", "--name-only", "main"), cwd=repository).stdout.decode()
    commits = Counter(log.split())
    names = [str(one["id"]) for one in _items()]
    survival.lost = [name for name in names if commits[f"{name}.txt"] == 0]
    survival.twice = [name for name in names if commits[f"{name}.txt"] > 1]
    survival.tree = _tree(repository)
    status = run_git(("status", "--porcelain"), cwd=repository).stdout
    survival.clean = not status.strip()


def _tree(repository: Path) -> str:
    return run_git(("rev-parse", "main^{tree}"), cwd=repository).stdout.decode().strip()


def _items() -> list[dict[str, object]]:
    """Three chains of four."""
    return [
        item(
            f"F{number:02}",
            f"F{number:02}.txt",
            description=f"the text of {number}",
            depends_on=[f"F{number - 3:02}"] if number >= 3 else [],
        )
        for number in range(_ITEMS)
    ]


def _main(repository: Path) -> int:
    def say(line: str) -> None:
        print(line, flush=True)  # noqa: T201 - this process is there to be watched

    runs = StateFolder(repository).runs()
    if not runs:
        end = _gate_of(repository)
        held = f'[ "$STIG_PATH" != {_LAST} ] || until [ -e {end} ]; do sleep 0.02; done; '
        return run_items(
            repository,
            _items(),
            on_line=say,
            agent_command=held + _AGENT,
            sandbox_share=(end.parent,),
            **_SETTINGS,
        ).outcome.exit_code
    if runs[-1].report.exists():  # it was killed at its very end
        return int(json.loads(runs[-1].report.read_bytes())["exit_code"])
    return resume_run(repository, on_line=say).outcome.exit_code


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
