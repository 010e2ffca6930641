"""Saves a whole swarm, and makes it again: what was done to it, and what its agents came to."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from stigmergy.errors import CorruptError, UsageError
from stigmergy.wasm.engine import CohortSettings
from stigmergy.wasm.journal import same_arrays
from stigmergy.wasm.recording import Record
from stigmergy.wasm.replaying import replay
from stigmergy.wasm.snapshot import Snapshot

__all__ = ["fill", "naming_damage", "snapshot_of"]

_SAVED_SETTINGS = (
    "floats",
    "seed",
    "clock_start_ns",
    "mailbox_messages",
    "message_bytes",
    "call_stack_bytes",
)


def snapshot_of(record: Record, settings: CohortSettings, *, max_agents: int) -> Snapshot:
    """Return all that a swarm can be made from again.

    What agents came to is left out where a lost device took it: then there is nothing to check.

    Raises:
        UsageError: The swarm keeps no journal.
    """
    journal, keeper = record.journal, record.keeper
    if not journal.kept:
        message = "this swarm was made with journal=False: it cannot be saved"
        raise UsageError(message)
    arguments = {
        "max_agents": max_agents,
        "agent_memory_size": settings.memory_bytes,
        "output_size": settings.output_bytes,
        **{name: getattr(settings, name) for name in _SAVED_SETTINGS},
    }
    state = {} if keeper.is_torn else keeper.population.seating.state()
    return Snapshot(arguments, journal.operations, journal.first_agent, state)


def fill(
    record: Record,
    snapshot: Snapshot,
    path: Path,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Do again with an empty swarm what was done to a saved one.

    Raises:
        CorruptError: The agents did not come to where they were.
    """
    journal, keeper = record.journal, record.keeper
    journal.first_agent = snapshot.first_agent
    keeper.population.roster.begin_at(snapshot.first_agent)
    for done, operation in enumerate(snapshot.operations, 1):
        keeper.do(lambda agents, operation=operation: replay(agents, operation))
        journal.add(operation.verb, **operation.given)
        if progress:
            progress(done, len(snapshot.operations))
    state = keeper.population.seating.state()
    if snapshot.state and not same_arrays(state, snapshot.state):
        message = f"the swarm of {path} did not come to where it was when it was saved"
        raise CorruptError(message, where=str(path))


@contextmanager
def naming_damage(path: Path) -> Generator[None]:
    """Tell what goes wrong with what a file says as damage of the file."""
    try:
        yield
    except (TypeError, AttributeError, LookupError, ValueError, ArithmeticError) as error:
        message = f"{path} is no saved swarm, or it is damaged ({error})"
        raise CorruptError(message, where=str(path)) from error
