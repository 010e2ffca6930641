"""Every store keeps the Store contract."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from pathlib import Path

import pytest

import stigmergy.board.stores
from stigmergy.board.store import Clock, Store, open_store
from stigmergy.board.stores.files import FilesStore
from stigmergy.board.stores.memory import MemoryStore
from stigmergy.board.stores.postgres import PostgresStore
from stigmergy.board.stores.sqlite import SqliteStore
from stigmergy.errors import UsageError
from stigmergy.testing.stores import SharedStoreContract, ShortcutsContract, StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def make_store(self) -> Callable[[Clock], Store]:
        return lambda clock: MemoryStore(clock=clock)


class TestFilesStore(SharedStoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[Clock], Store]:
        return lambda clock: FilesStore(tmp_path / "no" / "such" / "tasks", clock=clock)


class TestSqliteStore(SharedStoreContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[Clock], Store]:
        return lambda clock: SqliteStore(tmp_path / "no" / "such" / "board.db", clock=clock)


@pytest.mark.needs_postgres
class TestPostgresStore(SharedStoreContract):
    @pytest.fixture
    def make_store(self, postgres_url: str) -> Callable[[Clock], Store]:
        return lambda clock: PostgresStore(postgres_url, clock=clock)


class TestSqliteShortcuts(ShortcutsContract):
    @pytest.fixture
    def make_store(self, tmp_path: Path) -> Callable[[Clock], Store]:
        return lambda clock: SqliteStore(tmp_path / "board.db", clock=clock)


@pytest.mark.needs_postgres
class TestPostgresShortcuts(ShortcutsContract):
    @pytest.fixture
    def make_store(self, postgres_url: str) -> Callable[[Clock], Store]:
        return lambda clock: PostgresStore(postgres_url, clock=clock)


PARTS = {
    "byhand",
    "filestransaction",
    "index",
    "journal",
    "locking",
    "progress",
    "taskfiles",
    "watching",
}
"""Modules beside the stores that stores are made of."""


def test_every_store_module_has_its_contract_run() -> None:
    covered = {
        "memory": TestMemoryStore,
        "files": TestFilesStore,
        "sqlite": TestSqliteStore,
        "postgres": TestPostgresStore,
    }
    modules = {module.name for module in pkgutil.iter_modules(stigmergy.board.stores.__path__)}
    assert modules - PARTS == covered.keys()


def test_stores_without_short_cuts_say_so_and_the_others_have_their_contract_run(
    tmp_path: Path,
) -> None:
    covered = {SqliteStore: TestSqliteShortcuts, PostgresStore: TestPostgresShortcuts}
    for url in ("memory:", tmp_path / "tasks"):
        store = open_store(url)
        assert store.shortcuts is None
        store.close()
    assert {kind for kind in covered if hasattr(kind, "shortcuts")} == covered.keys()


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("memory:", MemoryStore),
        ("sqlite:///b", SqliteStore),
        ("b.db", SqliteStore),
        ("b.sqlite3", SqliteStore),
        ("files:///b", FilesStore),
        ("b", FilesStore),
        ("a/b:c", FilesStore),
    ],
)
def test_a_url_picks_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, kind: type[Store]
) -> None:
    monkeypatch.chdir(tmp_path)
    store = open_store(url)
    assert isinstance(store, kind)
    store.close()


@pytest.mark.parametrize(
    "url", ["", "redis://x", "http://127.0.0.1:8420", "sqlite:b.db", "sqlite:///", "files://"]
)
def test_a_url_of_no_store_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        open_store(url)
