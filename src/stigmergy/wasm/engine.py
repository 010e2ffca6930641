"""The seam between the swarm and what runs it: engines, their cohorts, and the values they pass.

A cohort is a set of agents of one module on one engine. An agent is known by its slot, and is an
instance of the module: its own memory, globals and tables. One call at a time runs in it. All
verbs take many slots at once, as arrays, for a swarm is large and Python is slow.

Counting, the same on every engine (it is wasmtime's fuel): every instruction counts 1, except nop,
drop, block, loop, else, end, return and unreachable, which count 0. Entering a function counts 1; a
function of the host is not entered. An instruction that fills, copies, initialises or grows a
memory or a table counts the length besides (bytes, elements or pages), once it is done: not where
it traps, nor where it fails to grow (but there too if the length is a constant of at most 128).

An agent stops when its count has reached its target in one of three places: in a function just
entered (which is counted already), at the head of a loop, and after an instruction that counted a
length, unless that length is a constant (an i32.const, or a local that can only hold one) of at
most 128. At the same place it does not stop twice.

The count of an agent that trapped is what it had reached when it last called a function, left one,
came upon unreachable or upon an access whose offset alone lies beyond the most that its memory may
have (by the module's limits and the settings'), or stopped: what it did after that, the entry of
the function it was in included, is not known on the CPU, and not counted anywhere.

NaNs that arithmetic gives are the canonical one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from stigmergy.errors import TransientError
from stigmergy.wasm.hostcalls import Imports
from stigmergy.wasm.module.model import Module

__all__ = [
    "Cohort",
    "CohortSettings",
    "Counts",
    "DeviceLostError",
    "Engine",
    "FloatMode",
    "Mail",
    "Slots",
    "Status",
    "Statuses",
    "Trap",
    "TrapKind",
    "Words",
]

Slots: TypeAlias = npt.NDArray[np.int64]
"""Slots of a cohort: shape (n,), each at most once."""
Counts: TypeAlias = npt.NDArray[np.uint64]
"""Instructions: shape (n,)."""
Words: TypeAlias = npt.NDArray[np.uint64]
"""Values as their bits, those of 32 bits in the lower half: shape (n, values)."""
Statuses: TypeAlias = npt.NDArray[np.uint8]
"""A Status for each slot: shape (n,)."""
FloatMode = Literal["strict", "fast"]
"""strict: IEEE 754 to the last bit, on every engine. fast: what the hardware does."""


class DeviceLostError(TransientError):
    """A device was lost, and with it the state of all agents on it; `reason` says why."""

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Status(IntEnum):
    """What an agent is about."""

    IDLE = 0
    """It has no call."""
    READY = 1
    """It has a call that is not finished."""
    FINISHED = 2
    TRAPPED = 3
    WAITING = 4
    """It called `wait`, and goes on when it is woken."""


class TrapKind(IntEnum):
    """Why an agent was stopped for good."""

    NONE = 0
    UNREACHABLE = 1
    MEMORY_OUT_OF_BOUNDS = 2
    TABLE_OUT_OF_BOUNDS = 3
    INDIRECT_CALL_TO_NULL = 4
    BAD_SIGNATURE = 5
    INTEGER_OVERFLOW = 6
    INTEGER_DIVISION_BY_ZERO = 7
    BAD_CONVERSION_TO_INTEGER = 8
    STACK_OVERFLOW = 9

    def __str__(self) -> str:
        return self.name.lower().replace("_", " ")


_LONGEST_NAME = 80


@dataclass(frozen=True, slots=True)
class Trap:
    """Where an agent was stopped: a function by index, and an instruction by its byte's offset.

    Both are None where the trap happened before any instruction: a data or element segment that
    does not fit.
    """

    kind: TrapKind
    function: int | None = None
    offset: int | None = None
    name: str | None = field(default=None, compare=False)
    """What the module calls the function, where it says so: text from outside."""

    def __str__(self) -> str:
        what = self.function if self.name is None else repr(self.name[:_LONGEST_NAME])
        where = "" if self.function is None else f" in function {what}"
        return str(self.kind) + where + ("" if self.offset is None else f" at byte {self.offset}")


@dataclass(frozen=True, slots=True)
class CohortSettings:
    """What the agents of a cohort may use. Sizes are of each agent."""

    memory_bytes: int = 65_536
    """The most linear memory. Less than the module declares is allowed where it neither asks for
    its memory's size nor grows it: what lies beyond is out of bounds, then."""
    output_bytes: int = 4_096
    mailbox_messages: int = 16
    """The most messages in an inbox, and in an outbox."""
    message_bytes: int = 64
    call_stack_bytes: int = 16_384
    """What the GPU engine keeps for the frames of recursive calls; the CPU engine has 512 KiB."""
    table_elements: int = 1_024
    """The most elements of a table that grows."""
    floats: FloatMode = "strict"
    seed: int = 0
    clock_start_ns: int = 0
    imports: Imports = field(default_factory=Imports)


@dataclass(frozen=True, slots=True)
class Mail:
    """Messages in the mailboxes of some agents, in order of slot, then of age (oldest first).

    `slots`: whose mailbox, shape (m,), int64. `peers`: the recipient of a message in an outbox, the
    sender of one in an inbox, shape (m,), uint32. `lengths` in bytes, shape (m,), uint32.
    `contents`: shape (m, message_bytes), uint8, zero beyond the length.
    """

    slots: Slots
    peers: npt.NDArray[np.uint32]
    lengths: npt.NDArray[np.uint32]
    contents: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.slots)


class Cohort(Protocol):
    """The agents of one module on one engine. Not thread-safe."""

    @property
    def module(self) -> Module:
        """What the agents run."""
        ...

    def check(self, function: int) -> None:
        """See whether agents can begin with this function.

        Raises:
            UnsupportedError: This engine cannot run it, for the reason given.
        """
        ...

    def reserve(self, capacity: int) -> None:
        """Make room for the slots 0 … capacity - 1; those in use stay as they are."""
        ...

    def create(self, slots: Slots, agent_ids: npt.NDArray[np.uint32]) -> None:
        """Begin fresh instances, whatever these slots held. The status is IDLE.

        A module's start function runs with the first call, before it. A segment that does not fit
        traps the agent at the first call.
        """
        ...

    def discard(self, slots: Slots) -> None:
        """End instances and free what they used."""
        ...

    def begin(self, slots: Slots, function: int, arguments: Words) -> None:
        """Give each agent a call of a function, arguments of shape (n, parameters).

        The count starts at 0, the status is READY. A call that was not finished is given up.

        Raises:
            UnsupportedError: This engine cannot run the function.
        """
        ...

    def run(self, slots: Slots, targets: Counts) -> Statuses:
        """Run each READY agent until it finishes, traps, waits, or its count reaches its target.

        Others are left as they are. Returns the statuses afterwards. Where it raises, each agent
        has come to a place where it could have been stopped, and its status and count are of there.

        Raises:
            UnsupportedError: It turned out that the engine cannot run them.
            DeviceLostError: The agents' state is lost.
        """
        ...

    def wake(self, slots: Slots) -> None:
        """Make WAITING agents READY."""
        ...

    def statuses(self, slots: Slots) -> Statuses:
        """Return what each agent is about."""
        ...

    def counts(self, slots: Slots) -> Counts:
        """Return the instructions of each agent's call so far."""
        ...

    def results(self, slots: Slots, function: int) -> Words:
        """Return what a call of this function gave: shape (n, results). Only where FINISHED."""
        ...

    def traps(self, slots: Slots) -> Sequence[Trap | None]:
        """Return why and where each agent trapped, None where it did not."""
        ...

    def memory_sizes(self, slots: Slots) -> npt.NDArray[np.int64]:
        """Return the size of each agent's memory now, in bytes; 0 without one."""
        ...

    def read_memory(self, slots: Slots, offset: int, size: int) -> npt.NDArray[np.uint8]:
        """Return a part of each agent's memory: shape (n, size). The caller checked the bounds."""
        ...

    def write_memory(self, slots: Slots, offset: int, content: npt.NDArray[np.uint8]) -> None:
        """Write to each agent's memory, shape (n, size). The caller checked the bounds."""
        ...

    def read_globals(self, slots: Slots) -> Words:
        """Return all globals, imported ones first: shape (n, globals). References are 0."""
        ...

    def write_globals(self, slots: Slots, indices: Sequence[int], values: Words) -> None:
        """Set some mutable globals that are numbers: shape (n, indices)."""
        ...

    def outputs(self, slots: Slots) -> Sequence[bytes]:
        """Return what each agent wrote to its output since it was created."""
        ...

    def read_mail(self, slots: Slots, box: Literal["inbox", "outbox"]) -> Mail:
        """Return the messages in the inboxes or outboxes."""
        ...

    def write_mail(self, slots: Slots, box: Literal["inbox", "outbox"], mail: Mail) -> None:
        """Replace the contents of the inboxes or outboxes of these slots."""
        ...

    def close(self) -> None:
        """Free everything. Idempotent."""
        ...


class Engine(Protocol):
    """Runs cohorts. Safe to share between threads that have cohorts of their own."""

    @property
    def name(self) -> Literal["cpu", "gpu"]:
        """How users choose it."""
        ...

    @property
    def device(self) -> str:
        """What it runs on, for people."""
        ...

    @property
    def is_hardware(self) -> bool:
        """Whether it runs where it says: False for a GPU that a processor plays."""
        ...

    def cohort(self, module: Module, settings: CohortSettings) -> Cohort:
        """Make an empty cohort.

        Raises:
            UnsupportedError: This engine cannot run the module, for the reason given.
        """
        ...

    def close(self) -> None:
        """Free the device. Idempotent."""
        ...
