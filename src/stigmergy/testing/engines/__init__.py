"""The contract of the Engine seam: subclass it, say how an engine is made, and run it with pytest.

class TestMyEngine(EngineContract):
    @pytest.fixture(scope="class")
    def engine(self):
        with closing(MyEngine()) as engine:
            yield engine
"""

from __future__ import annotations

import pytest

from stigmergy.testing.engines.counting import CountingRules
from stigmergy.testing.engines.hosting import HostRules
from stigmergy.testing.engines.lifetimes import LifetimeRules
from stigmergy.testing.engines.mailing import MailRules
from stigmergy.testing.engines.memories import MemoryRules
from stigmergy.testing.engines.trapping import TrapRules
from stigmergy.testing.engines.values import Crew, crew
from stigmergy.wasm.engine import Engine

__all__ = ["Crew", "EngineContract", "crew"]


class EngineContract(LifetimeRules, CountingRules, TrapRules, MemoryRules, HostRules, MailRules):
    """What `Engine` and `Cohort` promise, one rule a test."""

    @pytest.fixture
    def engine(self) -> Engine:
        """An engine; overridden by the implementer, who also closes it."""
        raise NotImplementedError("a subclass gives the fixture engine")
