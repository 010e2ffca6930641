"""What the live routes read: the feed, and the files of the run that the board belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stigmergy.board import Event, TaskBoard
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.rundir import RunDirectory
from stigmergy.coding.spec import RunSpec
from stigmergy.server.live.conversation import SpellBook
from stigmergy.server.live.feed import Feed
from stigmergy.server.live.preview import PreviewTickets
from stigmergy.server.live.sources import ReplaySource

__all__ = ["LiveSite", "RunFiles"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiles:
    """Where a coding run keeps what the board does not hold."""

    repository: Repository
    target: Callable[[], str | None]
    """The commit that the run's target stands at now."""
    conversations: Path
    """A file for each task: what its agent and the model said."""

    @classmethod
    def open(cls, directory: RunDirectory, spec: RunSpec, board: TaskBoard) -> RunFiles:
        """Those of a run in its folder; `LiveSite.close` closes the repository."""
        repository = Repository(spec.repository)

        def target() -> str | None:
            ref = spec.target
            for event in _all_events(board):
                if event.kind == "target":  # it went on on a branch of its own
                    ref = str(event.data["ref"])
            return repository.tip(ref)

        return cls(repository=repository, target=target, conversations=directory.conversations)


class LiveSite:
    """A feed and what belongs to it.

    Args:
        feed: opened by whoever serves it.
        board: the same one; it is not closed.
        run: None for a board that no coding run belongs to.
    """

    def __init__(self, feed: Feed, board: TaskBoard, run: RunFiles | None = None) -> None:
        self.feed = feed
        self.spells = SpellBook(board)
        self.run = run
        self.tickets = None if run is None else PreviewTickets(run.repository)

    def close(self) -> None:
        """End the feed, and let go of the repository."""
        self.feed.close()
        if self.run is not None:
            self.run.repository.close()

    @property
    def replay(self) -> ReplaySource | None:
        """What is played, where what is shown does not happen now."""
        source = self.feed.source
        return source if isinstance(source, ReplaySource) else None


def _all_events(board: TaskBoard) -> Iterator[Event]:
    after = 0
    while batch := board.events(after=after, limit=5_000):
        yield from batch
        after = batch[-1].seq
