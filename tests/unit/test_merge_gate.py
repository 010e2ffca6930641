"""The gate's verdict on an exit: green only when something ran and said so with 0."""

import json
import subprocess
import sys
import threading

import pytest

from stigmergy.coding.merge.find_gate import find_gate
from stigmergy.coding.merge.gate import (
    Gate,
    GateHistory,
    GateStopped,
    Green,
    Red,
    judge,
    no_tests_ran,
    run_gate,
)
from stigmergy.coding.sandbox.sandbox import Exit
from stigmergy.errors import UsageError

GATE = Gate(argv=("check",), timeout_s=5)


def ended(code=0, reason="exited", stdout="", stderr=""):
    return Exit(code=code, reason=reason, duration_s=1.5, stdout_tail=stdout, stderr_tail=stderr)


def test_exit_0_with_output_that_nobody_knows_is_green():
    assert judge(ended(stdout="all good"), GATE) == Green(duration_s=1.5)


@pytest.mark.parametrize(
    ("exit_", "reason"),
    [
        (ended(1), "exit 1"),
        (ended(127), "was not found"),
        (ended(126), "cannot be run"),
        (ended(-9), "signal 9"),
        (ended(0, "timed-out"), "within 5 s"),
        (ended(0, "lost"), "'lost'"),
        (ended(0, stdout="no tests ran in 0.01s"), "no tests ran"),
    ],
)
def test_everything_else_is_red_with_its_reason(exit_, reason):
    verdict = judge(exit_, GATE)
    assert isinstance(verdict, Red)
    assert reason in verdict.reason


def test_a_stopped_gate_has_no_verdict():
    assert judge(ended(0, "stopped"), GATE) == GateStopped()


def test_exit_5_of_pytest_is_told_as_no_tests_even_when_it_was_quiet():
    verdict = judge(ended(5), Gate(argv=("python3", "-m", "pytest", "-qqq")))
    assert "no tests ran" in verdict.reason


def test_the_output_is_the_end_of_both_streams_and_bounded():
    verdict = judge(ended(1, stdout="x" * 100_000 + "END", stderr="boom"), GATE)
    assert verdict.output.endswith("END\nboom")
    assert len(verdict.output) <= 20_000


GO_NONE = "?   \texample.invalid/a\t[no test files]\n?   \texample.invalid/b\t[no test files]\n"
CARGO_NONE = """running 0 tests

test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out

   Doc-tests x

running 0 tests
"""


@pytest.mark.parametrize(
    "output",
    [
        "============================ no tests ran in 0.01s =============================",
        "no tests ran in 0.00s",
        "2 deselected in 0.02s",
        "\n----------\nRan 0 tests in 0.000s\n\nOK\n",
        CARGO_NONE,
        GO_NONE,
        "ok  \texample.invalid/a\t0.002s [no tests to run]\n",
        "No tests found, exiting with code 0\n",
        "No test files found, exiting with code 0\n",
        "\n  0 passing (1ms)\n",
        "# tests 0\n# suites 0\n# pass 0\n",
        'npm error Missing script: "test"\n',
        "\x1b[33m\x1b[33mno tests ran\x1b[0m\x1b[33m in 0.01s\x1b[0m\n",
    ],
)
def test_a_runner_that_says_it_ran_nothing_is_believed(output):
    assert no_tests_ran(output, "") is not None
    assert no_tests_ran("", output) is not None


@pytest.mark.parametrize(
    "output",
    [
        "",
        "3 passed, 1 deselected in 0.02s",
        "Ran 12 tests in 0.1s\n\nOK",
        CARGO_NONE + "running 3 tests\n",
        GO_NONE + "ok  \texample.invalid/c\t0.002s\n",
        "Tests:       2 passed, 2 total\nNo tests found related to files changed",
        "\n  4 passing (9ms)\n",
        "# tests 3\n# pass 3\n",
        GO_NONE + "===== 5 passed in 1.20s =====",
        "the linter says: no tests ran away",
    ],
)
def test_a_runner_that_ran_something_or_none_is_not_accused(output):
    assert no_tests_ran(output, "") is None


def test_the_pytest_and_unittest_of_this_machine_are_recognised(tmp_path):
    (tmp_path / "test_nothing.py").write_text("")
    for runner in (["pytest", "-q", "-p", "no:cacheprovider"], ["unittest", "test_nothing"]):
        done = subprocess.run(
            [sys.executable, "-m", *runner], cwd=tmp_path, capture_output=True, text=True
        )
        assert no_tests_ran(done.stdout, done.stderr) is not None, (done.stdout, done.stderr)


def test_the_sandbox_is_closed_even_when_the_gate_cannot_start():
    class Broken:
        closed = False

        def run(self, argv, *, limits, stop):
            raise OSError("no process")

        def close(self):
            self.closed = True

    sandbox = Broken()

    class Factory:
        def open(self, name, commit):
            return sandbox

    with pytest.raises(OSError, match="no process"):
        run_gate(GATE, Factory(), name="g", commit="a" * 40, stop=threading.Event())
    assert sandbox.closed


def test_a_gate_without_a_command_is_refused():
    with pytest.raises(UsageError):
        Gate(argv=())


def test_history_counts_runs_and_names_what_was_both_green_and_red():
    history = GateHistory()
    red = Red(reason="r", exit_code=1, output="", duration_s=1.0)
    assert not history.record("tree1", red)
    assert not history.record("tree2", red)
    assert history.record("tree1", Green(duration_s=2.0))
    assert history.flaky == ("tree1",)
    assert (history.runs, history.seconds) == (3, 4.0)
    assert [history.was_green(tree) for tree in ("tree1", "tree2", "tree3")] == [True, False, None]


NPM = json.dumps({"scripts": {"test": "vitest run"}})
NPM_EMPTY = json.dumps({"scripts": {"test": 'echo "Error: no test specified" && exit 1'}})


@pytest.mark.parametrize(
    ("files", "argv"),
    [
        ({"pyproject.toml": "[tool.pytest.ini_options]\n"}, "python3 -m pytest -q"),
        ({"setup.cfg": "[tool:pytest]\n"}, "python3 -m pytest -q"),
        ({"tests/test_a.py": "def test_a(): pass\n"}, "python3 -m pytest -q"),
        ({"tests/conftest.py": ""}, "python3 -m pytest -q"),
        ({"tests/test_a.py": "import unittest\n"}, "python3 -m unittest discover -s tests -t ."),
        ({"test_a.py": "import unittest\n"}, "python3 -m unittest discover -s . -t ."),
        ({"package.json": NPM}, "npm test"),
        ({"package.json": "{}", "src/a.test.js": ""}, "node --test"),
        ({"Cargo.toml": "[package]\n"}, "cargo test"),
        ({"go.mod": "module x\n"}, "go test ./..."),
        ({"Makefile": "all:\n\ntest: all\n\techo\n"}, "make test"),
        ({"Makefile": "check:\n\techo\n"}, "make check"),
        ({"Makefile": "test:\n\techo\n", "Cargo.toml": ""}, "cargo test"),
        ({"package.json": NPM_EMPTY, "Makefile": "test:\n"}, "make test"),
        ({"package.json": NPM_EMPTY}, None),
        ({"package.json": "[1]"}, None),
        ({"package.json": "not json"}, None),
        ({"pyproject.toml": "not = = toml"}, None),
        ({"Makefile": "test := 1\ntested:\n"}, None),
        ({"README.md": "hello"}, None),
        ({}, None),
    ],
)
def test_the_gate_is_found_from_what_the_project_says(files, argv):
    data = {path: text.encode() for path, text in files.items()}
    guess = find_gate(data.keys(), data.get)
    assert (None if guess is None else " ".join(guess.argv)) == argv
    assert guess is None or guess.why
