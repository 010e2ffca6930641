"""Who is in a swarm: agents by number and by slot, in columns, for there may be a million of them.

No engine is known here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast, overload

import numpy as np
import numpy.typing as npt

from stigmergy.errors import NotFoundError, UsageError
from stigmergy.wasm.engine import Slots
from stigmergy.wasm.slotindex import slot_index

__all__ = ["ActiveAgents", "AgentState", "FreeSlots", "Roster", "SwarmFullError", "distinct"]

_Scalar = TypeVar("_Scalar", np.int32, np.int64)

_FREE = -1
_FIRST_CAPACITY = 64


class SwarmFullError(UsageError, RuntimeError):
    """Every slot is taken."""


@dataclass(frozen=True, slots=True)
class AgentState:
    """One agent of a swarm. `entry_point` as it was given: a function's index or an export."""

    agent_id: int
    pool_slot: int
    entry_point: int | str
    module: str
    """The digest of the module that it runs."""


class FreeSlots(Sequence[int]):
    """The slots from 0 below a limit that nobody has; those freed last are taken next.

    Several that are taken at once come in ascending order: engines are faster with neighbours.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._fresh = 0
        self._freed = np.zeros(0, dtype=np.int64)
        """A stack: `_waiting` of them, the one that is taken next at the end."""
        self._waiting = 0

    def take(self, count: int) -> Slots:
        """Take slots.

        Raises:
            SwarmFullError: There are not so many; none was taken.
        """
        self._require(count)
        kept = self._waiting - min(count, self._waiting)
        reused = np.sort(self._freed[kept : self._waiting])
        fresh = np.arange(self._fresh, self._fresh + count - len(reused))
        self._waiting = kept
        self._fresh += len(fresh)
        return np.concatenate((reused, fresh)) if len(reused) else fresh

    def take_one(self) -> int:
        """Take a slot, as `take`, for less."""
        if self._waiting:
            self._waiting -= 1
            return int(self._freed[self._waiting])
        if self._fresh == self.limit:
            self._require(1)
        self._fresh += 1
        return self._fresh - 1

    def _require(self, count: int) -> None:
        if count > len(self):
            taken = self.limit - len(self)
            message = (
                f"the swarm is at its capacity: {taken} of {self.limit} slots are taken and "
                f"{count} more are wanted; kill agents, or make it with a larger max_agents"
            )
            raise SwarmFullError(message)

    def give_back(self, slots: Slots) -> None:
        """Free slots that were taken."""
        end = self._waiting + len(slots)
        if end > len(self._freed):
            longer = np.zeros(max(end, 2 * len(self._freed)), dtype=np.int64)
            longer[: self._waiting] = self._freed[: self._waiting]
            self._freed = longer
        self._freed[self._waiting : end] = slots
        self._waiting = end

    def undo(self, slots: Slots, used: int) -> None:
        """Free slots that were taken last, when `used` was so many."""
        self.give_back(slots[slots < used])
        self._fresh = used

    @property
    def used(self) -> int:
        """One more than the highest slot that was ever taken."""
        return self._fresh

    def __len__(self) -> int:
        return self._waiting + self.limit - self._fresh

    @overload
    def __getitem__(self, index: int) -> int: ...
    @overload
    def __getitem__(self, index: slice) -> list[int]: ...
    def __getitem__(self, index: int | slice) -> int | list[int]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        if position < self._waiting:
            return int(self._freed[self._waiting - 1 - position])
        return self._fresh + position - self._waiting


def distinct(numbers: npt.NDArray[np.integer]) -> list[int]:
    """Return which numbers there are, in order: mostly all are the same."""
    if len(numbers) and (numbers == numbers[0]).all():
        return [int(numbers[0])]
    return np.unique(numbers).tolist()


class Roster:
    """The columns. A slot's row is meaningful while `agent_ids` of it is not free.

    `entries` are positions in a list of the owner's; `arguments` are bits, `widths` how many.
    """

    def __init__(self, max_agents: int) -> None:
        self.free_slots = FreeSlots(max_agents)
        self.agent_ids = np.full(0, _FREE, dtype=np.int64)
        self.entries = np.zeros(0, dtype=np.int32)
        self.widths = np.zeros(0, dtype=np.int32)
        self.arguments = np.zeros((0, 0), dtype=np.uint64)
        self.cohorts = np.full(0, _FREE, dtype=np.int32)
        """Which cohort of the owner's has it, or -1: none yet."""
        self.cohort_slots = np.zeros(0, dtype=np.int64)
        self._slot_of = np.full(_FIRST_CAPACITY, _FREE, dtype=np.int64)
        self._first_id = 0
        self.next_agent_id = 0
        self.live = 0

    def __len__(self) -> int:
        return self.live

    def begin_at(self, agent_id: int) -> None:
        """Number the agents from here on; nobody may have been seated yet."""
        self._first_id = self.next_agent_id = agent_id

    def add(self, count: int, entry: int, arguments: npt.NDArray[np.uint64]) -> Slots:
        """Number and seat new agents; arguments of shape (count, width). Returns their slots.

        Raises:
            SwarmFullError: There is no room; nothing was changed.
        """
        slots = self.free_slots.take(count)
        width = arguments.shape[1]
        self._grow(self.free_slots.used, width)
        first = self.next_agent_id
        ids = np.arange(first, first + count)
        self._remember(first + count)
        self._slot_of[first - self._first_id : first + count - self._first_id] = slots
        rows = slot_index(slots)
        self.agent_ids[rows] = ids
        self.entries[rows] = entry
        self.widths[rows] = width
        if width:
            self.arguments[rows, :width] = arguments
        self.cohorts[rows] = _FREE
        self.next_agent_id = first + count
        self.live += count
        return slots

    def add_one(self, entry: int, arguments: Sequence[int]) -> int:
        """Number and seat one new agent, as `add`, for less. Returns its slot."""
        slot = self.free_slots.take_one()
        self._grow(self.free_slots.used, len(arguments))
        agent_id = self.next_agent_id
        self._remember(agent_id + 1)
        self._slot_of[agent_id - self._first_id] = slot
        self.agent_ids[slot] = agent_id
        self.entries[slot] = entry
        self.widths[slot] = len(arguments)
        for position, bits in enumerate(arguments):
            self.arguments[slot, position] = bits
        self.cohorts[slot] = _FREE
        self.next_agent_id = agent_id + 1
        self.live += 1
        return slot

    def remove(self, slots: Slots) -> None:
        """Take agents off; their slots are free now."""
        self._slot_of[self.agent_ids[slots] - self._first_id] = _FREE
        self.agent_ids[slots] = _FREE
        self.free_slots.give_back(slots)
        self.live -= len(slots)

    def slot(self, agent_id: int) -> int:
        """Return an agent's slot.

        Raises:
            NotFoundError: There is no such agent.
        """
        if self.holds(agent_id):
            return int(self._slot_of[agent_id - self._first_id])
        message = f"there is no agent {agent_id!r} in the swarm: it was killed or never spawned"
        raise NotFoundError(message)

    def holds(self, agent_id: object) -> bool:
        """Whether there is such an agent."""
        if not isinstance(agent_id, int | np.integer):
            return False
        position = agent_id - self._first_id
        known = 0 <= position < self.next_agent_id - self._first_id
        return known and bool(self._slot_of[position] != _FREE)

    def slots(self) -> Slots:
        """Return the slots of all agents, in the order of their numbers."""
        seated = self._slot_of[: self.next_agent_id - self._first_id]
        return seated[seated != _FREE]

    def slots_of(self, agent_ids: Iterable[int]) -> Slots:
        """Return the slots of some agents, each once, in the order given.

        Raises:
            NotFoundError: One of them is not there.
        """
        if not isinstance(agent_ids, Sequence | np.ndarray | int):
            agent_ids = list(agent_ids)
        numbers = self._numbers(cast("Sequence[int]", agent_ids))
        if numbers is None:
            slots = np.array([_FREE])
        else:
            places = numbers - self._first_id
            known = (places >= 0) & (places < self.next_agent_id - self._first_id)
            slots = np.full(len(places), _FREE, dtype=np.int64)
            slots[known] = self._slot_of[places[known]]
        if (slots == _FREE).any():
            for agent_id in agent_ids:
                self.slot(agent_id)  # raises for the first that is not there
            message = f"agents are named by integers, not by {agent_ids!r:.60}"
            raise NotFoundError(message)
        if (slots[1:] > slots[:-1]).all():
            return slots
        firsts = np.unique(slots, return_index=True)[1]
        return slots if len(firsts) == len(slots) else slots[np.sort(firsts)]

    def _numbers(self, agent_ids: Sequence[int]) -> npt.NDArray[np.int64] | None:
        """Return numbers as an array; None where they are no integers, or surely not all here."""
        if isinstance(agent_ids, range):
            if len(agent_ids) > self.live:
                return None
            return np.arange(agent_ids.start, agent_ids.stop, agent_ids.step)
        try:
            numbers = np.asarray(agent_ids)
            if numbers.dtype.kind in "iub" or not numbers.size:
                return numbers.astype(np.int64).reshape(-1)
        except (TypeError, ValueError, OverflowError):
            pass
        return None

    def _remember(self, next_id: int) -> None:
        """Make room for numbers below `next_id`, forgetting the oldest that are dead."""
        if next_id - self._first_id <= len(self._slot_of):
            return
        alive = np.flatnonzero(self._slot_of != _FREE)
        dead_first = int(alive[0]) if len(alive) else self.next_agent_id - self._first_id
        kept = self._slot_of[dead_first : self.next_agent_id - self._first_id]
        self._first_id += dead_first
        size = max(2 * len(kept), next_id - self._first_id, _FIRST_CAPACITY)
        self._slot_of = np.full(size, _FREE, dtype=np.int64)
        self._slot_of[: len(kept)] = kept

    def _grow(self, capacity: int, width: int) -> None:
        rows, columns = self.arguments.shape
        if capacity <= rows and width <= columns:
            return
        rows_wanted = rows
        if capacity > rows:
            rows_wanted = max(capacity, min(2 * rows, self.free_slots.limit), _FIRST_CAPACITY)
        arguments = np.zeros((rows_wanted, max(width, columns)), dtype=np.uint64)
        arguments[:rows, :columns] = self.arguments
        self.arguments = arguments
        self.agent_ids = _longer(self.agent_ids, rows_wanted, fill=_FREE)
        self.entries = _longer(self.entries, rows_wanted)
        self.widths = _longer(self.widths, rows_wanted)
        self.cohorts = _longer(self.cohorts, rows_wanted, fill=_FREE)
        self.cohort_slots = _longer(self.cohort_slots, rows_wanted)


class ActiveAgents(Mapping[int, AgentState]):
    """The agents of a roster by number, made into values when looked at."""

    def __init__(self, roster: Roster, entries: Mapping[int, tuple[int | str, str]]) -> None:
        self._roster = roster
        self._entries = entries
        """For each entry: as it was given, and the digest of the module."""

    def __getitem__(self, agent_id: int) -> AgentState:
        slot = self._roster.slot(agent_id)
        entry_point, digest = self._entries[int(self._roster.entries[slot])]
        return AgentState(agent_id, slot, entry_point, digest)

    def __contains__(self, agent_id: object) -> bool:
        return self._roster.holds(agent_id)

    def __iter__(self) -> Iterator[int]:
        return iter(self._roster.agent_ids[self._roster.slots()].tolist())

    def __len__(self) -> int:
        return len(self._roster)


def _longer(column: npt.NDArray[_Scalar], size: int, fill: int = 0) -> npt.NDArray[_Scalar]:
    longer = np.full(size, fill, dtype=column.dtype)
    longer[: len(column)] = column
    return longer
