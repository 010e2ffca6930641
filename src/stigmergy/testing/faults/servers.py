"""A database server that stops, is killed, or cuts connections while a crew is at work on it."""

from __future__ import annotations

import importlib.util
import random
import tempfile
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from stigmergy.testing.faults.checker import check
from stigmergy.testing.faults.crew import Crew, Plan, gather
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.postgres import PostgresServer, find_binaries

__all__ = ["cut_connections", "own_server", "postgres_missing", "restarted_server"]

_DOWN_S: Final = 0.3
_CUT: Final = """
    SELECT pg_terminate_backend(pid) FROM (
      SELECT pid FROM pg_stat_activity
      WHERE datname = current_database() AND pid <> pg_backend_pid()
      ORDER BY random() LIMIT 1
    ) AS victim"""


def postgres_missing() -> str | None:
    """Why there can be no board on PostgreSQL here, or None."""
    if importlib.util.find_spec("stigmergy.board.stores.postgres") is None:
        return "the store is not part of this version"
    if importlib.util.find_spec("psycopg") is None:
        return "psycopg is not installed: pip install 'stigmergy[postgres]'"
    return None if find_binaries() else "PostgreSQL is not installed"


@contextmanager
def own_server(host: str = "") -> Generator[PostgresServer]:
    """A server that ends with the block, and its data with it; on that address too."""
    # The folder has to be reachable by the user as whom the server runs.
    with tempfile.TemporaryDirectory(prefix="faults-pg-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with PostgresServer.start(folder / "server", host=host) as server:
            if host:
                _trust_all(server, folder / "server" / "data" / "pg_hba.conf")
            yield server


def _trust_all(server: PostgresServer, rules: Path) -> None:
    """Whoever comes over a network that only this test has is let in."""
    with rules.open("a") as file:
        file.write("host all all 0.0.0.0/0 trust\n")
    server.stop("fast")
    server.resume()


def restarted_server(setting: Setting) -> Row:
    """The server is shut down, fast or at once, or killed with -9, and comes back."""
    rng = setting.rng

    def disturb(server: PostgresServer, crew: Crew) -> None:
        way = rng.choice(
            [lambda: server.stop("fast"), lambda: server.stop("immediate"), server.kill]
        )
        crew.roles[0].child.has_ended(timeout_s=rng.uniform(0.1, 0.8))
        way()
        crew.roles[0].child.has_ended(timeout_s=rng.uniform(0.0, _DOWN_S))
        server.resume()

    return _disturbed(setting, disturb, rng, times=5 if setting.short else 100)


def cut_connections(setting: Setting) -> Row:
    """Connections are terminated at random: some of them between COMMIT and its answer."""
    import psycopg

    rng = setting.rng
    times = 60 if setting.short else 3000

    def disturb(server: PostgresServer, _: Crew) -> None:
        with psycopg.connect(server.url("faults"), autocommit=True) as connection:
            connection.execute(_CUT)

    return _disturbed(setting, disturb, rng, times=times)


def _disturbed(
    setting: Setting,
    disturb: Callable[[PostgresServer, Crew], None],
    rng: random.Random,
    *,
    times: int,
) -> Row:
    with own_server() as server:
        url = server.create_database("faults")
        plan = Plan(url=url, folder=setting.folder, seed=setting.seed, agents=4, lease_s=1.0)
        with ForkServer() as forks, Crew(plan, [forks]) as crew:
            for _ in range(times):
                crew.roles[0].child.has_ended(timeout_s=rng.uniform(0.0, 0.1))
                disturb(server, crew)
            crew.settle(within_s=120.0)
        evidence = gather(plan)
    notes = (
        f"{len(evidence.said('trouble'))} calls to be tried again, "
        f"{len(evidence.said('refused'))} refused; {len(evidence.tasks)} tasks done"
    )
    return Row(injected=times, violations=check(evidence), notes=notes)
