"""Carries letters between the cohorts of a swarm when all its agents have come to rest."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from stigmergy.wasm.delivery import Letters, deliver
from stigmergy.wasm.engine import CohortSettings, Mail, Status
from stigmergy.wasm.hostcalls import HostCall
from stigmergy.wasm.roster import Roster
from stigmergy.wasm.seating import Seating
from stigmergy.wasm.seats import Seated

__all__ = ["Post"]


class Post:
    """The mail of one dispatch."""

    def __init__(self, roster: Roster, seating: Seating, settings: CohortSettings) -> None:
        self._roster = roster
        self._seating = seating
        self._seated = seating.seats
        self._settings = settings
        self.undeliverable = 0
        self.has_letters = any(seat.program.exchanges_messages for seat in self._seated)
        """Whether any agent could send, receive or wait."""
        self._may_be_new = False

    def expect(self, running: Iterable[Seated]) -> None:
        """Note whose agents run in this dispatch, for they may write letters."""
        self._may_be_new = any(seat.program.calls(HostCall.SEND) for seat in running)

    def deliver(self) -> bool:
        """Deliver and wake those that wait, if every agent has finished, trapped or waits.

        Returns whether anybody was woken.
        """
        waiting: list[tuple[Seated, npt.NDArray[np.int64]]] = []
        for seat in self._seated:
            places = np.flatnonzero(seat.owners >= 0)
            statuses = seat.cohort.statuses(places)
            if (statuses == Status.READY).any():
                return False
            waiting.append((seat, places[statuses == Status.WAITING]))
        awaited = any(len(places) for _, places in waiting)
        if self._seating.has_unseated() or not (awaited or self._may_be_new):
            return False
        self._carry()
        self.expect(seat for seat, places in waiting if len(places))
        for seat, places in waiting:
            if len(places):
                seat.cohort.wake(places)
        return awaited

    def _carry(self) -> None:
        seats = [
            seat for seat in self._seated if seat.program.calls(HostCall.SEND, HostCall.RECEIVE)
        ]
        if not seats:
            return
        delivered = deliver(
            self._letters(seats, "inbox"),
            self._letters(seats, "outbox"),
            agents=self._recipients(seats),
            capacity=self._settings.mailbox_messages,
        )
        self.undeliverable += delivered.undeliverable
        for seat in seats:
            places = np.flatnonzero(seat.owners >= 0)
            ids = self._roster.agent_ids[seat.owners[places]]
            inbox = _of(delivered.inboxes, delivered.inboxes.recipients, ids, places, to="senders")
            seat.cohort.write_mail(places, "inbox", inbox)
            outbox = _of(
                delivered.outboxes, delivered.outboxes.senders, ids, places, to="recipients"
            )
            seat.cohort.write_mail(places, "outbox", outbox)

    def _recipients(self, seats: Sequence[Seated]) -> npt.NDArray[np.int64]:
        """Return the numbers of all whose module receives, ascending: others have no inbox."""
        numbers = [
            self._roster.agent_ids[seat.owners[seat.owners >= 0]]
            for seat in seats
            if seat.program.calls(HostCall.RECEIVE)
        ]
        return np.sort(np.concatenate([np.zeros(0, dtype=np.int64), *numbers]))

    def _letters(self, seats: Sequence[Seated], box: str) -> Letters:
        """Collect the letters of all cohorts, in order of their boxes' owners."""
        parts: list[Letters] = []
        for seat in seats:
            places = np.flatnonzero(seat.owners >= 0)
            mail = seat.cohort.read_mail(places, "inbox" if box == "inbox" else "outbox")
            owners = self._roster.agent_ids[seat.owners[mail.slots]]
            peers = mail.peers.astype(np.int64)
            ends = (peers, owners) if box == "inbox" else (owners, peers)
            parts.append(Letters(*ends, mail.lengths, mail.contents))
        joined = Letters(
            np.concatenate([part.senders for part in parts]),
            np.concatenate([part.recipients for part in parts]),
            np.concatenate([part.lengths for part in parts]),
            np.concatenate([part.contents for part in parts]),
        )
        owners = joined.recipients if box == "inbox" else joined.senders
        return joined.at(np.argsort(owners, kind="stable"))


def _of(
    letters: Letters,
    owners: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    places: npt.NDArray[np.int64],
    *,
    to: str,
) -> Mail:
    """Return the letters whose box belongs to one of these agents, as mail of their cohort."""
    order = np.argsort(ids, kind="stable")
    found = np.searchsorted(ids[order], owners)
    found[found == len(ids)] = 0
    mine = ids[order][found] == owners if len(ids) else np.zeros(len(owners), dtype=bool)
    slots = places[order][found[mine]] if len(ids) else np.zeros(0, dtype=np.int64)
    rows = np.flatnonzero(mine)
    by_slot = np.argsort(slots, kind="stable")
    chosen = letters.at(rows[by_slot])
    peers = chosen.senders if to == "senders" else chosen.recipients
    return Mail(slots[by_slot], peers.astype(np.uint32), chosen.lengths, chosen.contents)
