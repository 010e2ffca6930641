"""What was spent, durable and shared by all processes of this user on this machine.

One SQLite file holds the spend of every task, run and of the fleet, and what calls under way
have reserved. A reservation is written before the call and settled after it, each in one
transaction over all scopes.

A process killed between the two leaves its reservations behind. Each ledger that is open holds a
lock on a file of its own, which the system lets go when the process dies, however it dies; whoever
next needs the room finds the lock free and settles those reservations *as if all of them had been
spent*: the provider may have answered, and a hard limit must not be too generous.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import secrets
import sqlite3
import threading
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from importlib import resources
from pathlib import Path
from types import TracebackType
from typing import Self

import platformdirs

from stigmergy.errors import CorruptError
from stigmergy.models.budget import Amount, Fits, Scope, Spend, Standing, Verdict, judge
from stigmergy.models.config import BudgetLimits

__all__ = ["Ledger", "Reservation", "default_ledger_path"]

_NANO = Decimal(10) ** 9
_BUSY_TIMEOUT_S = 30.0


def default_ledger_path() -> Path:
    """Where the fleet's ledger lies: in the user's state directory."""
    return Path(platformdirs.user_state_dir("stigmergy")) / "spend.db"


@dataclass(frozen=True, slots=True)
class Reservation:
    """The proof that room was made for a call; settle it exactly once."""

    id: str
    scopes: tuple[str, ...]
    estimate: Amount


class Ledger:
    """Spend by scope. Safe for threads and for processes; a context manager.

    Args:
        path: of the file; it and its directory are made if missing, for this user only.

    Raises:
        CorruptError: the file is no ledger.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread_lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._owner = secrets.token_hex(16)
        # Two processes that turn on WAL at once can fail in spite of the busy timeout, and an
        # owner's file must not be swept between its making and its locking.
        setup_fd = _lock_file(path.with_name(f"{path.name}.setup"))
        try:
            self._connection = _connect(path)
            self._owner_fd = _lock_file(self._owner_path(self._owner))
            self.settle_the_dead()
            self._remove_dead_owners()
        finally:
            os.close(setup_fd)

    def reserve(
        self,
        limits: Sequence[tuple[Scope, BudgetLimits]],
        estimate: Amount,
        *,
        allow_unknown_prices: bool,
    ) -> Reservation | Verdict:
        """Room for a call of at most `estimate` in every scope, or the reason why there is none."""
        for sweep in (True, False):
            with self._transaction():
                standings = [self._standing(scope, limit) for scope, limit in limits]
                verdict = judge(standings, estimate, allow_unknown_prices=allow_unknown_prices)
                if isinstance(verdict, Fits):
                    return self._insert(tuple(scope.key for scope, _ in limits), estimate)
            if sweep:
                # What looks reserved may be what a dead process left.
                self.settle_the_dead()
        return verdict

    def settle(self, reservation: Reservation, actual: Amount | None) -> None:
        """Replace the reservation by what was spent; None means it is not known, so all of it.

        Right as well if another process took this one for dead and settled it already.
        """
        with self._transaction():
            gone = self._connection.execute(
                "DELETE FROM reservation WHERE id = ? RETURNING scope", (reservation.id,)
            ).fetchall()
            if gone:
                for scope in reservation.scopes:
                    self._add(scope, actual or reservation.estimate, estimated=actual is None)

    def settle_the_dead(self) -> int:
        """Settle in full what dead processes had reserved; returns how many owners were dead."""
        rows = self._query("SELECT DISTINCT owner FROM reservation WHERE owner <> ?", self._owner)
        dead = [owner for (owner,) in rows if not _is_locked(self._owner_path(owner))]
        for owner in dead:
            self._settle_owner(owner)
        return len(dead)

    def spent(self, scope: str) -> Spend:
        """What the scope with this key has spent; reservations are not in it."""
        with self._thread_lock:
            return self._spent(scope)

    def reserved(self, scope: str) -> Amount:
        """What calls under way have reserved in the scope; the cost is the known part."""
        with self._thread_lock:
            return self._reserved(scope)

    def close(self) -> None:
        """Let go of the file. What is still reserved will be settled in full. Idempotent."""
        with self._thread_lock:
            self._connection.close()
            if self._owner_fd >= 0:
                self._owner_path(self._owner).unlink(missing_ok=True)
                os.close(self._owner_fd)
                self._owner_fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _standing(self, scope: Scope, limits: BudgetLimits) -> Standing:
        return Standing(scope, limits, self._spent(scope.key), self._reserved(scope.key))

    def _spent(self, scope: str) -> Spend:
        row = self._connection.execute(
            "SELECT tokens, cost_nano, unpriced_tokens, estimated_tokens FROM spend "
            "WHERE scope = ?",
            (scope,),
        ).fetchone()
        return Spend(row[0], row[1] / _NANO, row[2], row[3]) if row else Spend()

    def _reserved(self, scope: str) -> Amount:
        tokens, nano = self._connection.execute(
            "SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(cost_nano), 0) FROM reservation "
            "WHERE scope = ?",
            (scope,),
        ).fetchone()
        return Amount(tokens, nano / _NANO)

    def _insert(self, scopes: tuple[str, ...], estimate: Amount) -> Reservation:
        reservation = Reservation(secrets.token_hex(16), scopes, estimate)
        self._connection.executemany(
            "INSERT INTO reservation (id, scope, owner, tokens, cost_nano) VALUES (?, ?, ?, ?, ?)",
            [
                (reservation.id, scope, self._owner, estimate.tokens, _nano(estimate.cost))
                for scope in scopes
            ],
        )
        return reservation

    def _settle_owner(self, owner: str) -> None:
        with self._transaction():
            rows = self._connection.execute(
                "DELETE FROM reservation WHERE owner = ? RETURNING scope, tokens, cost_nano",
                (owner,),
            ).fetchall()
            for scope, tokens, nano in rows:
                cost = None if nano is None else nano / _NANO
                self._add(scope, Amount(tokens, cost), estimated=True)

    def _add(self, scope: str, amount: Amount, *, estimated: bool) -> None:
        self._connection.execute(
            """
            INSERT INTO spend (scope, tokens, cost_nano, unpriced_tokens, estimated_tokens)
            VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (scope) DO UPDATE SET
              tokens = tokens + excluded.tokens,
              cost_nano = cost_nano + excluded.cost_nano,
              unpriced_tokens = unpriced_tokens + excluded.unpriced_tokens,
              estimated_tokens = estimated_tokens + excluded.estimated_tokens
            """,
            (
                scope,
                amount.tokens,
                _nano(amount.cost) or 0,
                amount.tokens if amount.cost is None else 0,
                amount.tokens if estimated else 0,
            ),
        )

    def _query(self, sql: str, *parameters: str) -> list[tuple[str]]:
        with self._thread_lock:
            return self._connection.execute(sql, parameters).fetchall()

    @contextlib.contextmanager
    def _transaction(self) -> Generator[None]:
        with self._thread_lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def _owner_path(self, owner: str) -> Path:
        return self._path.with_name(f"{self._path.name}.owner-{owner}")

    def _remove_dead_owners(self) -> None:
        """Under the setup lock, and after their reservations were settled."""
        for path in self._path.parent.glob(f"{self._path.name}.owner-*"):
            if not _is_locked(path):
                path.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    schema = resources.files("stigmergy.models").joinpath("ledger.sql").read_text("utf-8")
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(
        path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False
    )
    try:
        # NORMAL survives the death of any process; a power failure may lose the last calls.
        connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;" + schema)
    except sqlite3.DatabaseError as error:
        connection.close()
        raise CorruptError(f"{path} is not a ledger: {error}", where=str(path)) from error
    return connection


def _lock_file(path: Path) -> int:
    """Make the file if need be and wait for its lock, which lasts until the descriptor closes."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def _is_locked(path: Path) -> bool:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        # Shared: two who look at once must not take each other for the owner.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def _nano(cost: Decimal | None) -> int | None:
    return None if cost is None else math.ceil(cost * _NANO)
