"""A module whose shader was written by hand: what the host needs of a compiler, and no more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from stigmergy.testing.engines.values import Crew
from stigmergy.wasm.engine import CohortSettings, Status, TrapKind
from stigmergy.wasm.gpu.engine import GpuEngine
from stigmergy.wasm.gpu.layout import HEADER_WORDS, Header, StateLayout
from stigmergy.wasm.gpu.program import CompilerOptions, Shader
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.reading import read_module

WAT = """
(module
  (import "stigmergy" "output" (func (param i32 i32) (result i32)))
  (import "stigmergy" "send" (func (param i32 i32 i32) (result i32)))
  (memory 1)
  (global (mut i64) (i64.const 0x1122334455667788))
  (func (export "spin") (param i32) (result i64) unreachable)
  (func (export "store") (param i32 i32) (result i32) unreachable)
  (func (export "say") (param i32) unreachable)
  (func (export "forward") (param i32) unreachable)
  (func (export "stall") unreachable)
  (func (export "bump") (result i64) unreachable))
"""
SPIN, STORE, SAY, FORWARD, STALL, BUMP = range(2, 8)
SPIN_COUNTS = 10

_WGSL = """
struct Parameters {
  agents: u32, stride: u32, limit: u32, row: u32,
  clock_low: u32, clock_high: u32, seed_low: u32, seed_high: u32,
}
@group(0) @binding(0) var<storage, read_write> state: array<u32>;
@group(0) @binding(1) var<storage, read_write> memory: array<u32>;
@group(0) @binding(2) var<storage, read_write> output: array<u32>;
@group(0) @binding(3) var<storage, read_write> mail: array<u32>;
@group(0) @binding(4) var<storage, read> agents: array<u32>;
@group(0) @binding(5) var<storage, read> constants: array<u32>;
@group(0) @binding(6) var<uniform> parameters: Parameters;

fn at(slot: u32, word: u32) -> u32 { return word * parameters.stride + slot; }
fn byte_index(slot: u32, word: u32) -> u32 {
  return (slot / %(block)du) * (%(memory_words)du * %(block)du) + word * %(block)du
    + slot %% %(block)du;
}
fn finish(slot: u32, status: u32, count: u32) {
  state[at(slot, 3u)] += count;
  state[at(slot, 0u)] = status;
}

@compute @workgroup_size(%(size)d)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let index = id.x + id.y * parameters.row * %(size)du;
  if (index >= parameters.agents) { return; }
  let slot = agents[index];
  if (state[at(slot, 0u)] != 1u) { return; }
  let frame = %(stack)du;
  let a = state[at(slot, frame + 1u)];
  let b = state[at(slot, frame + 2u)];
  switch (state[at(slot, frame)]) {
    case 2u: { // spin: xorshift, resumed at the head of its loop
      var n = a;
      var x = b;
      var count = state[at(slot, 3u)];
      let start = count;
      let aim = state[at(slot, 5u)];
      var done = false;
      loop {
        if (count >= aim || count - start >= parameters.limit) { break; }
        if (n == 0u) { done = true; break; }
        x ^= x << 13u; x ^= x >> 17u; x ^= x << 5u;
        n -= 1u;
        count += %(spin)du;
      }
      state[at(slot, 3u)] = count;
      state[at(slot, frame + 1u)] = n;
      state[at(slot, frame + 2u)] = x;
      if (done) {
        state[at(slot, 16u)] = x;
        state[at(slot, 17u)] = state[at(slot, 9u)];
        state[at(slot, 0u)] = 2u;
      }
    }
    case 3u: { // store
      if (a / 4u >= %(memory_words)du) {
        state[at(slot, 1u)] = %(trap)du;
        state[at(slot, 2u)] = %(trap_offset)du;
        finish(slot, 3u, 0u);
        return;
      }
      state[at(slot, 16u)] = memory[byte_index(slot, a / 4u)];
      state[at(slot, 17u)] = 0u;
      memory[byte_index(slot, a / 4u)] = b + constants[1];
      finish(slot, 2u, 5u);
    }
    case 4u: { // say: a times a byte that tells who it is
      for (var i = 0u; i < a; i += 1u) {
        let used = state[at(slot, 8u)];
        if (used >= %(output_bytes)du) { break; }
        let word = slot * %(output_words)du + used / 4u;
        let shift = (used %% 4u) * 8u;
        output[word] = (output[word] & ~(255u << shift)) | ((state[at(slot, 9u)] & 255u) << shift);
        state[at(slot, 8u)] = used + 1u;
      }
      finish(slot, 2u, 3u);
    }
    case 5u: { // forward: move the inbox to the outbox, each message to the next agent; then wait
      if (b == 1u) { finish(slot, 2u, 1u); return; }
      let inbox = slot * %(mail_words)du;
      for (var i = 0u; i < %(box_words)du; i += 1u) {
        mail[inbox + %(box_words)du + i] = mail[inbox + i];
      }
      for (var i = 0u; i < mail[inbox]; i += 1u) {
        mail[inbox + %(box_words)du + 1u + i * %(message_words)du] += a;
      }
      mail[inbox] = 0u;
      state[at(slot, frame + 2u)] = 1u;
      finish(slot, 4u, 2u);
    }
    case 7u: { // bump: add one to the global and return what it was
      state[at(slot, 16u)] = state[at(slot, 18u)];
      state[at(slot, 17u)] = state[at(slot, 19u)];
      state[at(slot, 18u)] += 1u;
      finish(slot, 2u, 2u);
    }
    default: { return; } // stall: ready for ever
  }
}
"""


@dataclass
class ByHand:
    """A Compiled whose frames are (function, first argument, second argument)."""

    module: Module
    settings: CohortSettings
    options: CompilerOptions
    image: bytes = b""
    asked: list[frozenset[int]] = field(default_factory=list)
    stillborn: bool = False

    @property
    def layout(self) -> StateLayout:
        stack = HEADER_WORDS + 4
        return StateLayout(
            results=HEADER_WORDS,
            globals=(HEADER_WORDS + 2,),
            tables=(),
            table_capacities=(),
            dropped=stack,
            stack=stack,
            stack_words=3,
            words=stack + 3,
            memory_words=-(-self.settings.memory_bytes // 4),
            output_words=-(-self.settings.output_bytes // 4),
            mailbox_messages=self.settings.mailbox_messages,
            message_words=2 + -(-self.settings.message_bytes // 4),
        )

    def initial_state(self) -> npt.NDArray[np.uint32]:
        words = np.zeros(self.layout.stack, dtype=np.uint32)
        words[Header.TRAP_OFFSET] = 0xFFFFFFFF
        words[Header.PAGES] = 1
        words[HEADER_WORDS + 2 : HEADER_WORDS + 4] = (0x55667788, 0x11223344)
        if self.stillborn:
            words[Header.STATUS] = Status.TRAPPED
            words[Header.TRAP_KIND] = TrapKind.MEMORY_OUT_OF_BOUNDS
        return words

    def initial_memory(self) -> npt.NDArray[np.uint8]:
        return np.frombuffer(self.image, dtype=np.uint8)

    def entry_frames(
        self, function: int, arguments: npt.NDArray[np.uint64], *, start: bool
    ) -> npt.NDArray[np.uint32]:
        assert not start
        frames = np.zeros((len(arguments), 3), dtype=np.uint32)
        frames[:, 0] = function
        if function == SPIN:
            frames[:, 2] = 12345
        frames[:, 1 : 1 + arguments.shape[1]] = arguments.astype(np.uint32)
        return frames

    def shader(self, entries: frozenset[int]) -> Shader:
        self.asked.append(entries)
        layout = self.layout
        wgsl = _WGSL % {
            "block": self.options.memory_block,
            "size": self.options.workgroup_size,
            "memory_words": layout.memory_words,
            "stack": layout.stack,
            "spin": SPIN_COUNTS,
            "trap": TrapKind.MEMORY_OUT_OF_BOUNDS,
            "trap_offset": self.module.code[1].start + 1,
            "output_bytes": self.settings.output_bytes,
            "output_words": layout.output_words,
            "mail_words": layout.mail_words,
            "box_words": layout.box_words,
            "message_words": layout.message_words,
        }
        constants = np.array([7, 1000], dtype=np.uint32)
        return Shader(wgsl, uses_memory=True, uses_output=True, uses_mail=True, constants=constants)


def xorshift(times: int) -> int:
    x = 12345
    for _ in range(times):
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
    return x


@dataclass
class Host:
    """Makes engines with a compiler by hand, and crews on them; closes all of it."""

    stack: ExitStack
    cache: Path
    compiled: list[ByHand] = field(default_factory=list)

    def engine(self, *, image: bytes = b"", stillborn: bool = False, **options: Any) -> GpuEngine:
        def compiler(module: Module, settings: CohortSettings, options: CompilerOptions) -> ByHand:
            made = ByHand(module, settings, options, image, stillborn=stillborn)
            self.compiled.append(made)
            return made

        engine = GpuEngine(compiler=compiler, cache=self.cache, **options)
        self.stack.callback(engine.close)
        return engine

    def crew(self, engine: GpuEngine, *, size: int, **settings: Any) -> Crew:
        settings = {"memory_bytes": 64, "output_bytes": 10, "mailbox_messages": 3, **settings}
        settings = {"message_bytes": 6, **settings}
        cohort = engine.cohort(read_module(WAT), CohortSettings(**settings))
        self.stack.callback(cohort.close)
        cohort.reserve(size)
        crew = Crew(cohort, size)
        crew.create()
        return crew


@pytest.fixture(scope="session")
def verdicts_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verdicts")


@pytest.fixture(scope="session")
def driver(verdicts_folder: Path) -> None:
    """Loaded before any test: a driver keeps what it opens with its first device."""
    GpuEngine(cache=verdicts_folder).close()


@pytest.fixture
def host(verdicts_folder: Path, driver: None) -> Iterator[Host]:
    with ExitStack() as stack:
        yield Host(stack, verdicts_folder)


@pytest.fixture
def spun() -> Callable[[int], int]:
    """What spin answers after so many rounds, in its lower half."""
    return xorshift
