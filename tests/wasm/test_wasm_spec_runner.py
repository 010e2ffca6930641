"""The runner of the official suite tells what passed, what failed and what was refused."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs_wabt

Run = Callable[..., tuple[int, list[str]]]

_HERE = Path(__file__).parent
_COMMANDS = {"arithmetic": 24, "linked": 6, "vectors": 6}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in _COMMANDS:
        _translate(_HERE / f"{name}.wast", tmp_path)
    return tmp_path


def _translate(source: Path, folder: Path) -> None:
    argv = ["wast2json", str(source), "-o", str(folder / f"{source.stem}.json")]
    subprocess.run(argv, check=True)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """The program, in this process: it is a script, so it finds its parts beside itself."""
    monkeypatch.syspath_prepend(_HERE)
    program = importlib.import_module("spec_runner")

    def run(folder: Path, engine: str, *more: str) -> tuple[int, list[str]]:
        out = io.StringIO()
        code = program.main(["--dir", str(folder), "--engine", engine, *more], out)
        return code, out.getvalue().splitlines()

    return run


def test_the_program_ends_with_a_code_for_shells(folder: Path) -> None:
    argv = [sys.executable, _HERE / "spec_runner.py", "--dir", folder, "--engine", "cpu"]
    assert subprocess.run(argv, timeout=60).returncode == 0
    assert subprocess.run([*argv, "missing"], timeout=60, capture_output=True).returncode != 0


def test_instances_in_one_store_pass_everything(run: Run, folder: Path) -> None:
    code, lines = run(folder, "cpu")
    assert lines == [
        *(f"{name}: {count} passed, 0 failed, 0 refused" for name, count in _COMMANDS.items()),
        f"3 files (3 of them whole): {sum(_COMMANDS.values())} passed, 0 failed, 0 refused",
    ]
    assert code == 0


def test_what_agents_cannot_express_is_refused_by_name_and_not_passed(
    run: Run, folder: Path
) -> None:
    code, lines = run(folder, "cpu-agents", "--verbose")
    assert lines == [
        "arithmetic: 24 passed, 0 failed, 0 refused",
        "linked: 3 passed, 0 failed, 3 refused",
        "  refused 2: it imports from another instance, A",
        "  refused 1: another instance that was refused would have changed it",
        "vectors: 1 passed, 0 failed, 5 refused",
        "  refused 4: an earlier call of it was refused",
        "  refused 1: a call cannot carry a v128",
        "3 files (1 of them whole): 28 passed, 0 failed, 8 refused",
    ]
    assert code == 0


def test_files_can_be_chosen(run: Run, folder: Path) -> None:
    code, lines = run(folder, "cpu", "vectors", "linked.json")
    assert [line.split(":")[0] for line in lines[:2]] == ["vectors", "linked"]
    assert code == 0


def test_nothing_to_run_is_no_success(run: Run, tmp_path: Path) -> None:
    code, lines = run(tmp_path, "cpu")
    assert lines == ["0 files (0 of them whole): 0 passed, 0 failed, 0 refused"]
    assert code == 1


_SABOTAGE: list[tuple[str, Callable[[dict[str, object]], object], str]] = [
    (
        "assert_return",
        lambda one: one.update(expected=[{"type": "i32", "value": "5"}]),
        "it gave",
    ),
    ("assert_return", lambda one: one.update(expected=[]), "it gave"),
    ("assert_trap", lambda one: one.update(text="unreachable"), "not 'unreachable'"),
    ("assert_trap", lambda one: one.update(text="something new"), "not 'something new'"),
    ("assert_exhaustion", lambda one: one.update(text="unreachable"), "not 'unreachable'"),
    ("assert_invalid", lambda one: one.update(filename="arithmetic.0.wasm"), "was accepted"),
    ("assert_malformed", lambda one: one.update(filename="fine.wat"), "was accepted"),
    ("assert_unlinkable", lambda one: one.update(filename="arithmetic.0.wasm"), "was linked"),
    (
        "assert_uninstantiable",
        lambda one: one.update(filename="arithmetic.0.wasm"),
        "did not trap",
    ),
    ("assert_return", lambda one: one.update(type="assert_news"), "no command assert_news"),
]
"""Which command is changed, how, and what the runner says then."""


@pytest.mark.parametrize(
    ("kind", "change", "message"), _SABOTAGE, ids=[f"{at}" for at in range(len(_SABOTAGE))]
)
@pytest.mark.parametrize("engine", ["cpu", "cpu-agents"])
def test_what_is_not_as_the_test_says_is_a_failure(
    run: Run,
    folder: Path,
    engine: str,
    kind: str,
    change: Callable[[dict[str, object]], object],
    message: str,
) -> None:
    path = folder / "arithmetic.json"
    script = json.loads(path.read_text())
    (folder / "fine.wat").write_text("(module)")
    command = next(one for one in script["commands"] if one["type"] == kind)
    change(command)
    path.write_text(json.dumps(script))
    code, lines = run(folder, engine, "arithmetic")
    assert code == 1
    assert lines[0] == "arithmetic: 23 passed, 1 failed, 0 refused"
    assert message in lines[1]


@pytest.mark.parametrize(
    ("expected", "ok"),
    [("nan:canonical", True), ("nan:arithmetic", True), ("2143289344", True), ("0", False)],
)
def test_a_nan_must_be_the_canonical_one(
    run: Run, folder: Path, expected: str, *, ok: bool
) -> None:
    path = folder / "arithmetic.json"
    script = json.loads(path.read_text())
    for command in script["commands"]:
        if command.get("action", {}).get("field") == "nan":
            command["expected"][0]["value"] = expected
    path.write_text(json.dumps(script))
    assert (run(folder, "cpu", "arithmetic")[0] == 0) is ok
