"""Reads and writes the mailboxes of a cohort's windows, and what agents output."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from stigmergy.wasm.engine import Mail, Slots
from stigmergy.wasm.gpu.device import Device, Region
from stigmergy.wasm.gpu.interleaving import U32
from stigmergy.wasm.gpu.layout import StateLayout
from stigmergy.wasm.gpu.windows import Part, Window, runs_of

__all__ = ["Mailboxes", "read_outputs"]

_PIECE_BYTES = 16 << 20
_FEW = 256

Box = Literal["inbox", "outbox"]


class Mailboxes:
    """The inbox and the outbox of each agent, next to each other in the window's mail."""

    def __init__(self, device: Device, layout: StateLayout, message_bytes: int) -> None:
        self._device = device
        self._box_words = layout.box_words
        self._mail_words = layout.mail_words
        self._messages = layout.mailbox_messages
        self._message_words = layout.message_words
        self._message_bytes = message_bytes

    def bytes_of(self, stride: int) -> int:
        """Return the size of a window's mail."""
        return stride * self._mail_words * 4

    def clear(self, part: Part) -> None:
        """Empty both boxes."""
        if part.window.mail is None:
            return
        encoder = self._device.encoder()
        for first, end in runs_of(part.local):
            self._device.clear(encoder, self._mail(part.window, first, end))
        self._device.submit(encoder)

    def read(self, parts: Sequence[Part], box: Box) -> Mail:
        """Return the messages in one of the boxes of each agent."""
        found: list[tuple[Slots, U32]] = []
        for part in parts:
            if part.window.mail is None:
                continue
            pieces = self._pieces(part)
            regions = [self._mail(part.window, *piece) for piece in pieces]
            for (first, end), content in zip(pieces, self._device.read(regions), strict=True):
                local = part.local[np.searchsorted(part.local, first) :]
                local = local[: np.searchsorted(local, end)]
                boxes = content.reshape(-1, self._mail_words)[:, self._start(box) :]
                chosen = boxes[local - first, : self._box_words]
                mine = np.flatnonzero(chosen[:, 0])
                if len(mine):
                    found.append((part.window.base + local[mine], chosen[mine]))
        return self._mail_of(found)

    def _mail_of(self, found: Sequence[tuple[Slots, U32]]) -> Mail:
        slots = np.concatenate([np.empty(0, np.int64), *(slots for slots, _ in found)])
        boxes = np.concatenate(
            [np.empty((0, self._box_words), np.uint32), *(boxes for _, boxes in found)]
        )
        counts = boxes[:, 0].astype(np.int64)
        messages = boxes[:, 1:].reshape(-1, self._messages, self._message_words)
        present = np.arange(self._messages) < counts[:, None]
        listed = messages[present]
        lengths = np.ascontiguousarray(listed[:, 1])
        contents = np.ascontiguousarray(listed[:, 2:]).view(np.uint8)[:, : self._message_bytes]
        beyond = np.arange(self._message_bytes) >= lengths[:, None]
        contents = np.where(beyond, np.uint8(0), contents)
        return Mail(np.repeat(slots, counts), np.ascontiguousarray(listed[:, 0]), lengths, contents)

    def write(self, part: Part, box: Box, boxes: U32) -> None:
        """Replace boxes of the part's agents: shape (slots, box_words), in the order of slots."""
        start = self._start(box)
        pieces = self._pieces(part)
        if len(part.local) <= _FEW or 4 * len(pieces) > len(part.local):
            for at, content in zip(part.local.tolist(), boxes, strict=True):
                used = 1 + int(content[0]) * self._message_words
                offset = (at * self._mail_words + start) * 4
                self._device.write(part.window.mail, offset, content[:used])
            return
        # the other box of each lies between, and stays
        regions = [self._mail(part.window, *piece) for piece in pieces]
        at = 0
        for region, content in zip(regions, self._device.read(regions), strict=True):
            mail = content.reshape(-1, self._mail_words).copy()
            mail[:, start : start + self._box_words] = boxes[at : at + len(mail)]
            self._device.write(region.buffer, region.offset, mail)
            at += len(mail)

    def boxes_of(self, mail: Mail, slots: Slots) -> U32:
        """Return the boxes that hold these messages, for ascending slots."""
        boxes = np.zeros((len(slots), self._box_words), dtype=np.uint32)
        rows = np.searchsorted(slots, mail.slots)
        counts = np.bincount(rows, minlength=len(slots)).astype(np.uint32)
        boxes[:, 0] = counts
        order = np.argsort(rows, kind="stable")
        firsts = np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))[:-1]
        places = np.empty(len(rows), dtype=np.int64)
        places[order] = np.arange(len(rows)) - firsts[rows[order]]
        messages = boxes[:, 1:].reshape(len(slots), self._messages, self._message_words)
        padded = np.zeros((len(rows), (self._message_words - 2) * 4), dtype=np.uint8)
        padded[:, : mail.contents.shape[1]] = mail.contents
        content = np.column_stack((mail.peers, mail.lengths, padded.view(np.uint32)))
        messages[rows, places] = content
        boxes[:, 1:] = messages.reshape(len(slots), -1)
        return boxes

    def _start(self, box: Box) -> int:
        return 0 if box == "inbox" else self._box_words

    def _mail(self, window: Window, first: int, end: int) -> Region:
        size = self._mail_words * 4
        return Region(window.mail, first * size, (end - first) * size)

    def _pieces(self, part: Part) -> list[tuple[int, int]]:
        most = max(1, _PIECE_BYTES // (self._mail_words * 4))
        return [
            (at, min(at + most, end))
            for first, end in runs_of(part.local)
            for at in range(first, end, most)
        ]


def read_outputs(
    device: Device, parts: Sequence[Part], sizes: npt.NDArray[np.int64], words: int
) -> list[bytes]:
    """Return what agents wrote, given how much each of them did."""
    found = [b""] * len(sizes)
    places = np.arange(len(sizes))
    for part in parts:
        positions = places[part.positions]
        wrote = np.flatnonzero(sizes[positions])
        if part.window.output is None or not len(wrote):
            continue
        local, positions = part.local[wrote], positions[wrote]
        most = max(1, _PIECE_BYTES // (words * 4))
        pieces = [
            (at, min(at + most, end))
            for first, end in runs_of(local)
            for at in range(first, end, most)
        ]
        regions = [
            Region(part.window.output, first * words * 4, (end - first) * words * 4)
            for first, end in pieces
        ]
        at = 0
        for (first, end), content in zip(pieces, device.read(regions), strict=True):
            rows = content.view(np.uint8).reshape(end - first, words * 4)
            for row in rows:
                place = int(positions[at])
                found[place] = row[: sizes[place]].tobytes()
                at += 1
    return found
