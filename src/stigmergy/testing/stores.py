"""The contract of the Store seam: subclass it, say how a store is made, and run it with pytest.

class TestMyStore(StoreContract):
    @pytest.fixture
    def make_store(self, tmp_path):
        return lambda clock: MyStore(tmp_path / "board", clock=clock)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from stigmergy.board.store import Clock, Store
from stigmergy.testing.storecontract.claims import ClaimRules
from stigmergy.testing.storecontract.journal import JournalRules
from stigmergy.testing.storecontract.looking import LookingRules
from stigmergy.testing.storecontract.shared import SharedRules
from stigmergy.testing.storecontract.shortcuts import ShortcutsContract
from stigmergy.testing.storecontract.tasks import TaskRules
from stigmergy.testing.storecontract.values import FakeClock

__all__ = ["FakeClock", "SharedStoreContract", "ShortcutsContract", "StoreContract"]


class StoreContract(TaskRules, ClaimRules, LookingRules, JournalRules):
    """What `Store` and `Transaction` promise, one rule a test."""

    @pytest.fixture
    def make_store(self) -> Callable[[Clock], Store]:
        """How to make an empty store; overridden by the implementer."""
        raise NotImplementedError("a subclass gives the fixture make_store")

    @pytest.fixture
    def clock(self) -> FakeClock:
        """The store's clock."""
        return FakeClock()

    @pytest.fixture
    def store(self, make_store: Callable[[Clock], Store], clock: FakeClock) -> Iterator[Store]:
        """An empty store."""
        store = make_store(clock)
        yield store
        store.close()


class SharedStoreContract(SharedRules, StoreContract):
    """What a store promises that a second handle, in another process too, opens by its URL."""
