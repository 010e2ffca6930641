"""What was done to a swarm, in order: from it the swarm can be made again.

Agents are determined by their modules, their arguments and what else came from outside, so doing it
all again brings each to where it was, in the middle of a call too, on any engine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

__all__ = ["Journal", "Operation", "Verb", "same_arrays"]

Verb = Literal[
    "load", "unload", "spawn", "spawn_many", "restart", "kill", "write", "dispatch", "advance"
]
"""`advance` is a dispatch that failed in the middle, as far as it came."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of a swarm's methods: keyword arguments as they were given.

    Values are those of JSON, but for bytes and arrays, which stand for themselves.
    """

    verb: Verb
    given: Mapping[str, object]


class Journal:
    """The operations since the swarm was last empty, after those that loaded its modules."""

    def __init__(self, *, kept: bool) -> None:
        self.kept = kept
        """Whether it is written at all."""
        self.operations: list[Operation] = []
        self._loaded: list[Operation] = []
        self.first_agent = 0
        """The number of the agent that is spawned first when the operations are done again."""

    def add(self, verb: Verb, **given: object) -> None:
        """Write down what was done."""
        if not self.kept:
            return
        operation = Operation(verb, given)
        if verb == "load":
            self._loaded.append(operation)
        self.operations.append(operation)

    def forget(self, next_agent: int, is_loaded: Callable[[str], bool]) -> None:
        """Begin anew with an empty swarm: what its agents did matters no more."""
        # Each module once, in the order in which they were loaded last.
        last = {str(one.given["digest"]): one for one in reversed(self._loaded)}
        self._loaded = [one for digest, one in reversed(last.items()) if is_loaded(digest)]
        self.operations = list(self._loaded)
        self.first_agent = next_agent


def same_arrays(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray]) -> bool:
    """Whether two sets of named arrays are equal, bit for bit."""
    return first.keys() == second.keys() and all(
        first[name].dtype == second[name].dtype
        and first[name].shape == second[name].shape
        and first[name].tobytes() == second[name].tobytes()
        for name in first
    )
