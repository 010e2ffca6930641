"""What a swarm does for its user, on each engine."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import numpy as np
import pytest

from stigmergy.errors import CorruptError, NotFoundError, UnsupportedError, UsageError
from stigmergy.testing.engines.modules import RING
from stigmergy.wasm import SwarmManager, TrapKind, WASMRuntime
from stigmergy.wasm.hostcalls import clock_ns, random_bits
from stigmergy.wasm.module.reading import InvalidModuleError
from stigmergy.wasm.runtime import OutOfInstructionsError, TrapError

SUM = """(module
  (memory (export "memory") 1 2)
  (global $result (mut i32) (i32.const 0))
  (global $first (mut i32) (i32.const 0))
  (global $second (mut i64) (i64.const 0))
  (func $sum (export "sum") (param $n i32) (result i32) (local $total i32)
    (loop $next
      (local.set $total (i32.add (local.get $total) (local.get $n)))
      (i32.store (i32.const 0) (local.get $total))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $total))
  (func (export "of_globals")
    (global.set $result
      (i32.add (global.get $first) (i32.wrap_i64 (global.get $second)))))
  (func (export "half") (param f64) (result f64) (f64.mul (local.get 0) (f64.const 0.5)))
  (func (export "poke") (param $at i32) (param $byte i32)
    (i32.store8 (local.get $at) (local.get $byte)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "stop") unreachable))"""

HOSTED = """(module
  (import "stigmergy" "agent_id" (func $me (result i32)))
  (import "stigmergy" "random" (func $random (result i64)))
  (import "stigmergy" "clock" (func $clock (result i64)))
  (import "stigmergy" "log" (func $log (param i32 i32)))
  (memory 1)
  (data (i32.const 0) "hello")
  (func (export "random") (result i64) (drop (call $random)) (call $random))
  (func (export "clock") (result i64) (call $clock))
  (func (export "log")
    (call $log (i32.const 0) (i32.const 5))
    (call $log (i32.const 1) (i32.const 3)))
  (func (export "me") (result i32) (call $me)))"""


def test_every_agent_gets_its_own_answer(engine: str) -> None:
    with SwarmManager.from_wasm(SUM, engine) as swarm:
        ids = [swarm.spawn_agent("sum", args=[n]) for n in range(1, 40)]
        result = swarm.dispatch()
        assert result.agent_results == {ids[n - 1]: n * (n + 1) // 2 for n in range(1, 40)}
        assert result.instruction_counts == {ids[n - 1]: 12 * n + 2 for n in range(1, 40)}
        assert (result.traps, result.unfinished) == ({}, [])
        assert sum(result.agents_on.values()) == 39
        assert swarm.get_agent_memory(ids[9], 4) == (55).to_bytes(4, "little")


def test_slices_change_neither_results_nor_counts(engine: str) -> None:
    def run(budget: int) -> tuple[dict[int, float], dict[int, int]]:
        with SwarmManager.from_wasm(SUM, engine) as swarm:
            swarm.spawn_agents(20, "sum", np.arange(1, 21))
            while (result := swarm.dispatch(max_instructions=budget)).unfinished:
                pass
            return result.agent_results, result.instruction_counts

    assert run(13) == run(50) == run(10_000)


def test_what_is_not_finished_is_said_and_goes_on(engine: str) -> None:
    with SwarmManager.from_wasm(SUM, engine) as swarm:
        short, long = swarm.spawn_agent("sum", args=[2]), swarm.spawn_agent("sum", args=[100])
        first = swarm.dispatch(max_instructions=200)
        assert (first.agent_results, first.unfinished) == ({short: 3}, [long])
        second = swarm.dispatch()
        assert (second.agent_results, second.unfinished) == ({short: 3, long: 5050}, [])


def test_entries_differ_between_agents_of_a_dispatch(engine: str) -> None:
    with SwarmManager.from_wasm(SUM, engine) as swarm:
        summed = swarm.spawn_agent(0, args=[4])
        halved = swarm.spawn_agent("half", args=[math.pi])
        globals_ = swarm.spawn_agent("of_globals", args=[40, 2])
        stopped = swarm.spawn_agent("stop")
        result = swarm.dispatch()
        assert result.agent_results == {summed: 10, halved: math.pi / 2, globals_: 42}
        assert result.traps[stopped].kind is TrapKind.UNREACHABLE
        assert result.traps[stopped].function == 5


def test_a_trap_is_one_agent_s_own(engine: str) -> None:
    with SwarmManager.from_wasm(SUM, engine) as swarm:
        agents = [swarm.spawn_agent("poke", args=[at, 7]) for at in (0, 65_535, 65_536, -1)]
        result = swarm.dispatch()
        assert sorted(result.agent_results) == agents[:2]
        assert {one: str(result.traps[one].kind) for one in result.traps} == {
            agents[2]: "memory out of bounds",
            agents[3]: "memory out of bounds",
        }
        assert swarm.get_agent_memory(agents[0]) == b"\7" + bytes(65_535)
        assert swarm.get_agent_memory(agents[1]) == bytes(65_535) + b"\7"
        assert swarm.get_agent_memory(agents[2]) == bytes(65_536)


def test_memory_given_at_the_start_lies_over_the_module_s(engine: str) -> None:
    with SwarmManager.from_wasm(HOSTED, engine) as swarm:
        agent = swarm.spawn_agent("log", memory_init=b"HE")
        other = swarm.spawn_agent("log")
        outputs = swarm.dispatch().agent_outputs
        assert outputs == {agent: b"HEllo\nEll\n", other: b"hello\nell\n"}


def test_memory_grows_up_to_the_cap(engine: str) -> None:
    with SwarmManager(engine, agent_memory_size=131_072) as swarm:
        swarm.load_bytecode(SUM)
        one, two = swarm.spawn_agent("grow", args=[1]), swarm.spawn_agent("grow", args=[2])
        assert swarm.dispatch().agent_results == {one: 1, two: -1}
        assert len(swarm.get_agent_memory(one)) == 131_072
        assert len(swarm.get_agent_memory(two)) == 65_536
        with pytest.raises(UsageError, match="differ in size"):
            swarm.get_memories([one, two])


def test_a_module_that_needs_more_memory_than_allowed_is_refused(engine: str) -> None:
    with SwarmManager(engine, agent_memory_size=1_024) as swarm:
        swarm.load_bytecode(SUM)  # it grows its memory, so it cannot be given less than it says
        swarm.spawn_agent("sum", args=[1])
        with pytest.raises(UnsupportedError, match="memory"):
            swarm.dispatch()


def test_several_modules_run_at_once(engine: str) -> None:
    with SwarmManager(engine) as swarm:
        first = swarm.load_bytecode(SUM)
        second = swarm.load_bytecode(
            '(module (func (export "sum") (param i32) (result i64) (i64.const -7)))'
        )
        agents = [swarm.spawn_agent("sum", args=[3], module=one) for one in (first, second) * 3]
        assert list(swarm.dispatch().agent_results.values()) != []
        assert swarm.dispatch().agent_results == dict(zip(agents, [6, -7] * 3, strict=True))
        assert len(swarm.placements) == 2
        with pytest.raises(UsageError, match="3 agents run"):
            swarm.unload_bytecode(second)
        for agent in agents[1::2]:
            swarm.kill_agent(agent)
        swarm.unload_bytecode(second)
        with pytest.raises(NotFoundError):
            swarm.spawn_agent(module=second)


def test_an_agent_can_be_called_again_and_keeps_its_memory(engine: str) -> None:
    with WASMRuntime.from_wasm(SUM, engine=engine) as runtime:
        assert runtime.call("sum", 5) == 15
        assert runtime.call("poke", 8, 9) == 0
        assert runtime.memory(9) == (15).to_bytes(8, "little") + b"\t"
        with pytest.raises(TrapError, match="unreachable"):
            runtime.call("stop")
        with pytest.raises(OutOfInstructionsError, match="100"):
            runtime.call("sum", 1_000_000, max_instructions=100)
        assert runtime.call("sum", 1) == 1


def test_random_and_clock_follow_from_the_seed(engine: str) -> None:
    with SwarmManager(engine, seed=5, clock_start_ns=1_000) as swarm:
        swarm.load_bytecode(HOSTED)
        drawn = [swarm.spawn_agent("random") for _ in range(3)]
        told, timed = swarm.spawn_agent("random", identity=1), swarm.spawn_agent("clock")
        results = swarm.dispatch().agent_results
        expected = [random_bits(5, one, 1) for one in (0, 1, 2, 1)]
        assert [int(results[one]) % 2**64 for one in (*drawn, told)] == expected
        assert results[timed] == clock_ns(1_000, 2)


def test_messages_arrive_between_rounds_whatever_the_slices(engine: str) -> None:
    def run(budget: int, rounds: int) -> list[float]:
        with SwarmManager.from_wasm(RING, engine) as swarm:
            ids = swarm.spawn_agents(10, "ring", np.tile([10, rounds], (10, 1)))
            while (result := swarm.dispatch(max_instructions=budget)).unfinished:
                pass
            return [result.agent_results[one] for one in ids]

    assert run(10_000, 3) == [(n - 3) % 10 for n in range(10)]
    assert run(7, 3) == run(10_000, 3)
    assert run(10_000, 25) == [(n - 25) % 10 for n in range(10)]


def test_a_swarm_that_waits_for_somebody_who_does_not_run_is_unfinished(engine: str) -> None:
    with SwarmManager.from_wasm(RING, engine) as swarm:
        first, second = swarm.spawn_agents(2, "ring", np.tile([2, 1], (2, 1)))
        assert swarm.dispatch([first]).unfinished == [first]
        assert swarm.dispatch([first]).unfinished == [first]
        assert swarm.dispatch([second]).agent_results == {second: 0}
        assert swarm.dispatch().agent_results == {first: 1, second: 0}


def test_messages_to_nobody_are_counted(engine: str) -> None:
    with SwarmManager.from_wasm(RING, engine) as swarm:
        (only,) = swarm.spawn_agents(1, "ring", [[5, 2]])
        result = swarm.dispatch()
        assert (result.agent_results, result.undeliverable) == ({only: 0}, 2)


POST = """(module
  (import "stigmergy" "send" (func $send (param i32 i32 i32) (result i32)))
  (import "stigmergy" "receive" (func $receive (param i32 i32) (result i64)))
  (memory 1)
  (func (export "send") (param $to i32) (result i32)
    (call $send (local.get $to) (i32.const 0) (i32.const 4)))
  (func (export "receive") (result i64) (call $receive (i32.const 8) (i32.const 4))))"""
DEAF = """(module
  (import "stigmergy" "send" (func $send (param i32 i32 i32) (result i32)))
  (memory 1)
  (func (export "idle")))"""


@pytest.mark.parametrize("module", ["(module (memory 1) (func))", DEAF], ids=["no boxes", "deaf"])
def test_messages_to_who_cannot_receive_are_counted(engine: str, module: str) -> None:
    with SwarmManager(engine) as swarm:
        imported = module.count("import")
        deaf = swarm.spawn_agent(imported, module=swarm.load_bytecode(module))
        swarm.load_bytecode(POST)
        swarm.spawn_agent("send", args=[deaf])
        assert swarm.dispatch().undeliverable == 1
        assert swarm.dispatch().undeliverable == 0
        assert swarm.undeliverable == 1


def test_messages_to_the_dead_are_counted_though_nobody_waits(engine: str) -> None:
    with SwarmManager.from_wasm(POST, engine) as swarm:
        dead, sender = swarm.spawn_agent("receive"), swarm.spawn_agent("send", args=[0])
        swarm.kill_agent(dead)
        assert swarm.dispatch().undeliverable == 1
        swarm.restart_agent(sender, "send", [77])
        assert swarm.dispatch([sender]).undeliverable == 1
        assert swarm.undeliverable == 2


def test_a_message_reaches_who_is_called_again_later(engine: str) -> None:
    with SwarmManager.from_wasm(POST, engine) as swarm:
        reader, sender = swarm.spawn_agent("receive"), swarm.spawn_agent("send", args=[0])
        assert swarm.dispatch().agent_results == {reader: -1, sender: 0}
        swarm.restart_agent(reader, "receive")
        result = swarm.dispatch()
        assert result.agent_results[reader] == sender << 32 | 4
        assert result.undeliverable == 0


def test_who_looks_on_is_told_and_can_end_a_dispatch(tmp_path: Path) -> None:
    stop, told = threading.Event(), list[tuple[int, int]]()

    def progress(done: int, agents: int) -> None:
        told.append((done, agents))
        if len(told) == 2:
            stop.set()

    with SwarmManager.from_wasm(SUM, "cpu", max_agents=3000) as swarm:
        swarm.spawn_agents(3000, "sum", np.full(3000, 4))
        result = swarm.dispatch(stop=stop, progress=progress)
        assert told == [(256, 3000), (768, 3000)]
        assert (len(result.agent_results), len(result.unfinished)) == (768, 3000 - 768)
        swarm.save(tmp_path / "swarm")
        with SwarmManager.restore(tmp_path / "swarm", "cpu") as again:
            assert set(again.dispatch().agent_results.values()) == {10}


def test_a_saved_swarm_goes_on_where_it_was(engine: str, tmp_path: Path) -> None:
    def finish(swarm: SwarmManager) -> object:
        while (result := swarm.dispatch(max_instructions=100)).unfinished:
            pass
        return result.agent_results, result.instruction_counts, result.agent_outputs

    with SwarmManager(engine, seed=3) as swarm:
        ring = swarm.load_bytecode(RING)
        sums = swarm.load_bytecode(SUM)
        swarm.kill_agent(swarm.spawn_agent("sum", args=[1]))
        swarm.spawn_agents(5, "ring", np.tile([5, 9], (5, 1)), module=ring)
        half = swarm.spawn_agents(2, "half", [[0.1], [math.inf]], module=sums)
        some = swarm.spawn_agent("sum", args=[50], memory_init=b"\1", module=sums)
        swarm.kill_agent(swarm.spawn_agent("sum", args=[1], module=sums))
        swarm.set_agent_memory(some, b"mark", 100)
        swarm.dispatch(max_instructions=70)
        swarm.restart_agent(half[0], "half", [8.0])
        swarm.save(tmp_path / "swarm")
        with SwarmManager.restore(tmp_path / "swarm", engine) as again:
            assert again.get_agent_memory(some, 4, 100) == b"mark"
            assert list(again.active_agents) == list(swarm.active_agents)
            assert again.spawn_agent("stop") == swarm.spawn_agent("stop")
            assert finish(again) == finish(swarm)


def test_what_is_no_saved_swarm_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "swarm"
    with pytest.raises(UsageError, match="no file"):
        SwarmManager.restore(path)
    with SwarmManager.from_wasm(SUM, "cpu") as swarm:
        swarm.spawn_agent("sum", args=[3])
        swarm.dispatch()
        swarm.save(path)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], b"nonsense", content[:200] + content[300:]):
        path.write_bytes(damaged)
        with pytest.raises(CorruptError, match="damaged"):
            SwarmManager.restore(path, "cpu")
    with (
        SwarmManager.from_wasm(SUM, "cpu", journal=False) as swarm,
        pytest.raises(UsageError, match="journal"),
    ):
        swarm.save(path)


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (b"", "begin with"),
        (b"\0asm", "version"),
        (b"\0asm\1\0\0\0\1", "too early"),
        ("(module (func (result i32)))", "type mismatch"),
        ("(module", "expected"),
        (b"\x7fELF" + bytes(100), "begin with"),
    ],
)
def test_bytes_that_are_no_module_are_refused_with_the_reason(module: bytes, says: str) -> None:
    with SwarmManager("cpu") as swarm, pytest.raises(InvalidModuleError, match=says):
        swarm.load_bytecode(module)


def test_an_import_that_is_not_there_is_named() -> None:
    module = '(module (import "env" "launch" (func)))'
    with (
        SwarmManager("cpu") as swarm,
        pytest.raises(UnsupportedError, match=r"env\.launch.*offers"),
    ):
        swarm.load_bytecode(module)


@pytest.mark.parametrize(
    ("entry", "args", "says"),
    [
        ("nothing", [], "exports 'sum'"),
        (99, [], "no function 99"),
        (-1, [], "no function -1"),
        ("sum", [], r"\(i32\) -> \(i32\)"),
        ("sum", [1, 2], r"\(i32\) -> \(i32\)"),
        ("sum", [2**40], "does not fit"),
        ("sum", [0.5], "no integer"),
        ("stop", [1, 2, 3], "2 mutable globals"),
    ],
)
def test_a_wrong_spawn_says_what_is_wrong(entry: int | str, args: list[float], says: str) -> None:
    with SwarmManager.from_wasm(SUM, "cpu") as swarm:
        with pytest.raises(UsageError, match=says):
            swarm.spawn_agent(entry, args=args)
        assert len(swarm.active_agents) == 0


def test_memory_out_of_reach_is_refused(engine: str) -> None:
    with SwarmManager.from_wasm(SUM, engine) as swarm:
        agent = swarm.spawn_agent("sum", args=[1])
        for size, offset in ((1, 65_536), (65_537, 0), (-1, 0), (1, -1)):
            with pytest.raises(UsageError, match="outside"):
                swarm.get_agent_memory(agent, size, offset)
        with pytest.raises(UsageError, match="outside"):
            swarm.set_agent_memory(agent, b"xx", 65_535)
        with pytest.raises(UsageError, match="memory_init"):
            swarm.spawn_agent("sum", memory_init=bytes(65_537), args=[1])


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="auto, cpu or gpu"):
        SwarmManager("tpu")  # pyright: ignore[reportArgumentType] - wrong on purpose
    with pytest.raises(UsageError, match="max_agents is 0"):
        SwarmManager("cpu", 0)
    with pytest.raises(UsageError, match="strict or fast"):
        SwarmManager("cpu", floats="sloppy")  # pyright: ignore[reportArgumentType] - wrong on purpose
    with SwarmManager.from_wasm(SUM, "cpu") as swarm, pytest.raises(UsageError, match="at least 1"):
        swarm.dispatch(max_instructions=0)


def test_spawning_is_writing_down(engine: str) -> None:
    """A thousand agents take 5 ms at most on a quiet machine; no engine is asked for them."""
    with SwarmManager.from_wasm(SUM, engine) as swarm:
        for n in range(1024):
            swarm.spawn_agent("sum", args=[n])
        assert swarm.placements == []


def test_a_call_that_cannot_begin_is_refused_again_and_again() -> None:
    """Not done halfway: an agent that sits in a cohort without its call would finish with 0."""
    text = '(module (memory 1) (func (export "f") (result funcref) (ref.null func)))'
    with SwarmManager.from_wasm(text, "cpu") as swarm:
        agent = swarm.spawn_agent("f", memory_init=b"kept", identity=7)
        for _ in range(3):
            with pytest.raises(UnsupportedError, match="funcref"):
                swarm.dispatch([agent])
        assert swarm._population.seating.memory_init  # pyright: ignore[reportPrivateUsage] - wrong on purpose
        assert swarm._population.seating.identities  # pyright: ignore[reportPrivateUsage] - wrong on purpose


def test_a_cohort_without_room_can_be_tried_with_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    from stigmergy.wasm.cpu.cohort import CpuCohort

    def reserve(_: CpuCohort, capacity: int) -> None:
        if capacity > 10:
            message = "no room"
            raise UnsupportedError(message)

    monkeypatch.setattr(CpuCohort, "reserve", reserve)
    with SwarmManager.from_wasm(SUM, "cpu", max_agents=100) as swarm:
        ids = swarm.spawn_agents(100, "sum", np.full(100, 2))
        for _ in range(2):
            with pytest.raises(UnsupportedError, match="no room"):
                swarm.dispatch()
        assert set(swarm.dispatch(ids[:5]).agent_results.values()) == {3}


def test_a_closed_swarm_runs_nothing(engine: str) -> None:
    with SwarmManager.from_wasm(SUM, engine) as swarm:
        swarm.spawn_agent("sum", args=[2])
        swarm.dispatch()
    with pytest.raises(UsageError, match="closed"):
        swarm.dispatch()
    with pytest.raises(UsageError, match="closed"):
        swarm.get_agent_memory(0)


def test_an_identity_is_of_32_bits_and_no_bound_wraps_around() -> None:
    with SwarmManager.from_wasm(SUM, "cpu") as swarm:
        for identity in (-1, 1 << 32):
            with pytest.raises(UsageError, match="32 bits"):
                swarm.spawn_agent("sum", args=[1], identity=identity)
        agent = swarm.spawn_agent("sum", args=[50])
        swarm.dispatch(max_instructions=100)
        assert swarm.dispatch(max_instructions=2**64 - 1).agent_results == {agent: 1275}


def test_numbers_of_numpy_are_numbers_and_can_be_saved(tmp_path: Path) -> None:
    with SwarmManager.from_wasm(SUM, "cpu") as swarm:
        half = swarm.spawn_agent("half", args=np.array([3], dtype=np.float32))
        total = swarm.spawn_agent("sum", args=[np.int64(4)])  # pyright: ignore[reportArgumentType] - wrong on purpose
        assert np.int64(total) in swarm.active_agents
        assert swarm.dispatch().agent_results == {half: 1.5, total: 10}
        with pytest.raises(NotFoundError, match=r"0\.7"):
            swarm.kill_agents([0.7])  # pyright: ignore[reportArgumentType] - wrong on purpose
        swarm.save(tmp_path / "swarm")
    with SwarmManager.restore(tmp_path / "swarm", "cpu") as again:
        assert list(again.active_agents) == [half, total]
    with (
        SwarmManager.from_wasm(SUM, "cpu") as swarm,
        pytest.raises(UsageError, match="fits into f64"),
    ):
        swarm.spawn_agent("half", args=[10**400])


def test_a_journal_does_not_grow_with_what_is_over() -> None:
    with SwarmManager("cpu") as swarm:
        for _ in range(100):
            for text in (SUM, RING, SUM):
                swarm.load_bytecode(text)
            swarm.kill_agent(swarm.spawn_agent("stop"))
        verbs = [one.verb for one in swarm._record.journal.operations]  # pyright: ignore[reportPrivateUsage] - wrong on purpose
        assert verbs == ["load", "load"]


@pytest.mark.parametrize("seed", range(8))
def test_a_saved_swarm_with_a_wrong_bit_is_refused_or_right(tmp_path: Path, seed: int) -> None:
    path, random = tmp_path / "swarm", np.random.default_rng(seed)
    with SwarmManager.from_wasm(SUM, "cpu") as swarm:
        swarm.spawn_agents(20, "sum", np.arange(1, 21))
        swarm.dispatch()
        swarm.save(path)
    content = path.read_bytes()
    for _ in range(20):
        damaged = bytearray(content)
        damaged[random.integers(len(damaged))] ^= 1 << int(random.integers(8))
        path.write_bytes(damaged)
        try:
            SwarmManager.restore(path, "cpu").close()
        except (CorruptError, UsageError):
            continue


@pytest.mark.parametrize(
    "change",
    [
        {"settings": {"max_agents": "x"}},
        {"settings": {"engine": "cpu"}},
        {"settings": [1]},
        {"operations": [["spawn", {}]]},
        {"operations": [["dispatch", {"agent_ids": 3, "max_instructions": 1}]]},
        {"operations": [["load", {}]]},
        {"operations": [["kill", [1]]]},
        {"operations": [["load", {"wasm": {"base64": "AA", "array": "x"}}]]},
        {"first_agent": -1},
        {"first_agent": 2**70},
    ],
)
def test_a_saved_swarm_that_says_nonsense_is_refused(
    tmp_path: Path, change: dict[str, object]
) -> None:
    path = tmp_path / "swarm"
    with SwarmManager.from_wasm(SUM, "cpu") as swarm:
        swarm.save(path)
    with path.open("rb") as file:
        arrays = dict(np.load(file))
    document = {**json.loads(arrays.pop("document").tobytes()), **change}
    text = np.frombuffer(json.dumps(document).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez_compressed(file, document=text, **arrays)
    with pytest.raises(CorruptError, match="damaged"):
        SwarmManager.restore(path, "cpu")


def test_a_module_with_endless_tables_is_refused() -> None:
    text = "(module (table 10000000 funcref) (table 10000000 funcref) (func))"
    with SwarmManager.from_wasm(text, "cpu") as swarm:
        swarm.spawn_agent()
        with pytest.raises(UnsupportedError, match="20000000 elements"):
            swarm.dispatch()
    with SwarmManager("cpu") as swarm, pytest.raises(UnsupportedError, match="64 bits"):
        swarm.load_bytecode("(module (table i64 1 funcref))")


def test_a_memory_that_begins_with_nothing_grows(engine: str) -> None:
    text = """(module (memory 0 1) (func (export "f") (result i32)
      (drop (memory.grow (i32.const 1)))
      (i32.store8 (i32.const 5) (i32.const 7))
      (i32.load8_u (i32.const 5))))"""
    with SwarmManager.from_wasm(text, engine) as swarm:
        agent = swarm.spawn_agent("f")
        assert swarm.dispatch().agent_results == {agent: 7}
        assert swarm.get_agent_memory(agent, 6) == b"\0\0\0\0\0\7"
