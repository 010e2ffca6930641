"""`import stigmergy` is cheap: it is paid by every command and by every program that uses it."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

import pytest

BUDGET_S = 0.100
ROUNDS = 9

# Third-party packages that `import stigmergy` may load. Everything else is imported where it is
# used: most runs need few of them, and the extras may not even be installed.
ALLOWED = {"stigmergy", "__mp_main__"}  # the latter is multiprocessing's name for the program
EXTRAS = (
    *("psycopg", "wasmtime", "wgpu", "websockets"),
    *("cryptography", "aiortc", "fastapi", "sse_starlette", "opentelemetry.sdk"),
)


def python(program: str) -> str:
    # Without the environment of this run: coverage would measure, and slow, what is timed.
    argv, environment = [sys.executable, "-c", program], {"PATH": os.environ["PATH"]}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def processor_time_s(program: str) -> float:
    """Of one fresh interpreter; unlike the clock it does not grow while others use the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    python(program)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_import_costs_at_most_100_ms_more_than_an_empty_program() -> None:
    python("import stigmergy")  # writes the byte code, as an installation does
    empty: list[float] = []
    importing: list[float] = []
    for _ in range(ROUNDS):
        empty.append(processor_time_s("pass"))
        importing.append(processor_time_s("import stigmergy"))
    cost = statistics.median(importing) - statistics.median(empty)
    assert cost <= BUDGET_S, f"import stigmergy costs {cost * 1000:.0f} ms of processor time"


def test_import_loads_no_third_party_package() -> None:
    loaded = python(
        "import sys; before = set(sys.modules); import stigmergy;"
        "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    ).split()
    assert set(loaded) - set(sys.stdlib_module_names) <= ALLOWED


@pytest.mark.parametrize("program", ["import stigmergy.cli.app", "import stigmergy.coding.run"])
def test_the_command_line_starts_without_the_extras(program: str) -> None:
    python(f"import sys; sys.modules.update(dict.fromkeys({EXTRAS!r})); {program}")
