"""Pure parts of the GPU engine's host: where words lie, how slots spread, how long a slice is."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stigmergy.wasm.gpu.adapter import facts_of
from stigmergy.wasm.gpu.interleaving import block_image, columns_of, put_columns, word_span
from stigmergy.wasm.gpu.layout import memory_index
from stigmergy.wasm.gpu.pacing import Pace
from stigmergy.wasm.gpu.trial import is_risky
from stigmergy.wasm.gpu.windows import Window, next_stride, runs_of, split, widest_stride


@given(
    block=st.sampled_from([1, 2, 32, 64]),
    blocks=st.integers(1, 3),
    words=st.integers(1, 9),
    data=st.data(),
)
def test_words_lie_where_the_layout_says(
    block: int, blocks: int, words: int, data: st.DataObject
) -> None:
    memory = np.arange(blocks * words * block, dtype=np.uint32).reshape(blocks, words, block)
    agents = st.integers(0, blocks * block - 1)
    slots = np.array(data.draw(st.lists(agents, min_size=1, unique=True)), dtype=np.int64)
    found = columns_of(memory, slots // block, slots % block)
    for slot, row in zip(slots.tolist(), found.tolist(), strict=True):
        indices = [memory_index(slot, word, words=words, block=block) for word in range(words)]
        assert row == [int(memory.reshape(-1)[index]) for index in indices]


@given(
    block=st.sampled_from([1, 2, 32]),
    words=st.integers(1, 6),
    data=st.data(),
)
def test_bytes_written_into_blocks_are_those_and_no_others(
    block: int, words: int, data: st.DataObject
) -> None:
    blocks = 2
    offset = data.draw(st.integers(0, words * 4 - 1))
    size = data.draw(st.integers(1, words * 4 - offset))
    agents = st.integers(0, blocks * block - 1)
    slots = np.array(data.draw(st.lists(agents, min_size=1, unique=True)), dtype=np.int64)
    generator = np.random.default_rng(0)
    memory = generator.integers(0, 2**32, (blocks, words, block), dtype=np.uint32)
    content = generator.integers(0, 256, (len(slots), size), dtype=np.uint8)
    every = np.arange(blocks * block)
    before = np.ascontiguousarray(columns_of(memory, every // block, every % block))
    span = word_span(offset, size)
    put_columns(memory[:, span[0] : span[1]], slots // block, slots % block, span, content, offset)
    expected = before.view(np.uint8)
    expected[slots, offset : offset + size] = content
    after = np.ascontiguousarray(columns_of(memory, every // block, every % block))
    assert (after.view(np.uint8) == expected).all()


@given(st.binary(max_size=20), st.sampled_from([1, 4]))
def test_a_block_of_fresh_memories_holds_the_image_for_each(image: bytes, block: int) -> None:
    made = block_image(np.frombuffer(image, dtype=np.uint8), 5, block)
    assert made.shape == (5, block)
    for lane in range(block):
        assert made[:, lane].tobytes() == image.ljust(20, b"\0")


@given(st.lists(st.integers(0, 40), unique=True).map(sorted))
def test_runs_are_what_follows_on_one_another(numbers: list[int]) -> None:
    runs = runs_of(np.array(numbers, dtype=np.int64))
    assert [number for first, end in runs for number in range(first, end)] == numbers
    assert all(end < first for (_, end), (first, _) in pairwise(runs))


def _window(base: int, stride: int) -> Window:
    return Window(base, stride, *[None] * 6)


@given(
    strides=st.lists(st.integers(1, 9), min_size=1, max_size=5),
    data=st.data(),
)
def test_slots_are_split_among_windows_and_none_is_lost(
    strides: list[int], data: st.DataObject
) -> None:
    windows, total = list[Window](), 0
    for stride in strides:
        windows.append(_window(total, stride))
        total += stride
    wanted = data.draw(st.lists(st.integers(0, total - 1), unique=True))
    slots = np.array(wanted, dtype=np.int64)
    seen = np.full(len(slots), -1, dtype=np.int64)
    for part in split(slots, windows):
        assert (np.diff(part.local) > 0).all()
        assert 0 <= part.local[0] <= part.local[-1] < part.window.stride
        first, end = part.span
        assert part.whole == (end - first == len(part.local))
        seen[part.positions] = part.window.base + part.local
    assert seen.tolist() == wanted


@given(
    growth=st.lists(st.integers(1, 500), min_size=1, max_size=30),
    widest=st.sampled_from([32, 96, 4096]),
    block=st.sampled_from([1, 32]),
)
def test_windows_grow_by_blocks_within_bounds_and_stay_few(
    growth: list[int], widest: int, block: int
) -> None:
    capacity, wanted, windows = 0, 0, 0
    for more in growth:
        wanted += more
        while capacity < wanted:
            stride = next_stride(capacity, wanted, widest=widest, block=block)
            assert 0 < stride <= widest
            assert stride % block == 0
            capacity += stride
            windows += 1
    assert capacity - wanted < wanted / 8 + block
    assert windows <= len(growth) + capacity / widest


def test_a_window_holds_what_its_largest_buffer_can() -> None:
    assert widest_stride([10, 256, 0], binding_bytes=1 << 20, block=1) == 1024
    assert widest_stride([10, 256, 0], binding_bytes=(1 << 20) - 4, block=32) == 992
    assert widest_stride([1 << 20], binding_bytes=1 << 20, block=1) == 0


def test_a_slice_doubles_while_it_is_fast_and_halves_when_it_is_slow() -> None:
    pace = Pace(4096, 1 << 20)
    assert pace.for_agents(9).limit == 4096
    assert pace.after(pace.fast_s / 2, 100).limit == 8192
    assert pace.after(pace.slow_s * 2, 100).limit == 2048
    assert pace.after(pace.aim_s, 100).limit == 4096
    for _ in range(40):
        pace = pace.after(0.0001, 100)
    assert pace.limit == 1 << 20
    assert pace.for_agents(50).limit == 1 << 20
    assert pace.for_agents(400).limit == 1 << 18
    for _ in range(40):
        pace = pace.after(9.0, 100)
    assert pace.limit == 256


def test_a_driver_that_bounds_loops_gets_short_slices() -> None:
    pace = Pace(4096, 32_000)
    for _ in range(9):
        pace = pace.after(0.0001, 1)
    assert pace.limit == 32_000


LIMITS = {
    "max-storage-buffer-binding-size": 1 << 27,
    "max-buffer-size": 1 << 31,
    "max-compute-workgroups-per-dimension": 65_535,
    "max-compute-workgroup-size-x": 1024,
    "max-compute-invocations-per-workgroup": 1024,
}


def _info(**fields: Any) -> dict[str, Any]:
    return {
        "vendor": "llvmpipe",
        "device": "llvmpipe (LLVM 15.0.6, 256 bits)",
        "description": "Mesa 25.0.7 (LLVM 15.0.6)",
        "adapter_type": "CPU",
        "backend_type": "Vulkan",
        **fields,
    }


def test_software_wants_memories_in_one_piece_and_hardware_wants_them_interleaved() -> None:
    assert facts_of(_info(), LIMITS).memory_block == 1
    card = _info(vendor="NVIDIA", device="H100", description="550.1", adapter_type="DiscreteGPU")
    assert facts_of(card, LIMITS).memory_block == 32
    assert facts_of(card, LIMITS).name == "H100, 550.1, Vulkan"


def test_limits_are_the_adapters() -> None:
    small = facts_of(
        _info(),
        {
            **LIMITS,
            "max-storage-buffer-binding-size": 1000,
            "max-compute-invocations-per-workgroup": 16,
        },
    )
    assert small.binding_bytes == 768
    assert small.workgroup_size == 16
    vast = {**LIMITS, "max-storage-buffer-binding-size": 1 << 40, "max-buffer-size": 1 << 40}
    assert facts_of(_info(), vast).binding_bytes == 1 << 30


@pytest.mark.parametrize(
    ("description", "bounded"),
    [("Mesa 22.3.6 (LLVM 15.0.6)", True), ("Mesa 23.1.0", False), ("", True)],
)
def test_llvmpipe_of_old_is_known_for_its_loops(description: str, *, bounded: bool) -> None:
    facts = facts_of(_info(description=description), LIMITS)
    assert (facts.longest_slice < 65_535) == bounded
    card = _info(vendor="Intel", device="UHD", description=description)
    assert facts_of(card, LIMITS).longest_slice > 65_535


def test_only_unusual_shaders_are_risky() -> None:
    assert not is_risky("fn main() { let x = vec2<u32>(1u, 2u); }")
    assert is_risky("enable f16;\nfn main() {}")
    assert is_risky("fn main() { let x = countLeadingZeros(u64(1)); }")
    assert is_risky("fn f() " + "{" * 41 + "}" * 41)
    assert is_risky("fn f() { loop { " + "if (x) { break; } " * 41 + "} }")
    assert not is_risky("fn f() { loop { if (x) { break; } } } " * 41)
    assert is_risky("// " + "x" * 100_000)
