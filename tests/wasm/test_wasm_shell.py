"""`stig wasm` from the shell: good input, bad input, what it exits with."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import pytest

STIG = Path(sys.executable).with_name("stig")

MODULES = {
    "half.wat": """(module (func (export "half") (param i32) (result i32)
        (i32.div_u (i32.const 84) (local.get 0))))""",
    "loop.wat": '(module (func (export "run") (loop $l (br $l))))',
    "two.wat": '(module (func (export "a")) (func (export "b") (param f32)))',
    "log.wat": r"""(module (import "stigmergy" "log" (func $log (param i32 i32))) (memory 1)
        (data (i32.const 0) "hello\1b[31m red")
        (func (export "run") (call $log (i32.const 0) (i32.const 14))))""",
    "bad.wat": "(module\n  (func (local.get $m)))",
    "foreign.wat": '(module (import "env" "foo" (func)) (func (export "run")))',
    "mute.wat": """(module
        (import "stigmergy" "send" (func $send (param i32 i32 i32) (result i32)))
        (memory 1)
        (func (export "run") (drop (call $send (i32.const 0) (i32.const 0) (i32.const 4)))))""",
    "text.txt": "hello",
    "cut.wasm": "\0asm",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    for name, content in MODULES.items():
        (tmp_path / name).write_text(content)
    return tmp_path


def stig(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([STIG, *words], capture_output=True, text=True, timeout=100)


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return stig("wasm", "run", *words, "--engine", "cpu")


def test_many_run_and_the_traps_are_told_though_their_agents_are_not() -> None:
    done = run("half.wat", "-n", "1000", "--args", "999")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("1,000 agents: 1,000 finished\n4,000 instructions in ")
    assert "… and 990 more: --json has all" in done.stdout
    trapped = run("half.wat", "-n", "12", "--args", "i")
    assert trapped.returncode == 1
    assert "12 agents: 11 finished, 1 trapped" in trapped.stdout
    last = "integer division by zero in function 'half' at byte 40: 1 agent, the first is 0"
    assert trapped.stdout.splitlines()[-1] == last
    assert max(map(len, trapped.stdout.splitlines())) <= 80


def test_json_has_all() -> None:
    document = json.loads(run("half.wat", "-n", "3", "--args", "i", "--json").stdout)
    assert [one["result"] for one in document["agents"].values()] == [None, 84, 42]
    assert "division" in document["agents"]["0"]["trap"]


def test_what_agents_wrote_cannot_reach_the_terminal() -> None:
    done = run("log.wat", "--output")
    assert done.stdout.endswith("agent 0:\n  hello red\n")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["absent.wat"], 2, "absent.wat cannot be read: No such file"),
        (["text.txt"], 2, "text.txt: not a WebAssembly module"),
        (["cut.wasm"], 2, "cut.wasm: not a WebAssembly module"),
        (["bad.wat"], 2, "line 2:20"),
        (["foreign.wat"], 3, "imports the function env.foo"),
        (["two.wat"], 2, "name an export with --entry (a, b)"),
        (["two.wat", "--entry", "c"], 2, "it exports 'a', 'b'"),
        (["two.wat", "--entry", "b"], 2, "no arguments are given, and b has the type (f32)"),
        (["half.wat", "--args", "1.5"], 2, "1.5 is no integer"),
        (["half.wat", "--args", "x"], 2, "--args has 'x'"),
        (["half.wat", "--args", "99999999999"], 2, "99999999999 does not fit into i32"),
        (["half.wat", "--args", str(1 << 70)], 2, "does not fit into i32"),
        (["half.wat", "--args", "1", "--memory", "0"], 2, "--memory is '0'"),
        (["half.wat", "--args", "1", "-n", "0"], 2, "greater than"),
        (["half.wat", "--args", "1", "-n", "99999999999"], 2, "less than"),
        (["loop.wat", "--max-instructions", "1000"], 1, ""),
    ],
)
def test_bad_input_is_named(words: list[str], code: int, says: str) -> None:
    done = run(*words)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def heeds(pid: int, number: signal.Signals) -> bool:
    """Whether it has set a handler of its own. Python has one for SIGINT from the start."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (caught,) = (line.split()[1] for line in lines if line.startswith("SigCgt:"))
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize(
    ("agents", "number", "code"),
    [("1", signal.SIGINT, 130), ("100", signal.SIGTERM, 143)],
)
def test_a_signal_stops_a_run_and_tells_what_there_is(
    agents: str, number: signal.Signals, code: int
) -> None:
    words = ["loop.wat", "-n", agents, "--engine", "cpu", "--max-instructions", str(10**15)]
    with subprocess.Popen(
        [STIG, "wasm", "run", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        until = time.monotonic() + 60
        while process.poll() is None and not heeds(process.pid, signal.SIGTERM):
            assert time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(number)
        said, complained = process.communicate(timeout=60)
    assert (process.returncode, complained) == (code, "")
    assert f"0 finished, {agents} unfinished" in said


def test_many_agents_are_seen_to_be_made_and_can_be_stopped_before_all_are() -> None:
    main, side = pty.openpty()
    words = ["half.wat", "-n", "300000", "--args", "5", "--engine", "cpu"]
    with (
        os.fdopen(main, "rb", buffering=0) as terminal,
        subprocess.Popen(
            [STIG, "wasm", "run", *words], stdout=subprocess.PIPE, stderr=side, text=True
        ) as process,
    ):
        os.close(side)
        shown = b""
        while not (seen := re.findall(rb"agents made and run.* ([1-9]\d*)/300000", shown)):
            shown += terminal.read(4096)
        process.send_signal(signal.SIGTERM)
        reading = threading.Thread(target=lambda: _drain(terminal), daemon=True)
        reading.start()
        said, _ = process.communicate(timeout=100)
    assert int(seen[0]) < 300_000
    assert process.returncode == 143
    finished, unfinished = re.findall(r"([\d,]+) (?:finished|unfinished)", said)
    numbers = [int(one.replace(",", "")) for one in (finished, unfinished)]
    assert 0 < numbers[0] < 300_000
    assert sum(numbers) == 300_000


def _drain(terminal: IO[bytes]) -> None:
    with contextlib.suppress(OSError, ValueError):
        while terminal.read(4096):
            pass


def test_messages_to_nobody_are_told() -> None:
    done = run("mute.wat", "-n", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("3 agents: 3 finished, 3 messages to nobody\n")
    assert json.loads(run("mute.wat", "--json").stdout)["undeliverable"] == 1


def test_a_reader_that_goes_is_no_error() -> None:
    piped = f"{STIG} wasm run half.wat -n 20000 --args 5 --engine cpu --json | head -1"
    done = subprocess.run(piped, shell=True, capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("{\n", "")


def test_explain_tells_of_a_module() -> None:
    done = stig("wasm", "explain", "log.wat", "--stage", "module")
    lines = done.stdout.splitlines()
    assert lines[1:] == [
        "  imports stigmergy.log: (i32, i32) -> ()",
        "  memory of 1 page, at most any number",
        "  function 0 is stigmergy.log: (i32, i32) -> ()",
        "  function 1 'run': () -> ()",
    ]
    whole = stig("wasm", "explain", "half.wat")
    assert all(
        f"{heading} of half" in whole.stdout for heading in ("typed tree", "lowered", "WGSL")
    )
    assert whole.stdout.endswith("return r0;\n}\n")
    assert stig("wasm", "explain", "half.wat", "--function", "x").returncode == 2
    assert stig("wasm", "explain", "half.wat", "--stage", "x").returncode == 2
    assert stig("wasm", "explain", "foreign.wat").returncode == 3


def test_bench_prints_a_table_that_fits() -> None:
    words = ("--kernel", "fib", "-n", "20", "--rounds", "1", "--engine", "cpu")
    done = stig("wasm", "bench", *words)
    assert done.returncode == 0, done.stderr
    assert "fib(1000), 20 agents" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    rows = json.loads(stig("wasm", "bench", *words, "--json").stdout)["kernels"]["fib"]
    assert [row["agents"] for row in rows] == [20, 20, 20]
    assert stig("wasm", "bench", "--kernel", "x").returncode == 2
    assert stig("wasm", "bench", "--engine", "auto").returncode == 2


def test_work_tells_how_many_failed_and_refuses_a_folder_that_is_not_there() -> None:
    for args in ("[2]", "[0]"):
        stig("board", "post", "wasm", "--payload", f'{{"module": "half.wat", "args": {args}}}')
    refused = stig("wasm", "work", "--modules", "absent", "--until-idle")
    assert refused.returncode == 2
    assert "'absent', which is no folder" in refused.stderr
    done = stig("wasm", "work", "--modules", ".", "--until-idle", "--engine", "cpu")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 tasks came to an end here, 1 of them failed\n"
    assert "takes wasm tasks" in done.stderr
