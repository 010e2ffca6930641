"""A board in a PostgreSQL database: for many machines. Needs the extra `postgres`."""

from stigmergy.board.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
