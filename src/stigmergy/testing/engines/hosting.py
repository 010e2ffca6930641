"""Globals, and what agents ask of their host: output, randomness, time."""

from __future__ import annotations

import numpy as np

from stigmergy.testing.engines.values import FIRST_ID, crew
from stigmergy.wasm.engine import Engine, Status, TrapKind
from stigmergy.wasm.hostcalls import HostCall, Imports, clock_ns, random_bits
from stigmergy.wasm.module.model import GlobalType

__all__ = ["HostRules"]

_GLOBALS = """
(module
  (import "env" "base" (global $base i64))
  (global $a (mut i32) (i32.const -1))
  (global $b (mut i64) (i64.const 0x1122334455667788))
  (global $c (mut f32) (f32.const 1.5))
  (global $d (mut f64) (f64.const -0.0))
  (global $e i32 (i32.const 12))
  (global $f (mut funcref) (ref.func $look))
  (global $g (mut i64) (global.get $base))
  (func $look (export "look") (result i32 i64 f32 f64 i64)
    (global.get $a) (global.get $b) (global.get $c) (global.get $d) (global.get $g))
  (func (export "set") (param i32 i64) (global.set $a (local.get 0)) (global.set $b (local.get 1))))
"""
_BASE = 0xFEDCBA9876543210
_FRESH = (_BASE, 2**32 - 1, 0x1122334455667788, 0x3FC00000, 2**63, 12, 0, _BASE)

_OUTPUT = """
(module
  (import "stigmergy" "output" (func $output (param i32 i32) (result i32)))
  (import "stigmergy" "log" (func $log (param i32 i32)))
  (memory 1)
  (data (i32.const 1) "hello, world")
  (func (export "write") (param i32 i32) (result i32)
    (call $output (local.get 0) (local.get 1)))
  (func (export "log") (param i32 i32) (call $log (local.get 0) (local.get 1))))
"""

_ASKING = """
(module
  (import "stigmergy" "agent_id" (func $agent_id (result i32)))
  (import "stigmergy" "random" (func $random (result i64)))
  (import "stigmergy" "clock" (func $clock (result i64)))
  (func (export "id") (result i32) (call $agent_id))
  (func (export "draw") (result i64 i64 i64) (call $random) (call $random) (call $random))
  (func (export "times") (param $n i32) (result i64 i64) (local $first i64)
    (local.set $first (call $clock))
    (loop $l
      (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (local.get $first) (call $clock)))
"""


class HostRules:
    """Globals and the functions of the host."""

    def test_globals_are_seen_and_set_as_their_bits(self, engine: Engine) -> None:
        """Imported ones first, references as 0, each agent's its own."""
        value = (GlobalType("i64", mutable=False), _BASE)
        imports = Imports(globals={("env", "base"): value})
        with crew(engine, _GLOBALS, imports=imports) as agents:
            assert agents.globals() == [_FRESH] * 4
            assert agents.call("look") == [(*_FRESH[1:5], _BASE)] * 4
            agents.call("set", [5, 6, 7, 8], [-1, -2, -3, -4])
            assert [row[1:3] for row in agents.globals()] == [
                (5 + slot, 2**64 - 1 - slot) for slot in range(4)
            ]
            nan = 0x7FF8DEADBEEF0001
            values = np.array([[nan, 0x7FC00007, 1], [0, 0, 2]], dtype=np.uint64)
            agents.cohort.write_globals(agents.slots(3, 1), [4, 3, 1], values)
            assert agents.globals()[3] == (_BASE, 1, 2**64 - 4, 0x7FC00007, nan, 12, 0, _BASE)
            assert agents.call("look")[1] == (2, 2**64 - 2, 0, 0, _BASE)
            assert agents.call("look")[2] == (7, 2**64 - 3, *_FRESH[3:5], _BASE)

    def test_output_is_appended_until_it_is_full(self, engine: Engine) -> None:
        """The answer is how many bytes fitted; agents' outputs are their own."""
        with crew(engine, _OUTPUT, output_bytes=21) as agents:
            assert agents.call("write", [1, 2, 1, 3], [12, 3, 0, 7]) == [(12,), (3,), (0,), (7,)]
            assert agents.outputs() == [b"hello, world", b"ell", b"", b"llo, wo"]
            assert agents.call("write", 1, [12, 12, 22, 14]) == [(9,), (12,), (21,), (14,)]
            text = b"hello, world" + bytes(9)
            assert agents.outputs() == [
                b"hello, worldhello, wo",
                b"ellhello, world",
                text,
                b"llo, wo" + text[:14],
            ]
            assert agents.call("write", 1, 9) == [(0,), (6,), (0,), (0,)]
            assert agents.outputs()[1] == b"ellhello, worldhello,"

    def test_a_log_is_a_line_and_cut_where_it_does_not_fit(self, engine: Engine) -> None:
        """The end of the line counts as a byte of it."""
        with crew(engine, _OUTPUT, output_bytes=12) as agents:
            agents.call("log", 1, [0, 5, 11, 12])
            assert agents.outputs() == [b"\n", b"hello\n", b"hello, worl\n", b"hello, world"]
            agents.call("log", 2, 5)
            assert agents.outputs() == [
                b"\nello,\n",
                b"hello\nello,\n",
                b"hello, worl\n",
                b"hello, world",
            ]

    def test_an_output_of_no_bytes_takes_nothing(self, engine: Engine) -> None:
        """And is no trouble."""
        with crew(engine, _OUTPUT, output_bytes=0) as agents:
            assert agents.call("write", 1, 5) == [(0,)] * 4
            assert agents.outputs() == [b""] * 4

    def test_memory_that_a_host_call_names_must_be_there(self, engine: Engine) -> None:
        """To the last byte; else the agent traps, in the function that called."""
        with crew(engine, _OUTPUT, size=5) as agents:
            agents.begin("write", [65_536, 65_535, 65_530, -1, 65_537], [0, 1, 7, 1, 0])
            finished, trapped = Status.FINISHED, Status.TRAPPED
            assert agents.run() == [finished, finished, trapped, trapped, trapped]
            for trap in agents.traps()[2:]:
                assert trap is not None
                assert trap.kind == TrapKind.MEMORY_OUT_OF_BOUNDS
                assert trap.function == agents.function("write")
                assert trap.offset is not None
                assert agents.module.function_at(trap.offset) == trap.function
            assert agents.outputs() == [b"", b"\0", b"", b"", b""]

    def test_an_agent_knows_its_number(self, engine: Engine) -> None:
        """Which it was created with."""
        with crew(engine, _ASKING, size=2) as agents:
            assert agents.call("id") == [(FIRST_ID,), (FIRST_ID + 1,)]
            agents.cohort.create(agents.slots(), np.array([2**32 - 1, 0], dtype=np.uint32))
            assert agents.call("id") == [(2**32 - 1,), (0,)]

    def test_random_bits_follow_from_the_seed_the_number_and_the_draws(
        self, engine: Engine
    ) -> None:
        """As hostcalls says, over calls too, and whatever the seed's size."""
        for seed in (0, 7, 2**64 - 1):
            with crew(engine, _ASKING, seed=seed) as agents:
                for first in (0, 3):
                    assert agents.call("draw") == [
                        tuple(random_bits(seed, FIRST_ID + slot, first + n) for n in range(3))
                        for slot in range(4)
                    ]

    def test_the_clock_goes_with_the_count(self, engine: Engine) -> None:
        """As hostcalls says, from where the settings start it."""
        for start in (0, 1_700_000_000_000_000_000, 2**64 - 5):
            with crew(engine, _ASKING, clock_start_ns=start) as agents:
                loops = [1, 2, 30, 5_000]
                # entry and call; then a set, five an iteration, a get and the second call
                assert agents.call("times", loops) == [
                    (clock_ns(start, 2), clock_ns(start, 2 + 1 + 5 * n + 2)) for n in loops
                ]

    def test_an_import_can_be_mapped_by_hand(self, engine: Engine) -> None:
        """To another function of the host, or to nothing at all."""
        wat = """(module
          (import "env" "who" (func $who (result i32)))
          (import "env" "debug" (func $debug (param i32 f64) (result i64)))
          (func (export "f") (result i32 i64)
            (call $who) (call $debug (i32.const 1) (f64.const 2))))
        """
        functions = {("env", "who"): HostCall.AGENT_ID, ("env", "debug"): HostCall.NOTHING}
        with crew(engine, wat, imports=Imports(functions=functions)) as agents:
            assert agents.call("f") == [(FIRST_ID + slot, 0) for slot in range(4)]
