"""Reads and writes words of agents' states: word w of a window's slot s lies at w * stride + s."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from stigmergy.wasm.gpu.device import Device, Region
from stigmergy.wasm.gpu.interleaving import U32
from stigmergy.wasm.gpu.windows import Part, Window, runs_of

__all__ = ["read_words", "row_region", "write_words"]

_FEW = 64
"""So many small copies are cheaper than one of whole rows."""


def row_region(window: Window, word: int, first: int = 0, end: int | None = None) -> Region:
    """Return where a word of some neighbouring slots lies, by default of all."""
    end = window.stride if end is None else end
    return Region(window.state, (word * window.stride + first) * 4, (end - first) * 4)


def read_words(
    device: Device, parts: Sequence[Part], words: Sequence[int], count: int, encoder: Any = None
) -> U32:
    """Return words of the agents that the parts are of, in the order of words: (words, count).

    The encoder's commands come before. The parts' positions are among `count`.
    """
    found = np.empty((len(words), count), dtype=np.uint32)
    regions: list[Region] = []
    for part in parts:
        for word in words:
            regions += _regions(part, word, len(words))
    contents = device.read(regions, encoder)
    for part in parts:
        first, _ = part.span
        for row in range(len(words)):
            if len(part.local) * len(words) <= _FEW:
                single = [int(next(contents)[0]) for _ in part.local]
                found[row, part.positions] = single
            else:
                content = next(contents)
                found[row, part.positions] = content if part.whole else content[part.local - first]
    contents_end = next(contents, None)
    assert contents_end is None
    return found


def _regions(part: Part, word: int, words: int) -> list[Region]:
    if len(part.local) * words <= _FEW:
        return [row_region(part.window, word, int(at), int(at) + 1) for at in part.local]
    return [row_region(part.window, word, *part.span)]


def write_words(device: Device, part: Part, first_word: int, values: U32) -> None:
    """Write words that follow on one another: values of shape (words, slots of the part)."""
    window = part.window
    if part.whole and len(part.local) == window.stride:
        device.write(window.state, first_word * window.stride * 4, values)
        return
    runs = runs_of(part.local)
    if len(runs) * len(values) <= _FEW or len(runs) == 1:
        at = 0
        for first, end in runs:
            for row, content in enumerate(values):
                region = row_region(window, first_word + row, first, end)
                device.write(window.state, region.offset, content[at : at + end - first])
            at += end - first
        return
    regions = [row_region(window, first_word + row, *part.span) for row in range(len(values))]
    local = part.local - part.span[0]
    for region, old, content in zip(regions, device.read(regions), values, strict=True):
        new = old.copy()
        new[local] = content
        device.write(window.state, region.offset, new)
