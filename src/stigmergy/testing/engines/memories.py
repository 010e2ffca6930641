"""Linear memories: each agent's own, of the size it may have, to the byte."""

from __future__ import annotations

import numpy as np
import pytest

from stigmergy.errors import UnsupportedError
from stigmergy.testing.engines.values import Crew, crew
from stigmergy.wasm.engine import CohortSettings, Engine, Status, TrapKind
from stigmergy.wasm.hostcalls import Imports
from stigmergy.wasm.module.model import PAGE_BYTES, Limits, MemoryType
from stigmergy.wasm.module.reading import read_module

__all__ = ["MemoryRules"]

_BYTES = """
(module
  (memory 1)
  (data (i32.const 3) "\\01\\02\\03\\ff")
  (data (i32.const 200) "tail")
  (func (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "poke64") (param i32 i64) (i64.store align=1 (local.get 0) (local.get 1)))
  (func (export "peek") (param i32) (result i32) (i32.load8_s (local.get 0)))
  (func (export "peek64") (param i32) (result i64) (i64.load align=1 (local.get 0)))
  (func (export "fill") (param i32 i32 i32)
    (memory.fill (local.get 0) (local.get 1) (local.get 2)))
  (func (export "copy") (param i32 i32 i32)
    (memory.copy (local.get 0) (local.get 1) (local.get 2))))
"""

_GROWING = """
(module
  (memory 1 {maximum})
  (func (export "size") (result i32) (memory.size))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))
  (func (export "peek") (param i32) (result i32) (i32.load (local.get 0)))
  (func (export "poke") (param i32) (i32.store (local.get 0) (i32.const -2))))
"""

_MINUS_ONE = 2**32 - 1


def _attack(agents: Crew, name: str, *arguments: int | list[int]) -> None:
    """Let the agents of the odd slots try something."""
    agents.begin(name, *arguments, slots=agents.slots()[1::2].copy())
    agents.run()


class MemoryRules:
    """Reading, writing, growing, and keeping out of each other's."""

    def test_a_fresh_memory_holds_the_modules_data_and_zeros(self, engine: Engine) -> None:
        """Of the size that the module declares."""
        with crew(engine, _BYTES) as agents:
            sizes = agents.cohort.memory_sizes(agents.slots())
            assert sizes.dtype == np.int64
            assert sizes.tolist() == [PAGE_BYTES] * 4
            image = bytes(3) + b"\1\2\3\xff" + bytes(193) + b"tail"
            assert agents.memory() == [image.ljust(PAGE_BYTES, b"\0")] * 4

    def test_without_a_memory_the_size_is_0(self, engine: Engine) -> None:
        """Not one page."""
        with crew(engine, '(module (func (export "f")))') as agents:
            agents.call("f")
            assert agents.cohort.memory_sizes(agents.slots()).tolist() == [0] * 4

    @pytest.mark.parametrize(
        ("offset", "size"), [(0, 4), (1, 1), (3, 9), (0, 0), (65_535, 1), (65_501, 35), (6, 7_001)]
    )
    def test_what_the_host_writes_is_what_agents_and_the_host_read(
        self, engine: Engine, offset: int, size: int
    ) -> None:
        """At any offset, of any size; bytes beside it and other agents stay as they are."""
        generator = np.random.default_rng(offset * 7 + size)
        with crew(engine, _BYTES, size=70) as agents:
            base = generator.integers(0, 256, (70, PAGE_BYTES), dtype=np.uint8)
            agents.cohort.write_memory(agents.slots(), 0, base)
            some = agents.slots(69, 0, 33, 5)
            part = generator.integers(0, 256, (4, size), dtype=np.uint8)
            agents.cohort.write_memory(some, offset, part)
            base[some, offset : offset + size] = part
            assert (agents.cohort.read_memory(agents.slots(), 0, PAGE_BYTES) == base).all()
            assert (agents.cohort.read_memory(some, offset, size) == part).all()
            one = agents.slots(33)
            assert (agents.cohort.read_memory(one, offset, size) == part[2:3]).all()
            if size:
                last = offset + size - 1
                seen = agents.call("peek", last, slots=some)
                assert [number % 256 for (number,) in seen] == part[:, -1].tolist()

    def test_stores_and_loads_need_no_alignment(self, engine: Engine) -> None:
        """A store touches its own bytes and no others."""
        with crew(engine, _BYTES, size=9) as agents:
            agents.call("fill", 0, 0xAA, 64)
            offsets = list(range(20, 29))
            agents.call("poke64", offsets, 0x0102030405060708)
            for offset, memory in zip(offsets, agents.memory(0, 64), strict=True):
                expected = bytearray(b"\xaa" * 64)
                expected[offset : offset + 8] = bytes(range(8, 0, -1))
                assert memory == bytes(expected)
            assert agents.call("peek64", offsets) == [(0x0102030405060708,)] * 9
            agents.call("poke", offsets, 0x1FF)
            assert agents.call("peek", offsets) == [(_MINUS_ONE,)] * 9

    def test_bulk_operations_move_bytes_exactly(self, engine: Engine) -> None:
        """Overlapping in either direction, at any alignment."""
        with crew(engine, _BYTES, size=8) as agents:
            text = np.arange(100, dtype=np.uint8)
            agents.cohort.write_memory(agents.slots(), 0, np.tile(text, (8, 1)))
            moves = [(0, 5, 50), (5, 0, 50), (3, 2, 1), (7, 40, 33), (41, 40, 17), (9, 9, 9)]
            moves += [(1, 99, 1), (0, 0, 0)]
            agents.call("copy", *(list(column) for column in zip(*moves, strict=True)))
            for (to, source, size), memory in zip(moves, agents.memory(0, 100), strict=True):
                expected = bytearray(text.tobytes())
                expected[to : to + size] = text.tobytes()[source : source + size]
                assert memory == bytes(expected)
            fills = [(slot, slot * 3, slot * 5) for slot in range(8)]
            agents.call("fill", *(list(column) for column in zip(*fills, strict=True)))
            for (to, byte, size), memory in zip(fills, agents.memory(0, 60), strict=True):
                assert memory[to : to + size] == bytes([byte]) * size

    def test_no_agent_reaches_the_memory_of_another(self, engine: Engine) -> None:
        """Writes at and over every bound; who stands beside is compared byte for byte."""
        with crew(engine, _BYTES, size=66) as agents:
            generator = np.random.default_rng(5)
            before = generator.integers(0, 256, (66, PAGE_BYTES), dtype=np.uint8)
            agents.cohort.write_memory(agents.slots(), 0, before)
            bounds = [0, 1, 65_520, 65_528, 65_529, 65_532, 65_535, 65_536, 65_537, 131_072]
            bounds += [2**31 - 4, 2**31, 2**32 - 65_536, 2**32 - 8, 2**32 - 1, 262_144, 8 * 65_536]
            bounds += [65_536 * slot for slot in range(16)]
            _attack(agents, "poke64", bounds, -1)
            _attack(agents, "poke", bounds[::-1], 0x5A)
            _attack(agents, "fill", bounds, 0xFF, bounds[::-1])
            _attack(agents, "copy", bounds, bounds[5:] + bounds[:5], 65_536)
            after = agents.cohort.read_memory(agents.slots(), 0, PAGE_BYTES)
            assert (after[::2] == before[::2]).all()
            assert (after[1::2] != before[1::2]).any(), "the attacks within bounds did happen"

    def test_a_bulk_operation_that_does_not_fit_writes_nothing(self, engine: Engine) -> None:
        """Not even the part that would."""
        with crew(engine, _BYTES) as agents:
            before = agents.memory()
            agents.begin("fill", 65_000, 1, 1_000)
            assert agents.run() == [Status.TRAPPED] * 4
            agents.begin("copy", 65_000, 0, 1_000)
            assert agents.run() == [Status.TRAPPED] * 4
            assert agents.memory() == before

    @pytest.mark.parametrize(("maximum", "most"), [("", 3), ("2", 2), ("9", 3)])
    def test_a_memory_grows_up_to_the_least_of_what_is_allowed(
        self, engine: Engine, maximum: str, most: int
    ) -> None:
        """By the module and by the settings; new pages are zeros, and bounds move along."""
        wat = _GROWING.format(maximum=maximum)
        with crew(engine, wat, memory_bytes=3 * PAGE_BYTES) as agents:
            more = most - 1
            assert agents.call("grow", [0, 1, more, most]) == [(1,), (1,), (1,), (_MINUS_ONE,)]
            pages = [1, 2, most, 1]
            assert agents.call("size") == [(number,) for number in pages]
            sizes = agents.cohort.memory_sizes(agents.slots())
            assert sizes.tolist() == [number * PAGE_BYTES for number in pages]
            ends = [number * PAGE_BYTES - 4 for number in pages]
            assert agents.call("peek", ends) == [(0,)] * 4
            agents.call("poke", ends)
            assert agents.call("peek", ends) == [(2**32 - 2,)] * 4
            agents.begin("poke", [end + 1 for end in ends])
            assert agents.run() == [Status.TRAPPED] * 4
            assert agents.call("grow", 65_536) == [(_MINUS_ONE,)] * 4
            assert agents.call("grow", -1) == [(_MINUS_ONE,)] * 4
            agents.create()
            assert agents.call("size") == [(1,)] * 4
            assert agents.call("grow", more) == [(1,)] * 4
            (content,) = set(agents.memory())
            assert not any(content)

    def test_a_memory_may_be_less_than_the_module_declares(self, engine: Engine) -> None:
        """Where it cannot find out: what lies beyond is out of bounds."""
        with crew(engine, _BYTES, memory_bytes=1_024, size=40) as agents:
            assert agents.cohort.memory_sizes(agents.slots()).tolist() == [1_024] * 40
            (fresh,) = set(agents.memory())
            assert fresh[200:204] == b"tail"
            agents.call("poke64", 1_016, [slot + 1 for slot in range(40)])
            assert [memory[1_016] for memory in agents.memory()] == list(range(1, 41))
            before = agents.memory()
            for offset in (1_017, 1_020, 1_024, 2_048, 65_528):
                agents.begin("poke64", offset, -1)
                assert agents.run() == [Status.TRAPPED] * 40
                traps = agents.traps()
                assert {trap.kind for trap in traps if trap} == {TrapKind.MEMORY_OUT_OF_BOUNDS}
            assert agents.memory() == before

    def test_data_beyond_a_smaller_memory_does_not_fit(self, engine: Engine) -> None:
        """As if the module had declared so little."""
        with crew(engine, _BYTES, memory_bytes=202) as agents:
            agents.begin("peek", 0)
            assert agents.run() == [Status.TRAPPED] * 4
            assert {trap.kind for trap in agents.traps() if trap} == {TrapKind.MEMORY_OUT_OF_BOUNDS}

    def test_a_module_that_would_notice_a_smaller_memory_is_refused(self, engine: Engine) -> None:
        """For it asks for the size."""
        with pytest.raises(UnsupportedError, match="memory"):
            engine.cohort(read_module(_GROWING.format(maximum="")), CohortSettings(memory_bytes=99))

    def test_an_imported_memory_is_each_agents_own(self, engine: Engine) -> None:
        """As if the module had defined it."""
        wat = """(module (import "env" "memory" (memory 1))
          (data (i32.const 0) "\\07")
          (func (export "add") (param i32) (result i32)
            (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get 0)))
            (i32.load (i32.const 0))))"""
        imports = Imports(memories={("env", "memory"): MemoryType(Limits(1, 2))})
        with crew(engine, wat, imports=imports) as agents:
            assert agents.call("add", [1, 2, 3, 4]) == [(8,), (9,), (10,), (11,)]
            assert agents.call("add", [1, 2, 3, 4]) == [(9,), (11,), (13,), (15,)]

    def test_an_imported_memory_is_as_large_as_what_is_given(self, engine: Engine) -> None:
        """Not as the module needs it at least."""
        wat = """(module (import "env" "memory" (memory 1))
          (func (export "size") (result i32) memory.size)
          (func (export "grow") (result i32) (memory.grow (i32.const 1))))"""
        imports = Imports(memories={("env", "memory"): MemoryType(Limits(2, 3))})
        with crew(engine, wat, imports=imports, memory_bytes=8 * PAGE_BYTES) as agents:
            assert agents.call("size") == [(2,)] * 4
            assert agents.cohort.memory_sizes(agents.slots()).tolist() == [2 * PAGE_BYTES] * 4
            assert agents.call("grow") == [(2,)] * 4
            assert agents.call("grow") == [(_MINUS_ONE,)] * 4
