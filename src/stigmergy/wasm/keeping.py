"""Keeps a swarm's agents through the loss of a device: they are made again from its journal.

A device can be lost at any time: a driver's watchdog ends it, a card falls out. What its agents
were is lost with it, but they are determined by what was done to the swarm. So that is done again,
on another device or, under `auto`, on the CPU; how often in a row is bounded.
"""

import logging
from collections.abc import Callable
from typing import Final, TypeVar

from stigmergy.errors import UnsupportedError
from stigmergy.wasm.engine import DeviceLostError
from stigmergy.wasm.engines import Engines
from stigmergy.wasm.journal import Journal
from stigmergy.wasm.population import Population
from stigmergy.wasm.replaying import replay

__all__ = ["Keeper"]

_log: Final = logging.getLogger(__name__)

_MOST_LOSSES: Final = 3
"""In a row, until the GPU is given up: what is asked of it may be what ends it."""

_Answer = TypeVar("_Answer")


class Keeper:
    """Has the population of a swarm, and makes it again where it is not what the journal says.

    `make` makes an empty population whose first agent has a number.
    """

    def __init__(
        self, make: Callable[[int], Population], journal: Journal, engines: Engines
    ) -> None:
        self._make = make
        self._journal = journal
        self._engines = engines
        self.population = make(0)
        """Who is in the swarm. What the agents' places hold is for `do` alone."""
        self.is_torn = False
        """Whether the agents are not where the journal says: they are made again before use."""
        self.losses: list[str] = []
        """What was lost, and what was done about it."""

    def do(self, act: Callable[[Population], _Answer]) -> _Answer:
        """Do something with the agents; where their device is lost, make them again and repeat it.

        Raises:
            DeviceLostError: It was lost several times in a row, or there is no journal.
        """
        lost = 0
        while True:
            try:
                return act(self._whole())
            except DeviceLostError as error:
                lost += 1
                self._meet_loss(error, lost)

    def tear(self) -> None:
        """Note that something was left half done: without a journal, it stays so."""
        self.is_torn = self._journal.kept

    def begin_anew(self) -> None:
        """Note that nobody is left: there is nothing to make again."""
        self.is_torn = False

    def _meet_loss(self, error: DeviceLostError, lost: int) -> None:
        """Get ready for another try, or say why there is none."""
        self._engines.give_device_up()
        if not self._journal.kept:
            message = (
                f"the GPU's device was lost ({error.reason}), and with it the state of all agents "
                "on it; the swarm keeps no journal to make them again: kill them and spawn others"
            )
            raise DeviceLostError(message, reason=error.reason) from error
        self.tear()
        what = f"the GPU's device was lost ({error.reason})"
        if lost < _MOST_LOSSES:
            self._note(f"{what}; the agents are made again on another")
            return
        what += f", {lost} times in a row"
        # What the CPU makes of fast floats may not be what the GPU has made of them before.
        if self.population.settings.floats == "strict" and self._engines.leave_gpu(what):
            self._note(f"{what}; the agents go on on the CPU")
            return
        self._note(what)
        message = (
            f"{what}; nothing that was done before is lost: the swarm can be saved, and goes on "
            "when it is used again and there is a device"
        )
        raise DeviceLostError(message, reason=error.reason) from error

    def _note(self, loss: str) -> None:
        self.losses.append(loss)
        _log.warning("%s", loss)

    def _whole(self) -> Population:
        """Return the agents where the journal says that they are."""
        if self.is_torn:
            self.population.release()
            self.population = self._made_again()
            self.is_torn = False
        return self.population

    def _made_again(self) -> Population:
        population = self._make(self._journal.first_agent)
        try:
            for operation in self._journal.operations:
                replay(population, operation)
        except UnsupportedError as error:
            population.release()
            reason = f"the agents cannot be made again now: {error}"
            raise DeviceLostError(reason, reason=reason) from error
        except BaseException:
            population.release()
            raise
        return population
