"""What the swarm has learned: namespaces of notes, values and reflections, found by their words."""

from stigmergy.memory.entry import (
    Entry,
    Found,
    Kind,
    Listing,
    MemoryStats,
    NamespaceStats,
    Origin,
    Reflection,
)
from stigmergy.memory.importing import Conflict, Imported, Policy
from stigmergy.memory.memory import Embed, Memory
from stigmergy.memory.writing import StaleVersionError

__all__ = [
    "Conflict",
    "Embed",
    "Entry",
    "Found",
    "Imported",
    "Kind",
    "Listing",
    "Memory",
    "MemoryStats",
    "NamespaceStats",
    "Origin",
    "Policy",
    "Reflection",
    "StaleVersionError",
]
