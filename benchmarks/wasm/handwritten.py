"""The kernels as somebody would write them in WGSL by hand: what a compiled one is held against."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from stigmergy.wasm.bench import Kernel

_HEAD = """
struct Parameters { agents: u32, row: u32, size: u32, unused: u32 }
@group(0) @binding(0) var<storage, read_write> answers: array<u32>;
@group(0) @binding(1) var<uniform> parameters: Parameters;
"""
_MAIN = """
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let agent = id.x + id.y * parameters.row * 64u;
  if (agent >= parameters.agents) { return; }
  answers[agent] = kernel(agent, parameters.size);
}
"""
SOURCES = {
    "xorshift": """
fn kernel(agent: u32, size: u32) -> u32 {
  var x = (agent * 0x9E3779B1u) | 1u;
  for (var n = size; n != 0u; n -= 1u) {
    x ^= x << 13u;
    x ^= x >> 17u;
    x ^= x << 5u;
  }
  return x;
}
""",
    "collatz": """
fn kernel(agent: u32, size: u32) -> u32 {
  var longest = 0u;
  for (var n = size; n != 0u; n -= 1u) {
    var x = agent + n + 1u;
    var steps = 0u;
    while (x > 1u) {
      if ((x & 1u) != 0u) { x = x * 3u + 1u; } else { x = x >> 1u; }
      steps += 1u;
    }
    longest = max(longest, steps);
  }
  return longest;
}
""",
    "fib": """
fn kernel(agent: u32, size: u32) -> u32 {
  var a = vec2<u32>(agent, 0u);
  var b = vec2<u32>(1u, 0u);
  for (var n = size; n != 0u; n -= 1u) {
    let low = a.x + b.x;
    let c = vec2<u32>(low, a.y + b.y + select(0u, 1u, low < a.x));
    a = b;
    b = c;
  }
  return a.x;
}
""",
    "sieve": """
@group(0) @binding(2) var<storage, read_write> memory: array<u32>;
const WORDS = 256u;
fn kernel(agent: u32, size_: u32) -> u32 {
  let size = size_ + (agent & 7u);
  let base = agent * WORDS;
  for (var i = 0u; i < WORDS; i += 1u) { memory[base + i] = 0u; }
  var count = 0u;
  for (var i = 2u; i < size; i += 1u) {
    if ((memory[base + i / 4u] >> ((i & 3u) * 8u) & 0xffu) == 0u) {
      count += 1u;
      for (var j = 2u * i; j < size; j += i) {
        let shift = (j & 3u) * 8u;
        memory[base + j / 4u] = (memory[base + j / 4u] & ~(0xffu << shift)) | (1u << shift);
      }
    }
  }
  return count;
}
""",
}


def measure_handwritten(kernel: Kernel, agents: int, rounds: int = 3) -> float:
    """Seconds of a dispatch with its answers read back, the fewest of some rounds.

    Raises:
        RuntimeError: there is no adapter, or an answer is wrong.
    """
    import wgpu

    adapter: Any = wgpu.gpu.request_adapter_sync(power_preference="high-performance")
    names = ("max-storage-buffer-binding-size", "max-buffer-size")
    limits = {name: adapter.limits[name] for name in names}
    device: Any = adapter.request_device_sync(required_limits=limits)
    has_memory = kernel.name == "sieve"
    shader = device.create_shader_module(code=_HEAD + SOURCES[kernel.name] + _MAIN)
    groups = -(-agents // 64)
    row = min(groups, 65_535)
    numbers = np.array([agents, row, kernel.size, 0], dtype=np.uint32)
    usage = wgpu.BufferUsage
    storage = usage.STORAGE | usage.COPY_SRC
    buffers = [
        device.create_buffer(size=agents * 4, usage=storage),
        device.create_buffer_with_data(data=numbers, usage=usage.UNIFORM),
    ]
    if has_memory:
        buffers.append(device.create_buffer(size=agents * 1_024, usage=storage))
    pipeline = device.create_compute_pipeline(
        layout="auto", compute={"module": shader, "entry_point": "main"}
    )
    group = device.create_bind_group(
        layout=pipeline.get_bind_group_layout(0),
        entries=[
            {"binding": at, "resource": {"buffer": one, "offset": 0, "size": one.size}}
            for at, one in enumerate(buffers)
        ],
    )
    times: list[float] = []
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        encoder = device.create_command_encoder()
        compute = encoder.begin_compute_pass()
        compute.set_pipeline(pipeline)
        compute.set_bind_group(0, group)
        compute.dispatch_workgroups(row, -(-groups // row))
        compute.end()
        device.queue.submit([encoder.finish()])
        answers = np.frombuffer(device.queue.read_buffer(buffers[0]), dtype=np.uint32)
        times.append(time.perf_counter() - begun)
    for agent in range(0, agents, max(1, agents // 8)):
        if int(answers[agent]) != kernel.expected(agent, kernel.size):
            message = f"{kernel.name} by hand gave a wrong answer for agent {agent}"
            raise RuntimeError(message)
    return min(times[1:])
