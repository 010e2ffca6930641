"""The gate: the project's own command, run on a stacked commit in a sandbox. It fails closed.

Green means that the command ran, ended with 0, and did not say that it ran no tests. Everything
else is red: a program that is not there, a time-out, a signal, a test runner that found nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from stigmergy.coding.sandbox.sandbox import Exit, Limits, SandboxFactory
from stigmergy.errors import UsageError

__all__ = [
    "Gate",
    "GateHistory",
    "GateStopped",
    "GateVerdict",
    "Green",
    "Red",
    "judge",
    "no_tests_ran",
    "run_gate",
]

_TAIL_CHARS = 20_000
_PYTEST_NO_TESTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """The command that a stacked commit must pass."""

    argv: tuple[str, ...]
    timeout_s: float = 900.0
    limits: Limits = field(default_factory=Limits)
    """For memory, processes and output; its `wall_s` is replaced by `timeout_s`."""

    def __post_init__(self) -> None:
        if not self.argv:
            raise UsageError("a gate needs a command, such as ['pytest', '-q'].")


@dataclass(frozen=True, slots=True, kw_only=True)
class Green:
    """It passed."""

    duration_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Red:
    """It did not pass."""

    reason: str
    """One sentence."""
    exit_code: int
    output: str
    """The end of stdout and stderr."""
    duration_s: float


@dataclass(frozen=True, slots=True)
class GateStopped:
    """The run was asked to stop while the gate ran: no verdict."""


GateVerdict = Green | Red | GateStopped


def run_gate(
    gate: Gate,
    factory: SandboxFactory,
    *,
    name: str,
    commit: str,
    stop: threading.Event,
) -> GateVerdict:
    """Run the gate at a commit, in a sandbox of its own that is gone when this returns."""
    limits = Limits(
        wall_s=gate.timeout_s,
        memory_bytes=gate.limits.memory_bytes,
        processes=gate.limits.processes,
        file_bytes=gate.limits.file_bytes,
        output_bytes=gate.limits.output_bytes,
    )
    sandbox = factory.open(name, commit)
    try:
        ended = sandbox.run(gate.argv, limits=limits, stop=stop)
    finally:
        sandbox.close()
    return judge(ended, gate)


def judge(ended: Exit, gate: Gate) -> GateVerdict:
    """What a gate's exit and output say. Pure."""
    if ended.reason == "stopped":
        return GateStopped()
    reason = _why_red(ended, gate)
    if reason is None:
        return Green(duration_s=ended.duration_s)
    return Red(
        reason=reason,
        exit_code=ended.code,
        output=_tail(ended),
        duration_s=ended.duration_s,
    )


def _why_red(ended: Exit, gate: Gate) -> str | None:
    command = gate.argv[0]
    if ended.reason == "timed-out":
        return f"the gate did not end within {gate.timeout_s:g} s"
    if ended.reason != "exited":
        return f"the gate ended by {ended.reason!r}"
    if ended.code < 0:
        return f"the gate was killed by signal {-ended.code}"
    if ended.code == 127:
        return f"the gate's command {command!r}, or one that it calls, was not found (exit 127)"
    if ended.code == 126:
        return f"the gate's command {command!r}, or one that it calls, cannot be run (exit 126)"
    nothing = no_tests_ran(ended.stdout_tail, ended.stderr_tail)
    if nothing is not None:
        return f"no tests ran: {nothing}"
    if ended.code == _PYTEST_NO_TESTS and any("pytest" in word for word in gate.argv):
        return "no tests ran: pytest ended with exit 5"
    if ended.code != 0:
        return f"the gate ended with exit {ended.code}"
    return None


def _tail(ended: Exit) -> str:
    parts = [part.rstrip() for part in (ended.stdout_tail, ended.stderr_tail) if part.strip()]
    return "\n".join(parts)[-_TAIL_CHARS:]


# For each runner: what it prints when it ran nothing, and what when it ran something. A build may
# print both (one package of many has no tests); then something ran.
_RUNNERS: Sequence[tuple[str, re.Pattern[str], re.Pattern[str]]] = (
    (
        "pytest collected nothing",
        re.compile(
            r"^(=+ )?(no tests ran|no tests collected|\d+ deselected)\b.* in [\d.]+s", re.MULTILINE
        ),
        re.compile(r"\b[1-9]\d* (passed|failed|xfailed|xpassed|errors?)\b"),
    ),
    (
        "unittest ran 0 tests",
        re.compile(r"^Ran 0 tests in ", re.MULTILINE),
        re.compile(r"^Ran [1-9]\d* tests? in ", re.MULTILINE),
    ),
    (
        "cargo ran 0 tests",
        re.compile(r"^running 0 tests$", re.MULTILINE),
        re.compile(r"^running [1-9]\d* tests?$", re.MULTILINE),
    ),
    (
        "go found no test files",
        re.compile(r"\[no test files\]|\[no tests to run\]|^no test files$", re.MULTILINE),
        re.compile(r"^(ok|FAIL|---? FAIL:?)\s+(?!.*\[no tests to run\])\S+", re.MULTILINE),
    ),
    (
        "jest or vitest found no tests",
        re.compile(r"^No test(s| files?) found\b", re.MULTILINE | re.IGNORECASE),
        re.compile(r"^\s*Tests:?\s+.*\b[1-9]\d* (passed|failed)", re.MULTILINE),
    ),
    (
        "mocha ran 0 tests",
        re.compile(r"^\s*0 passing\b", re.MULTILINE),
        re.compile(r"^\s*([1-9]\d* (passing|failing))\b", re.MULTILINE),
    ),
    (
        "node ran 0 tests",
        re.compile(r"^(# |\u2139 )tests 0$", re.MULTILINE),
        re.compile(r"^(# |\u2139 )tests [1-9]\d*$", re.MULTILINE),
    ),
    (
        "npm has no test script",
        re.compile(r"^Error: no test specified$|Missing script: \"test\"", re.MULTILINE),
        re.compile(r"(?!)"),
    ),
)


def no_tests_ran(stdout: str, stderr: str) -> str | None:
    """Which known test runner says that it ran nothing, or None.

    Only where the output says so: an unknown runner, or none, is judged by its exit status. When
    one runner of several ran something, the gate ran tests.
    """
    text = _ANSI.sub("", f"{stdout}\n{stderr}")
    said = [what for what, nothing, _ in _RUNNERS if nothing.search(text)]
    if not said or any(something.search(text) for _, _, something in _RUNNERS):
        return None
    return said[0]


_ANSI = re.compile(r"\x1b\[[0-9;]*m")


@dataclass(slots=True)
class GateHistory:
    """Verdicts by tree, so that a gate which says both is known as flaky, and counted."""

    _seen: dict[str, set[bool]] = field(default_factory=dict[str, set[bool]])
    started: int = 0
    """Gate runs begun, for names."""
    runs: int = 0
    """Gate runs that ended with a verdict."""
    seconds: float = 0.0

    def record(self, tree: str, verdict: Green | Red) -> bool:
        """Note a verdict; True when this tree has now been both green and red."""
        self.runs += 1
        self.seconds += verdict.duration_s
        seen = self._seen.setdefault(tree, set())
        seen.add(isinstance(verdict, Green))
        return len(seen) == 2

    def was_green(self, tree: str) -> bool | None:
        """Whether a tree was ever green; None when it was never gated."""
        seen = self._seen.get(tree)
        return None if seen is None else True in seen

    @property
    def flaky(self) -> tuple[str, ...]:
        """The trees that were both green and red."""
        return tuple(tree for tree, seen in self._seen.items() if len(seen) == 2)
