"""Fills, reads and writes the linear memories of a cohort's windows, without a copy on the host."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from stigmergy.wasm.gpu.device import Device, Dispatch, Pipeline, Region
from stigmergy.wasm.gpu.interleaving import (
    U32,
    Bytes,
    block_image,
    columns_of,
    put_columns,
    word_span,
)
from stigmergy.wasm.gpu.windows import Part, Window, runs_of

__all__ = ["LinearMemory"]

_PIECE_BYTES = 16 << 20
_COPY_COST_BYTES = 8 << 10
"""A copy takes as long as so many bytes more in another."""
_TEMPLATE_BYTES = 4 << 20

_FILL = """
struct Parameters {{ agents: u32, words: u32, image_words: u32, row: u32 }}
@group(0) @binding(0) var<storage, read_write> memory: array<u32>;
@group(0) @binding(1) var<storage, read> image: array<u32>;
@group(0) @binding(2) var<storage, read> agents: array<u32>;
@group(0) @binding(3) var<uniform> parameters: Parameters;

@compute @workgroup_size({size})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {{
    let at = id.x + id.y * parameters.row * {size}u;
    if (at >= parameters.agents * parameters.words) {{ return; }}
    let slot = agents[at % parameters.agents];
    let word = at / parameters.agents;
    var value = 0u;
    if (word < parameters.image_words) {{ value = image[word]; }}
    let block = (slot / {block}u) * (parameters.words * {block}u);
    memory[block + word * {block}u + slot % {block}u] = value;
}}
"""
"""Gives agents fresh memories where a block has others that must keep theirs."""


class LinearMemory:
    """The memories of all agents: `words` words each, in blocks of the adapter's size."""

    def __init__(self, device: Device, *, words: int, image: Bytes) -> None:
        self._device = device
        self._words = words
        self._block = device.facts.memory_block
        self._image = image[: words * 4]
        self._template: Any = None
        self._template_blocks = 0
        self._filler: Pipeline | None = None

    @property
    def _block_bytes(self) -> int:
        return self._words * self._block * 4

    def fill(self, part: Part, *, zeros: bool) -> None:
        """Give agents fresh memories; `zeros` says that theirs are all zeros already."""
        if not self._words or (zeros and not self._image.any()):
            return
        blocks = np.unique(part.local // self._block) if self._block > 1 else part.local
        if len(blocks) * self._block == len(part.local):
            self._fill_blocks(part.window, runs_of(blocks))
        else:
            self._fill_lanes(part)

    def _fill_blocks(self, window: Window, runs: Sequence[tuple[int, int]]) -> None:
        encoder = self._device.encoder()
        size = self._block_bytes
        for first, end in runs:
            if not self._image.any():
                region = Region(window.memory, first * size, (end - first) * size)
                self._device.clear(encoder, region)
                continue
            template, blocks = self._template_of()
            for at in range(first, end, blocks):
                region = Region(window.memory, at * size, min(blocks, end - at) * size)
                self._device.copy(encoder, template, region)
        self._device.submit(encoder)

    def _template_of(self) -> tuple[Any, int]:
        """Return a buffer of fresh blocks, and how many are in it."""
        if self._template is None:
            block = block_image(self._image, self._words, self._block).reshape(-1)
            self._template_blocks = max(1, _TEMPLATE_BYTES // self._block_bytes)
            self._template = self._device.buffer(self._template_blocks * self._block_bytes)
            self._device.write(self._template, 0, np.tile(block, self._template_blocks))
        return self._template, self._template_blocks

    def _fill_lanes(self, part: Part) -> None:
        device = self._device
        size, row = device.facts.workgroup_size, device.facts.groups_per_dimension
        if self._filler is None:
            wgsl = _FILL.format(size=size, block=self._block)
            kinds: Any = {0: "read_write", 1: "read", 2: "read", 3: "uniform"}
            self._filler = device.pipeline(wgsl, kinds)
        padded = np.zeros(-(-len(self._image) // 4) * 4, dtype=np.uint8)
        padded[: len(self._image)] = self._image
        groups = -(-len(part.local) * self._words // size)
        parameters = np.array([len(part.local), self._words, len(padded) // 4, row], np.uint32)
        contents = (padded, part.local.astype(np.uint32))
        image, agents = (device.buffer(content.nbytes, "read") for content in contents)
        uniform = device.buffer(parameters.nbytes, "uniform")
        for buffer, content in zip((image, agents), contents, strict=True):
            device.write(buffer, 0, content)
        device.write(uniform, 0, parameters)
        buffers = {
            0: Region(part.window.memory, 0, part.window.memory.size),
            1: Region(image, 0, image.size),
            2: Region(agents, 0, agents.size),
            3: Region(uniform, 0, uniform.size),
        }
        encoder = device.encoder()
        bound = device.bind(self._filler, buffers)
        shape = (min(groups, row), -(-groups // row))
        device.encode(encoder, [Dispatch(self._filler, bound, shape)])
        device.submit(encoder)

    def read(self, parts: Sequence[Part], count: int, offset: int, size: int) -> Bytes:
        """Return some bytes of each agent's memory: shape (count, size)."""
        span = word_span(offset, size)
        found = np.empty((count, span[1] - span[0]), dtype=np.uint32)
        for part in parts:
            if not size:
                break
            blocks = part.local // self._block
            pieces = list(self._pieces(blocks, span))
            regions = [self._region(part.window, piece) for piece in pieces]
            for piece, content in zip(pieces, self._device.read(regions), strict=True):
                start, end = np.searchsorted(blocks, piece[:2])
                held = self._held(content, piece, span)
                positions = part.positions
                if isinstance(positions, slice):
                    where: Any = slice(positions.start + start, positions.start + end)
                else:
                    where = positions[start:end]
                if self._block == 1 and end - start == len(held):
                    found[where] = held[:, :, 0]
                else:
                    local = part.local[start:end]
                    rows, lanes = blocks[start:end] - piece[0], local % self._block
                    found[where] = columns_of(held, rows, lanes)
        start = offset - span[0] * 4
        return np.ascontiguousarray(found.view(np.uint8)[:, start : start + size])

    def write(self, part: Part, offset: int, content: Bytes) -> None:
        """Write some bytes of each of the part's agents, in the order of its slots."""
        size = content.shape[1]
        if not size:
            return
        span = word_span(offset, size)
        blocks = part.local // self._block
        whole_words = offset % 4 == 0 and size % 4 == 0
        pieces = list(self._pieces(blocks, span))
        bounds = [tuple(np.searchsorted(blocks, piece[:2]).tolist()) for piece in pieces]
        kept = [
            not whole_words
            or piece[2:] != span
            or (end - start) != (piece[1] - piece[0]) * self._block
            for piece, (start, end) in zip(pieces, bounds, strict=True)
        ]
        regions = [self._region(part.window, piece) for piece in pieces]
        old = self._device.read([one for one, keep in zip(regions, kept, strict=True) if keep])
        for piece, (start, end), keep, region in zip(pieces, bounds, kept, regions, strict=True):
            shape = (piece[1] - piece[0], piece[3] - piece[2], self._block)
            new = next(old).reshape(shape).copy() if keep else np.empty(shape, dtype=np.uint32)
            rows = blocks[start:end] - piece[0]
            lanes = part.local[start:end] % self._block
            held = new[:, span[0] - piece[2] : span[1] - piece[2]]
            put_columns(held, rows, lanes, span, content[start:end], offset)
            self._device.write(region.buffer, region.offset, new)
        assert next(old, None) is None

    def _pieces(
        self, blocks: npt.NDArray[np.int64], span: tuple[int, int]
    ) -> Iterator[tuple[int, int, int, int]]:
        """Yield what to copy: (first block, end, first word, end), all of the span in each.

        Neighbouring blocks go together, with the words that nobody asked for, if that is less work.
        """
        spare = (self._words - (span[1] - span[0])) * self._block * 4
        distinct = np.unique(blocks) if self._block > 1 else blocks
        if spare > _COPY_COST_BYTES:
            yield from ((int(block), int(block) + 1, *span) for block in distinct)
            return
        most = max(1, _PIECE_BYTES // self._block_bytes)
        for first, end in runs_of(distinct):
            for at in range(first, end, most):
                yield at, min(at + most, end), 0, self._words

    def _region(self, window: Window, piece: tuple[int, int, int, int]) -> Region:
        first, end, word, end_word = piece
        whole = (end - first) * self._words if end - first > 1 else end_word - word
        offset = (first * self._words + word) * self._block * 4
        return Region(window.memory, offset, whole * self._block * 4)

    def _held(self, content: U32, piece: tuple[int, int, int, int], span: tuple[int, int]) -> U32:
        """Return the words of the span out of what was read of a piece."""
        first, end, word, end_word = piece
        blocks = content.reshape(end - first, end_word - word, self._block)
        return blocks[:, span[0] - word : span[1] - word]

    def close(self) -> None:
        """Free what is kept beside the windows."""
        if self._template is not None:
            self._device.free([self._template])
            self._template = None
