"""The throwaway PostgreSQL server keeps what was committed, and leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stigmergy.errors import StigmergyError, UnsupportedError, UsageError
from stigmergy.testing import postgres
from stigmergy.testing.postgres import PostgresServer, find_binaries

pytestmark = pytest.mark.needs_postgres


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not tmp_path: that is closed to the user that the server runs as."""
    made = Path(tempfile.mkdtemp(prefix="stig-pg-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def server(folder: Path) -> Iterator[PostgresServer]:
    with PostgresServer.start(folder) as started:
        yield started


def setting(url: str, name: str) -> str:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
    assert row is not None
    return str(row[0])


def rows(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM kept ORDER BY n")]


def keep(url: str, n: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (%s)", (n,))


def runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_for_the_end_of(pids: set[int]) -> None:
    give_up = time.monotonic() + 60
    while any(map(runs, pids)) and time.monotonic() < give_up:
        time.sleep(0.02)
    assert not {pid for pid in pids if runs(pid)}


def all_of(postmaster: int) -> set[int]:
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
    assert children
    return {postmaster, *map(int, children)}


def test_each_test_has_an_empty_database_and_durable_commits(postgres_url: str) -> None:
    keep(postgres_url, 1)
    assert rows(postgres_url) == [1]
    assert setting(postgres_url, "fsync") == "on"
    assert setting(postgres_url, "autovacuum") == "off"
    assert setting(postgres_url, "server_encoding") == "UTF8"


def test_a_url_names_the_database_and_takes_parameters(server: PostgresServer) -> None:
    server.create_database("a board's")
    url = server.url("a board's", application_name="x y")
    with psycopg.connect(url) as connection:
        assert connection.info.dbname == "a board's"
        assert connection.info.parameter_status("application_name") == "x y"


def test_options_reach_the_server_and_need_not_be_repeated(folder: Path) -> None:
    with PostgresServer.start(folder, options={"work_mem": "5MB", "autovacuum": "on"}) as server:
        server.stop()
        server.resume()
        assert setting(server.url(), "work_mem") == "5MB"
        assert setting(server.url(), "autovacuum") == "on"


def test_a_database_is_dropped_though_somebody_is_connected(server: PostgresServer) -> None:
    url = server.create_database("held")
    with psycopg.connect(url) as connection:
        server.drop_database("held")
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(url)


def test_what_was_committed_survives_kill_and_what_was_not_does_not(server: PostgresServer) -> None:
    url = server.create_database("board")
    keep(url, 1)
    pids = all_of(server.pid)
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
        server.kill()
        assert not {pid for pid in pids if runs(pid)}
        assert server.pid == 0
        with pytest.raises(psycopg.OperationalError):
            connection.commit()
    server.resume()
    assert rows(url) == [1]
    assert "automatic recovery" in server.log


def test_it_can_be_stopped_and_comes_back_with_its_data(server: PostgresServer) -> None:
    url = server.create_database("board")
    keep(url, 1)
    server.stop("immediate")
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    server.resume()
    server.resume()  # it runs already
    assert rows(url) == [1]


def test_a_folder_with_data_is_started_again(folder: Path) -> None:
    with PostgresServer.start(folder) as server:
        keep(server.url(), 7)
    with PostgresServer.start(folder) as server:
        assert rows(server.url()) == [7]


def test_a_server_that_ended_by_itself_can_be_resumed(server: PostgresServer) -> None:
    pids = all_of(server.pid)
    os.kill(server.pid, signal.SIGKILL)
    wait_for_the_end_of(pids)
    server.resume()
    assert setting(server.url(), "server_encoding") == "UTF8"


def test_it_outlives_the_thread_that_started_it(folder: Path) -> None:
    started: list[PostgresServer] = []
    thread = threading.Thread(target=lambda: started.append(PostgresServer.start(folder)))
    thread.start()
    thread.join()
    with started[0] as server:
        assert setting(server.url(), "fsync") == "on"


def test_it_listens_on_an_address_only_if_told_to(folder: Path, server: PostgresServer) -> None:
    assert setting(server.url(), "listen_addresses") == ""
    other = Path(tempfile.mkdtemp(prefix="stig-pg-"))
    try:
        with PostgresServer.start(other, host="127.0.0.1") as reached:
            assert "host=127.0.0.1" in reached.url()
            assert setting(reached.url(), "listen_addresses") == "127.0.0.1"
    finally:
        shutil.rmtree(other)


def test_closing_ends_all_processes_and_keeps_the_folder(folder: Path) -> None:
    server = PostgresServer.start(folder)
    pids = all_of(server.pid)
    server.close()
    server.close()
    assert not {pid for pid in pids if runs(pid)}
    assert "shut down" in server.log


def test_a_killed_server_leaves_no_shared_memory(folder: Path) -> None:
    server = PostgresServer.start(folder)
    segment = (folder / "data" / "postmaster.pid").read_text().splitlines()[6].split()[1]
    segments = Path("/proc/sysvipc/shm")
    assert f" {segment} " in segments.read_text()
    server.kill()
    server.close()
    assert f" {segment} " not in segments.read_text()


@pytest.mark.parametrize("frozen", [False, True], ids=["running", "frozen"])
def test_no_process_stays_when_the_tests_are_killed(folder: Path, frozen: bool) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from stigmergy.testing.postgres import PostgresServer\n"
        "print(PostgresServer.start(Path(sys.argv[1])).pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as tests:
        assert tests.stdout is not None
        pids = all_of(postmaster := int(tests.stdout.readline()))
        if frozen:
            os.kill(postmaster, signal.SIGSTOP)
        tests.kill()
    wait_for_the_end_of(pids)


def test_a_server_that_does_not_start_says_why_and_leaves_nothing(folder: Path) -> None:
    with pytest.raises(StigmergyError, match=r"it ended:\n.*unrecognized configuration"):
        PostgresServer.start(folder, options={"no_such_setting": "1"})


def test_a_folder_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at most 107"):
        PostgresServer.start(tmp_path / ("long" * 30))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root starts the server as another user")
def test_a_folder_closed_to_the_servers_user_is_refused(folder: Path) -> None:
    folder.chmod(0o700)
    with pytest.raises(UsageError, match=f"{folder} is closed to others"):
        PostgresServer.start(folder / "inner")


def test_without_postgresql_the_package_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "find_binaries", lambda: None)
    with pytest.raises(UnsupportedError, match="apt-get install postgresql"):
        PostgresServer.start(tmp_path)


def test_the_programs_on_path_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("initdb", "postgres"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_binaries() == tmp_path.resolve()
