"""A throwaway PostgreSQL server, for tests and benchmarks.

It is made of the programs that the machine has, keeps all its files in one folder, trusts whoever
reaches its socket, and ends with the process that started it, however that ends. Never for data
that somebody needs.

    with PostgresServer.start(folder) as server:
        url = server.create_database("board")
"""

from __future__ import annotations

import ctypes
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, Self
from urllib.parse import quote, urlencode

import psutil

from stigmergy.errors import StigmergyError, UnsupportedError, UsageError
from stigmergy.testing.ports import free_port

__all__ = ["PostgresServer", "find_binaries"]

_USER: Final = "postgres"
_OPTIONS: Final = {"autovacuum": "off", "shared_buffers": "16MB", "max_connections": "200"}
_SOCKET_LIMIT: Final = 107
"""Bytes of a socket's path, as the kernel has it."""
_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.01
_SUPERVISOR: Final = Path(__file__).with_name("postmaster.py")
_SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


def find_binaries() -> Path | None:
    """The folder of `initdb` and `postgres`: that on PATH, else Debian's newest; None without."""
    on_path = shutil.which("initdb")
    found = [] if on_path is None else [Path(on_path).resolve().parent]
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    found += sorted(debian, key=lambda folder: _version(folder.parent.name), reverse=True)
    whole = (at for at in found if (at / "initdb").exists() and (at / "postgres").exists())
    return next(whole, None)


class PostgresServer:
    """A server on data of its own. Not thread-safe; `start` makes one.

    It listens on a Unix socket in its folder, and with `host` on that address too, where any user
    of this machine has the rights of its superuser.
    """

    def __init__(self, folder: Path, *, binaries: Path, options: Mapping[str, str], port: int):
        self._folder = folder
        self._binaries = binaries
        self._port = port
        self._host = options.get("listen_addresses", "")
        self._options = options
        self._account = _account()
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._pid = 0

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        options: Mapping[str, str] | None = None,
        host: str = "",
        port: int = 0,
    ) -> PostgresServer:
        """Make a server in `folder`, or start the one that is there, and wait until it is ready.

        Args:
            folder: made if missing, with mode 0700. As root the server runs as `postgres` or
                `nobody`, who gets the folder, so that user has to be able to reach it.
            options: settings of `postgresql.conf`; without them `autovacuum` is off, memory is
                small and 200 connections are allowed. Every commit is synced unless they say
                otherwise.
            host: an address to listen on as well, such as 127.0.0.1.
            port: of the host; 0 takes a free one.

        Raises:
            UnsupportedError: PostgreSQL is not installed.
            UsageError: the folder cannot be used.
            StigmergyError: the server did not start; the message has the end of its log.
        """
        binaries = find_binaries()
        if binaries is None:
            raise UnsupportedError("PostgreSQL is not installed: apt-get install postgresql")
        port = port or (free_port(host) if host else 5432)
        listen = {"listen_addresses": host, "port": str(port)}
        server = cls(
            folder.absolute(),
            binaries=binaries,
            options={**_OPTIONS, **(options or {}), **listen},
            port=port,
        )
        server._make_folder()
        if not (server._data / "PG_VERSION").exists():
            server._initialize()
        server.resume()
        return server

    @property
    def pid(self) -> int:
        """The postmaster's process id; 0 while it does not run."""
        return self._pid

    @property
    def log(self) -> str:
        """What the server wrote into its log so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def url(self, database: str = "postgres", **params: str) -> str:
        """What libpq and psycopg take; `params` are connection parameters of libpq."""
        where = {"host": self._host or str(self._folder), "port": str(self._port), "user": _USER}
        query = urlencode({**where, **params}, quote_via=quote, safe="/")
        return f"postgresql:///{quote(database, safe='')}?{query}"

    def create_database(self, name: str) -> str:
        """Make an empty database; returns its URL."""
        self._run("createdb", *self._socket_arguments(), "--template=template0", name)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database, with the connections that are open to it."""
        self._run("dropdb", *self._socket_arguments(), "--force", name)

    # Ending and coming back --------------------------------------------------------------------

    def stop(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Shut down: `smart` waits for clients, `immediate` leaves recovery to the next start.

        Raises:
            TimeoutError: it did not end within a minute.
        """
        self._end(_SIGNALS[mode])

    def kill(self) -> None:
        """Kill -9 the postmaster and its children. Unlike a power cut it loses no written page."""
        self._end(signal.SIGUSR1)

    def resume(self) -> None:
        """Start again on the same data, after `stop` or `kill`; nothing while it runs.

        Raises:
            StigmergyError: the server did not start; the message has the end of its log.
        """
        if self._runs():
            return
        self._end(signal.SIGUSR1)  # it ended by itself: nothing of it is to stay
        owner, user, group = os.getpid(), self._account.pw_uid, self._account.pw_gid
        supervise = [sys.executable, "-I", "-S", str(_SUPERVISOR)]
        supervise += map(str, (owner, user, group))
        settings = {**self._options, "unix_socket_directories": str(self._folder)}
        postgres = [str(self._binaries / "postgres"), "-D", str(self._data)]
        postgres += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._supervisor = subprocess.Popen(
                [*supervise, *postgres],
                cwd=self._folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the tests, which end the server in turn
            )
        assert self._supervisor.stdout is not None
        with self._supervisor.stdout as said:
            self._pid = int(said.readline() or 0)
        self._wait_until_ready(self._supervisor)

    def close(self) -> None:
        """End the server. Its folder stays. Idempotent."""
        if self._supervisor is not None:
            try:
                self.stop("fast")
            except TimeoutError:
                self.kill()
        self._remove_shared_memory()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -------------------------------------------------------------------------------------------

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    @property
    def _log(self) -> Path:
        return self._folder / "server.log"

    def _make_folder(self) -> None:
        socket_path = os.fsencode(self._folder / f".s.PGSQL.{self._port}")
        if len(socket_path) > _SOCKET_LIMIT:
            raise UsageError(
                f"{self._folder} is too long: a socket in it would have {len(socket_path)} bytes, "
                f"and at most {_SOCKET_LIMIT} go; take a folder nearer to the root"
            )
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.geteuid() != 0:
            return
        closed = [at for at in self._folder.parents if not at.stat().st_mode & 0o001]
        if closed:
            raise UsageError(
                f"the user {self._account.pw_name} cannot reach {self._folder}: {closed[-1]} is "
                "closed to others; take a folder of tempfile.mkdtemp()"
            )
        os.chown(self._folder, self._account.pw_uid, self._account.pw_gid)

    def _initialize(self) -> None:
        arguments = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", *arguments, f"--username={_USER}", f"--pgdata={self._data}")

    def _socket_arguments(self) -> list[str]:
        return [f"--host={self._folder}", f"--port={self._port}", f"--username={_USER}"]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [self._binaries / program, *arguments],
            cwd=self._folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
            user=self._account.pw_uid,
            group=self._account.pw_gid,
            extra_groups=[] if os.geteuid() == 0 else None,
        )
        if done.returncode:
            raise StigmergyError(f"{program} ended with {done.returncode}: {done.stderr.strip()}")

    def _wait_until_ready(self, supervisor: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + _TIMEOUT_S
        while not self._is_ready():
            ended = supervisor.poll() is not None
            if ended or time.monotonic() > give_up:
                self.kill()
                why = "it ended" if ended else f"not ready after {_TIMEOUT_S:.0f} s"
                raise StigmergyError(f"PostgreSQL did not start, {why}:\n{self.log[-2000:]}")
            time.sleep(_POLL_S)

    def _is_ready(self) -> bool:
        lines = self._lock_file()
        return lines[:1] == [str(self._pid)] and [line.strip() for line in lines[7:]] == ["ready"]

    def _lock_file(self) -> list[str]:
        """Pid, data, start, port, socket, host, shared memory, state; fewer while it starts."""
        try:
            return (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return []

    def _runs(self) -> bool:
        if self._supervisor is None or self._supervisor.poll() is not None:
            return False
        try:  # killed, it is there until the supervisor has taken notice
            return psutil.Process(self._pid).status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _end(self, number: signal.Signals) -> None:
        if self._supervisor is None:
            return
        self._supervisor.send_signal(number)
        try:
            self._supervisor.wait(_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise TimeoutError(
                f"PostgreSQL did not end within {_TIMEOUT_S:.0f} s:\n{self.log[-2000:]}"
            ) from None
        self._supervisor, self._pid = None, 0

    def _remove_shared_memory(self) -> None:
        """A killed server leaves a small segment, which only its next start would remove."""
        if (lines := self._lock_file())[6:]:
            ctypes.CDLL(None).shmctl(int(lines[6].split()[1]), 0, None)  # IPC_RMID
            (self._data / "postmaster.pid").unlink()


def _version(name: str) -> tuple[int, ...]:
    return tuple(int(part) for part in name.split(".") if part.isdigit())


def _account() -> pwd.struct_passwd:
    """As whom the server runs: it refuses to as root."""
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _environment() -> dict[str, str]:
    """Without the settings that libpq and the server would take from the user."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}
