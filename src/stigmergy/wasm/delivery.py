"""Carries messages from outboxes to inboxes. Pure: mail in, mail out.

The rule: outboxes are emptied in the order of the senders' numbers, each oldest first. A message
whose recipient's inbox is full stays in its outbox, and so do those behind it for anybody; one to
an agent that is not there is dropped and counted. So what arrives does not depend on engines,
slots or slices.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Delivered", "Letters", "deliver"]


@dataclass(frozen=True, slots=True)
class Letters:
    """Messages with both ends named by agents' numbers: arrays of shape (m,), contents (m, bytes).

    In order of the mailbox's owner, then of age.
    """

    senders: npt.NDArray[np.int64]
    recipients: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.uint32]
    contents: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.senders)

    def at(self, rows: npt.NDArray[np.int64]) -> "Letters":
        """Return some of them, in this order."""
        return Letters(
            self.senders[rows], self.recipients[rows], self.lengths[rows], self.contents[rows]
        )


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a delivery came to: the new inboxes and outboxes, and how many letters were lost."""

    inboxes: Letters
    """In order of the recipient, then of age: what was there before comes first."""
    outboxes: Letters
    undeliverable: int


def deliver(
    inboxes: Letters, outboxes: Letters, *, agents: npt.NDArray[np.int64], capacity: int
) -> Delivered:
    """Carry letters. `agents`: the numbers of all that could receive, ascending.

    Both sets of letters are in order of their boxes' owners, inboxes by recipient, outboxes by
    sender. `capacity` is the most letters of an inbox.
    """
    known = _is_among(outboxes.recipients, agents)
    carried = _carried(inboxes, outboxes, known, capacity)
    arriving = outboxes.at(np.flatnonzero(carried & known))
    merged = _joined(inboxes, arriving)
    by_recipient = np.argsort(merged.recipients, kind="stable")
    return Delivered(
        inboxes=merged.at(by_recipient),
        outboxes=outboxes.at(np.flatnonzero(~carried)),
        undeliverable=int(np.count_nonzero(carried & ~known)),
    )


def _is_among(
    numbers: npt.NDArray[np.int64], ascending: npt.NDArray[np.int64]
) -> npt.NDArray[np.bool_]:
    places = np.searchsorted(ascending, numbers)
    places[places == len(ascending)] = 0
    return ascending[places] == numbers if len(ascending) else np.zeros(len(numbers), dtype=bool)


def _carried(
    inboxes: Letters, outboxes: Letters, known: npt.NDArray[np.bool_], capacity: int
) -> npt.NDArray[np.bool_]:
    """Return which letters leave their outboxes: shape (m,).

    Without a full inbox, all: the usual case, without a loop. Otherwise letter by letter, for one
    that stays keeps its sender's later ones back.
    """
    room: dict[int, int] = {}
    recipients, there = np.unique(inboxes.recipients, return_counts=True)
    arriving, wanted = np.unique(outboxes.recipients[known], return_counts=True)
    used = dict(zip(recipients.tolist(), there.tolist(), strict=True))
    crowded = [
        recipient
        for recipient, more in zip(arriving.tolist(), wanted.tolist(), strict=True)
        if used.get(recipient, 0) + more > capacity
    ]
    carried = np.ones(len(outboxes), dtype=bool)
    if not crowded:
        return carried
    room = {recipient: capacity - used.get(recipient, 0) for recipient in arriving.tolist()}
    held_back: int | None = None
    pairs = zip(outboxes.senders.tolist(), outboxes.recipients.tolist(), strict=True)
    for position, (sender, recipient) in enumerate(pairs):
        if sender == held_back:
            carried[position] = False
        elif known[position]:
            if room[recipient] == 0:
                carried[position] = False
                held_back = sender
            else:
                room[recipient] -= 1
    return carried


def _joined(first: Letters, second: Letters) -> Letters:
    return Letters(
        np.concatenate([first.senders, second.senders]),
        np.concatenate([first.recipients, second.recipients]),
        np.concatenate([first.lengths, second.lengths]),
        np.concatenate([first.contents, second.contents]),
    )
