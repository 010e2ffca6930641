"""What agents are from creation to discard, and what a call is from begin to finish."""

from __future__ import annotations

import numpy as np
import pytest

from stigmergy.errors import UnsupportedError
from stigmergy.testing.engines.values import FIRST_ID, PLENTY, crew, mail
from stigmergy.wasm.engine import CohortSettings, Engine, Status
from stigmergy.wasm.module.reading import read_module

__all__ = ["LifetimeRules"]

_KEEPER = """
(module
  (import "stigmergy" "output" (func $output (param i32 i32) (result i32)))
  (import "stigmergy" "random" (func $random (result i64)))
  (import "stigmergy" "send" (func $send (param i32 i32 i32) (result i32)))
  (memory 1)
  (global $calls (mut i32) (i32.const 7))
  (data (i32.const 16) "fresh")
  (func (export "mark") (param $by i32) (result i32)
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get $by)))
    (i32.store8 (i32.const 16) (i32.const 88))
    (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
    (drop (call $output (i32.const 16) (i32.const 5)))
    (drop (call $send (i32.const 1) (i32.const 16) (i32.const 5)))
    (i32.load (i32.const 0)))
  (func (export "draw") (result i64) (call $random)))
"""
"""What an agent can keep: memory, a global, output, mail, and how much randomness it drew."""

_STEPS = """
(module
  (memory 1)
  (func (export "sum") (param $n i32) (result i32) (local $sum i32)
    (loop $more
      (local.set $sum (i32.add (local.get $sum) (local.get $n)))
      (i32.store (i32.const 4) (local.get $sum))
      (br_if $more (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $sum))
  (func (export "product") (param $n i64) (param $m i64) (result i64)
    (i64.mul (local.get $n) (local.get $m)))
  (func (export "swap") (param $a i32) (param $b i64) (result i64 i32)
    (local.get $b) (local.get $a))
  (func (export "nothing"))
  (func (export "fault") unreachable))
"""

_START = """
(module
  (memory 1)
  (global $g (mut i32) (i32.const 1))
  (func $start
    (global.set $g (i32.const 40))
    (i32.store (i32.const 0) (i32.const 41)))
  (start $start)
  (func (export "look") (result i32 i32) (global.get $g) (i32.load (i32.const 0)))
  (func (export "change") (global.set $g (i32.const 3))))
"""


class LifetimeRules:
    """Creating, calling, calling again, discarding."""

    def test_an_engine_says_what_it_is(self, engine: Engine) -> None:
        """For the user that chooses one, and for people."""
        assert engine.name in {"cpu", "gpu"}
        assert engine.device

    def test_a_fresh_agent_is_idle(self, engine: Engine) -> None:
        """And running it changes nothing."""
        with crew(engine, _STEPS) as agents:
            assert agents.statuses() == [Status.IDLE] * 4
            assert agents.run() == [Status.IDLE] * 4
            assert agents.traps() == [None] * 4
            assert agents.outputs() == [b""] * 4

    def test_a_call_gives_each_agent_its_own_results(self, engine: Engine) -> None:
        """Of every number type, and several of them."""
        with crew(engine, _STEPS) as agents:
            assert agents.call("sum", [1, 2, 3, 100]) == [(1,), (3,), (6,), (5050,)]
            assert agents.call("product", [1, 2, 2**63, -1], [3, 2**40, 3, -1]) == [
                (3,),
                (2**41,),
                (2**63,),
                (1,),
            ]
            assert agents.call("swap", [-1, 0, 1, 2], 2**63) == [
                (2**63, number) for number in (2**32 - 1, 0, 1, 2)
            ]
            assert agents.call("nothing") == [()] * 4

    def test_agents_run_different_functions_at_the_same_time(self, engine: Engine) -> None:
        """In one run, whatever the others are about."""
        with crew(engine, _STEPS, size=6) as agents:
            agents.begin("sum", [10, 20], slots=agents.slots(1, 4))
            agents.begin("product", 6, 7, slots=agents.slots(3))
            agents.begin("fault", slots=agents.slots(5))
            agents.begin("nothing", slots=agents.slots(0))
            assert agents.run() == [
                Status.FINISHED,
                Status.FINISHED,
                Status.IDLE,
                Status.FINISHED,
                Status.FINISHED,
                Status.TRAPPED,
            ]
            assert agents.results("sum", agents.slots(1, 4)) == [(55,), (210,)]
            assert agents.results("product", agents.slots(3)) == [(42,)]

    def test_slots_come_in_any_order(self, engine: Engine) -> None:
        """And what is returned comes in the same."""
        with crew(engine, _STEPS, size=300) as agents:
            some = agents.slots(299, 3, 150, 0, 64, 63)
            arguments = [int(slot) + 1 for slot in some]
            expected = [(n * (n + 1) // 2,) for n in arguments]
            assert agents.call("sum", arguments, slots=some) == expected
            assert agents.results("sum", some[::-1].copy()) == expected[::-1]
            content = agents.cohort.read_memory(some, 4, 4).view("<u4")[:, 0]
            assert content.tolist() == [number for (number,) in expected]
            others = np.setdiff1d(agents.slots(), some)
            assert set(agents.statuses(others)) == {Status.IDLE}

    def test_run_leaves_alone_whom_it_is_not_told_to_run(self, engine: Engine) -> None:
        """And who is finished stays so, with its count."""
        with crew(engine, _STEPS) as agents:
            agents.begin("sum", 3)
            some = agents.slots(0, 2)
            agents.run(slots=some)
            ready, finished = Status.READY, Status.FINISHED
            assert agents.statuses() == [finished, ready, finished, ready]
            before = agents.counts(some)
            assert agents.run() == [finished] * 4
            assert agents.counts(some) == before
            assert agents.results("sum") == [(6,)] * 4

    def test_no_slots_are_no_trouble(self, engine: Engine) -> None:
        """For any verb."""
        with crew(engine, _KEEPER) as agents:
            none = np.array([], dtype=np.int64)
            cohort = agents.cohort
            agents.begin("mark", 1, slots=none)
            assert agents.run(slots=none) == []
            assert agents.results("mark", none) == []
            assert agents.counts(none) == []
            assert agents.statuses(none) == []
            assert agents.traps(none) == []
            assert cohort.memory_sizes(none).shape == (0,)
            assert cohort.read_memory(none, 0, 4).shape == (0, 4)
            cohort.write_memory(none, 0, np.zeros((0, 4), dtype=np.uint8))
            assert cohort.read_globals(none).shape == (0, 1)
            assert list(cohort.outputs(none)) == []
            assert len(cohort.read_mail(none, "outbox")) == 0
            cohort.write_mail(none, "inbox", mail(64))
            cohort.wake(none)
            cohort.create(none, none.astype(np.uint32))
            cohort.discard(none)

    def test_a_second_call_finds_what_the_first_one_left(self, engine: Engine) -> None:
        """Memory, globals, output, mail and randomness are the instance's, not the call's."""
        with crew(engine, _KEEPER, size=2) as agents:
            first = agents.call("draw")
            assert agents.call("mark", [5, 6]) == [(5,), (6,)]
            assert agents.call("mark", [10, 20]) == [(15,), (26,)]
            assert agents.call("draw") != first
            assert agents.globals() == [(9,), (9,)]
            assert agents.memory(16, 5) == [b"Xresh"] * 2
            assert agents.outputs() == [b"XreshXresh"] * 2
            assert len(agents.cohort.read_mail(agents.slots(), "outbox")) == 4

    @pytest.mark.parametrize("discard", [True, False])
    def test_a_created_agent_is_fresh_whatever_its_slot_held(
        self, engine: Engine, *, discard: bool
    ) -> None:
        """Only the slots named; their neighbours keep what they have."""
        with crew(engine, _KEEPER) as agents:
            assert agents.call("mark", 1) == [(1,)] * 4
            drawn = agents.call("draw")
            agents.cohort.write_mail(
                agents.slots(), "inbox", mail(64, *((slot, 9, b"hi") for slot in range(4)))
            )
            anew, kept = agents.slots(2, 0), agents.slots(1, 3)
            if discard:
                agents.cohort.discard(anew)
            agents.create(2, 0)
            idle, finished = Status.IDLE, Status.FINISHED
            assert agents.statuses() == [idle, finished, idle, finished]
            assert agents.globals() == [(7,), (8,), (7,), (8,)]
            assert agents.memory(16, 5) == [b"fresh", b"Xresh"] * 2
            assert agents.memory(0, 4) == [bytes(4), b"\1\0\0\0"] * 2
            assert agents.outputs() == [b"", b"Xresh"] * 2
            for box in ("inbox", "outbox"):
                assert agents.cohort.read_mail(agents.slots(), box).slots.tolist() == [1, 3]
            assert agents.call("draw", slots=agents.slots(0, 2)) == [drawn[0], drawn[2]]
            assert agents.call("mark", 1, slots=anew) == [(1,)] * 2
            assert agents.call("mark", 1, slots=kept) == [(2,)] * 2

    def test_an_agent_of_another_number_in_the_same_slot_is_another(self, engine: Engine) -> None:
        """The number is the agent's, not the slot's."""
        with crew(engine, _KEEPER, size=2) as agents:
            first = agents.call("draw")
            ids = np.array([FIRST_ID + 1, FIRST_ID], dtype=np.uint32)
            agents.cohort.create(agents.slots(), ids)
            assert agents.call("draw") == first[::-1]

    def test_a_call_that_is_not_finished_can_be_given_up(self, engine: Engine) -> None:
        """What it did so far stays done."""
        with crew(engine, _STEPS) as agents:
            agents.begin("sum", 1_000_000_000)
            assert agents.run(50) == [Status.READY] * 4
            (stored, *_) = agents.memory(4, 4)
            assert stored != bytes(4)
            assert agents.call("product", 3, 5) == [(15,)] * 4
            assert agents.memory(4, 4) == [stored] * 4

    def test_an_agent_that_trapped_can_be_called_again(self, engine: Engine) -> None:
        """It lost its call, not its memory."""
        with crew(engine, _STEPS) as agents:
            agents.call("sum", 4)
            agents.begin("fault")
            assert agents.run() == [Status.TRAPPED] * 4
            assert agents.run() == [Status.TRAPPED] * 4
            agents.begin("sum", 0, slots=agents.slots(0))
            assert agents.statuses()[0] == Status.READY
            assert agents.traps()[0] is None
            assert agents.call("product", 2, 2) == [(4,)] * 4
            assert agents.memory(4, 4) == [b"\x0a\0\0\0"] * 4

    def test_reserve_keeps_who_is_there(self, engine: Engine) -> None:
        """In the midst of a call, too; asking for less changes nothing."""
        with crew(engine, _STEPS, size=3) as agents:
            agents.begin("sum", [10_000, 20_000, 30_000])
            assert agents.run(100) == [Status.READY] * 3
            counts = agents.counts()
            for capacity in (2, 4, 500):
                agents.cohort.reserve(capacity)
            agents.create(499)
            assert agents.counts() == counts
            assert agents.call("sum", 3, slots=agents.slots(499)) == [(6,)]
            assert agents.run() == [Status.FINISHED] * 3
            expected = [n * (n + 1) // 2 % 2**32 for n in (10_000, 20_000, 30_000)]
            assert agents.results("sum") == [(number,) for number in expected]

    def test_a_start_function_runs_with_the_first_call_and_before_it(self, engine: Engine) -> None:
        """Once in the life of an instance; it is counted with that call."""
        with crew(engine, _START) as agents:
            assert agents.globals() == [(1,)] * 4
            assert agents.call("look") == [(40, 41)] * 4
            first = agents.counts()
            agents.call("change")
            assert agents.call("look") == [(3, 41)] * 4
            # the start function's own: its entry, two constants and a store, a constant and a set
            assert [a - b for a, b in zip(first, agents.counts(), strict=True)] == [6] * 4
            agents.create(2)
            assert agents.call("look", slots=agents.slots(2)) == [(40, 41)]

    def test_a_start_function_waits_for_a_target_like_any_other(self, engine: Engine) -> None:
        """With the target 0 nothing happened yet."""
        with crew(engine, _START) as agents:
            agents.begin("look")
            assert agents.run(0) == [Status.READY] * 4
            assert agents.globals() == [(1,)] * 4
            assert agents.counts() == [0] * 4
            agents.begin("look")
            assert agents.run() == [Status.FINISHED] * 4
            assert agents.results("look") == [(40, 41)] * 4

    def test_cohorts_do_not_meet(self, engine: Engine) -> None:
        """Several modules live on an engine at once."""
        with crew(engine, _STEPS) as some, crew(engine, _KEEPER) as others:
            some.begin("sum", 100)
            others.begin("mark", 8)
            assert some.run(20) == [Status.READY] * 4
            assert others.run() == [Status.FINISHED] * 4
            assert some.run() == [Status.FINISHED] * 4
            assert others.results("mark") == [(8,)] * 4
            assert some.results("sum") == [(5050,)] * 4

    def test_many_agents_run_at_once(self, engine: Engine) -> None:
        """Two thousand, each with its own argument."""
        with crew(engine, _STEPS, size=2_000, memory_bytes=64) as agents:
            arguments = [slot % 97 + 1 for slot in range(2_000)]
            assert agents.call("sum", arguments) == [(n * (n + 1) // 2,) for n in arguments]

    def test_closing_twice_is_closing(self, engine: Engine) -> None:
        """Idempotent."""
        cohort = engine.cohort(read_module(_STEPS), CohortSettings())
        cohort.close()
        cohort.close()

    def test_a_module_that_asks_for_what_no_engine_offers_is_refused(self, engine: Engine) -> None:
        """Before anything runs, and by name."""
        for wat, name in (
            ('(module (import "env" "missing" (func)))', "env.missing"),
            ('(module (import "stigmergy" "nothing" (func)))', "stigmergy.nothing"),
            ('(module (import "stigmergy" "random" (func (result i32))))', "stigmergy.random"),
            ('(module (import "env" "g" (global i32)))', "env.g"),
            ('(module (import "env" "m" (memory 1)))', "env.m"),
            ('(module (import "env" "t" (table 1 funcref)))', "env.t"),
        ):
            with pytest.raises(UnsupportedError, match=name.replace(".", r"\.")):
                engine.cohort(read_module(wat), CohortSettings())

    def test_a_call_that_never_ends_stops_at_its_target(self, engine: Engine) -> None:
        """As often as it is told to go on."""
        with crew(engine, '(module (func (export "forever") (loop $l (br $l))))') as agents:
            agents.begin("forever")
            for target in (0, 1, 1_000, 20_000, 100_000):
                assert agents.run(target) == [Status.READY] * 4
                assert agents.counts() == [target] * 4
            assert target < PLENTY
