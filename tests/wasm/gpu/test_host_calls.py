"""The swarm's functions, as hostcalls.py says, and where agents stop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import Status
from stigmergy.wasm.gpu.layout import Header
from stigmergy.wasm.hostcalls import clock_ns, random_bits

pytestmark = pytest.mark.needs_vulkan
WHOLE = 1 << 40

PROGRAMS = """(module
 (import "stigmergy" "agent_id" (func $agent_id (result i32)))
 (import "stigmergy" "output" (func $output (param i32 i32) (result i32)))
 (import "stigmergy" "log" (func $log (param i32 i32)))
 (import "stigmergy" "clock" (func $clock (result i64)))
 (import "stigmergy" "random" (func $random (result i64)))
 (import "stigmergy" "send" (func $send (param i32 i32 i32) (result i32)))
 (import "stigmergy" "receive" (func $receive (param i32 i32) (result i64)))
 (import "stigmergy" "wait" (func $wait))
 (memory (export "memory") 1)
 (data (i32.const 1) "hello, swarm")
 (func (export "id") (result i32) (call $agent_id))
 (func (export "dice") (result i64 i64) (call $random) (call $random))
 (func (export "time") (result i64 i64) (call $clock) (call $clock))
 (func (export "write") (param i32) (result i32)
  (call $log (i32.const 8) (i32.const 5))
  (call $output (i32.const 1) (local.get 0)))
 (func (export "post") (param i32 i32) (result i32 i32)
  (call $send (i32.const 7) (i32.const 1) (local.get 0))
  (call $send (i32.const 8) (i32.const 3) (local.get 1)))
 (func $get (result i64) (call $wait) (call $receive (i32.const 100) (i32.const 3)))
 (func (export "exchange") (param i64) (result i64 i64)
  (i64.add (local.get 0) (call $get)) (call $get))
)"""


@pytest.fixture
def bench(bench_of: Callable[..., Any]) -> Any:
    return bench_of(PROGRAMS, seed=0x123456789ABCDEF0, clock_start_ns=(1 << 40) - 2)


def test_an_agent_knows_its_number(bench: Any) -> None:
    assert [one.results for one in bench.gpu_run("id", [[], [], []])] == [(100,), (101,), (102,)]


def test_random_bits_are_those_of_the_seed(bench: Any) -> None:
    for slot, one in enumerate(bench.gpu_run("dice", [[], []])):
        drawn = tuple(random_bits(0x123456789ABCDEF0, 100 + slot, at) for at in range(2))
        assert one.results == drawn


@pytest.mark.parametrize("slice_", [WHOLE, 1])
def test_the_clock_counts_the_call_itself(bench: Any, slice_: int) -> None:
    (one,) = bench.gpu_run("time", [[]], slice_)
    assert one.results == tuple(clock_ns((1 << 40) - 2, count) for count in (2, 3))


def test_output_is_cut_off_where_it_is_full(bench_of: Callable[..., Any]) -> None:
    bench = bench_of(PROGRAMS, output_bytes=10)
    cohort = bench.cohort("write", [[2], [12], [1 << 31]])
    outcomes = cohort.run()
    assert [one.results for one in outcomes] == [(2,), (4,), ()]
    assert str(outcomes[2].trap) == "memory out of bounds"
    used = cohort.read_state()[Header.OUTPUT_BYTES]
    written = cohort.read(2).tobytes()
    size = 4 * bench.compiled.layout.output_words
    texts = [written[size * at : size * at + used[at]] for at in range(3)]
    assert texts == [b"swarm\nhe", b"swarm\nhell", b"swarm\n"]


def test_messages_go_to_the_outbox(bench_of: Callable[..., Any]) -> None:
    bench = bench_of(PROGRAMS, mailbox_messages=1, message_bytes=6)
    cohort = bench.cohort("post", [[5, 2], [7, 6]])
    assert [one.results for one in cohort.run()] == [(0, 1), (2, 0)]
    layout = bench.compiled.layout
    mail = cohort.read(3).reshape(2, layout.mail_words)[:, layout.box_words :]
    assert mail[:, :3].tolist() == [[1, 7, 5], [1, 8, 6]]
    assert [row[3:].tobytes() for row in mail] == [b"hello\0\0\0", b"llo, s\0\0"]


@pytest.mark.parametrize("most", [1 << 30, 1])
def test_an_agent_waits_for_messages(bench_of: Callable[..., Any], most: int) -> None:
    bench = bench_of(PROGRAMS, mailbox_messages=2, message_bytes=8)
    cohort = bench.cohort("exchange", [[1], [1 << 33]])
    cohort.run(most=most)
    state = cohort.read_state()
    assert (state[Header.STATUS] == Status.WAITING).all()
    layout = bench.compiled.layout
    mail = np.zeros((2, layout.mail_words), np.uint32)
    for slot in range(2):
        words = np.frombuffer(b"abcdefgh", np.uint32)
        mail[slot, 0] = 2
        mail[slot, 1:5] = [9 + slot, 8, *words]
        mail[slot, 5:9] = [20, 2, *words]
    cohort.write(3, mail)
    for _ in range(2):
        state = cohort.read_state()
        state[Header.STATUS] = Status.READY
        cohort.gpu.device.queue.write_buffer(cohort.state, 0, state)
        outcomes = cohort.run(most=most)
    assert [one.results for one in outcomes] == [
        ((9 << 32 | 8) + 1, 20 << 32 | 2),
        ((10 << 32 | 8) + (1 << 33), 20 << 32 | 2),
    ]
    assert outcomes[0].memory.endswith(b"abc")


def test_an_agent_stops_where_its_count_reaches_the_target(bench_of: Callable[..., Any]) -> None:
    """The entry counts 1; each head of the loop is reached 6 later than the one before."""
    bench = bench_of("""(module (memory (export "memory") 1)
      (func (export "run") (param i32)
       (loop $l
        (local.set 0 (i32.sub (local.get 0) (i32.const 1)))
        (br_if $l (local.get 0)))
       (memory.fill (i32.const 0) (i32.const 7) (i32.const 200)))
      (func (export "brief") (memory.fill (i32.const 0) (i32.const 7) (i32.const 100)))
    )""")
    stops = {}
    for target in range(1, 25):
        cohort = bench.cohort("run", [[3]])
        state = cohort.dispatch(target)
        stops[target] = int(state[Header.COUNT_LOW, 0])
        assert (state[Header.STATUS, 0] == Status.READY) == (target <= 223)
    expected = {1: 1} | dict.fromkeys(range(2, 8), 7) | dict.fromkeys(range(8, 14), 13)
    expected |= dict.fromkeys(range(14, 25), 223)
    assert stops == expected
    state = bench.cohort("brief", [[]]).dispatch(2)
    assert state[Header.STATUS, 0] == Status.FINISHED


def test_an_agent_whose_target_is_reached_is_left_alone(bench: Any) -> None:
    cohort = bench.cohort("id", [[]])
    state = cohort.dispatch(0)
    assert (state[Header.STATUS, 0], state[Header.COUNT_LOW, 0]) == (Status.READY, 0)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("(module (memory 1) (memory 1))", "several memories"),
        ("(module (memory i64 1))", "64 bits"),
        ('(module (import "env" "f" (func)))', "env.f"),
        ('(module (func (export "f") (param v128)))', "v128"),
    ],
)
def test_what_a_shader_cannot_say_is_refused(
    bench_of: Callable[..., Any], source: str, reason: str
) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        bench_of(source)


def test_a_function_of_very_many_blocks_inside_each_other_is_refused(
    bench_of: Callable[..., Any],
) -> None:
    source = f'(module (func (export "f") {"(block " * 300} {")" * 300}))'
    with pytest.raises(UnsupportedError, match="more than 100 blocks"):
        bench_of(source)
