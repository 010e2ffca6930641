"""Where each word of an agent's state lies in the GPU's buffers. Pure; compiler and host share it.

Agents of one window (`stride` of them) share a set of buffers. Bindings of group 0, all
`array<u32>` but the parameters:

    0  state    read_write  word w of slot s at [w * stride + s]: the header, results, globals,
                            tables, dropped segments, then the frames of the call stack
    1  memory   read_write  word w of slot s at memory_index(); linear memory, little-endian
    2  output   read_write  word w of slot s at [s * output_words + w]: the output's bytes
    3  mail     read_write  the inbox, then the outbox, of slot s from [s * mail_words]
    4  agents   read        the slots to run in this dispatch
    5  constants read       passive data and element segments
    6  parameters uniform   see Parameters

A buffer that a program does not use is not bound, and not declared by its shader.
"""

from dataclasses import dataclass
from enum import IntEnum

__all__ = ["HEADER_WORDS", "Binding", "Header", "StateLayout", "memory_index"]


class Binding(IntEnum):
    """The buffers of a shader, by their binding in group 0."""

    STATE = 0
    MEMORY = 1
    OUTPUT = 2
    MAIL = 3
    AGENTS = 4
    CONSTANTS = 5
    PARAMETERS = 6


class Header(IntEnum):
    """The first words of an agent's state."""

    STATUS = 0
    """A Status of the engine's seam."""
    TRAP_KIND = 1
    TRAP_OFFSET = 2
    """The trapping instruction's byte in the module; 0xffffffff where there is none."""
    COUNT_LOW = 3
    """Instructions since the call began, 64 bits."""
    COUNT_HIGH = 4
    TARGET_LOW = 5
    """The count at which the agent stops, 64 bits; the host writes it."""
    TARGET_HIGH = 6
    PAGES = 7
    """The size of the linear memory now, in pages."""
    OUTPUT_BYTES = 8
    """How much of the output is used."""
    AGENT_ID = 9
    RANDOM_DRAWS = 10
    """How many random values were drawn (32 bits)."""
    STACK_WORDS = 11
    """How much of the call stack is used; the frame on top is the one that goes on."""
    SETTLED_LOW = 12
    """The count, 64 bits, that the agent would have if it trapped now; 0 when a call begins."""
    SETTLED_HIGH = 13
    RESERVED_14 = 14
    RESERVED_15 = 15


HEADER_WORDS = 16


@dataclass(frozen=True, slots=True)
class StateLayout:
    """The words of one agent's state after the header, each part by its first word."""

    results: int
    """Two words for each result, low first; room for the most results of any function."""
    globals: tuple[int, ...]
    """For each global of the module, imported ones too, its first word; always two words."""
    tables: tuple[int, ...]
    """For each table: its size, then an element a word: a function's index + 1, null 0."""
    table_capacities: tuple[int, ...]
    """For each table, the most elements that it can have."""
    dropped: int
    """A word for each data segment, then for each element segment: 1 if dropped."""
    stack: int
    """The call stack's first word."""
    stack_words: int
    words: int
    """All words of an agent's state, the header included."""
    memory_words: int
    """Words of linear memory for each agent: its most, rounded up to whole words."""
    output_words: int
    mailbox_messages: int
    message_words: int
    """A message in a mailbox: the peer, the length, then the content: 2 + its words."""

    @property
    def box_words(self) -> int:
        """Words of one mailbox: how many messages are in it, then the messages, oldest first."""
        return 1 + self.mailbox_messages * self.message_words

    @property
    def mail_words(self) -> int:
        """Words of an agent's inbox and outbox."""
        return 2 * self.box_words


def memory_index(slot: int, word: int, *, words: int, block: int) -> int:
    """Return where a word of linear memory lies: agents are interleaved in blocks of `block`.

    Software adapters want 1 (each agent's memory in one piece), hardware 32 or 64 (neighbours in a
    warp read neighbouring words). The capacity of a window is a multiple of the block.
    """
    return (slot // block) * (words * block) + word * block + slot % block
