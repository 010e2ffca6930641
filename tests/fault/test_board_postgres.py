"""A board on PostgreSQL when connections, answers and servers are lost."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from stigmergy.board import Task, TaskBoard, TaskStatus
from stigmergy.board.stores.postgres import PostgresStore
from stigmergy.board.stores.postgres.address import Address
from stigmergy.errors import TransientError, UsageError
from stigmergy.testing.ports import free_port
from stigmergy.testing.postgres import PostgresServer

pytestmark = pytest.mark.needs_postgres


@pytest.fixture
def board(postgres_url: str) -> Iterator[TaskBoard]:
    with TaskBoard(postgres_url) as board:
        yield board


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One that a test may stop; it listens on TCP too."""
    folder = Path(tempfile.mkdtemp(prefix="stig-pg-"))
    try:
        with PostgresServer.start(folder, host="127.0.0.1") as server:
            yield server
    finally:
        shutil.rmtree(folder)


def work(name: str) -> Task:
    return Task(task_type="work", task_id=name)


# Events ------------------------------------------------------------------------------------------


def test_a_cursor_misses_no_event_of_writers_that_overlap(postgres_url: str) -> None:
    writers, each = 6, 60
    done = threading.Event()
    seen: list[str] = []

    def write(writer: int) -> None:
        with TaskBoard(postgres_url) as board:
            for n in range(each):
                board.post(work(f"w{writer}.{n}"))

    def follow() -> None:
        with TaskBoard(postgres_url) as board:
            after = 0
            while True:
                ended = done.is_set()
                for event in board.events(after=after, limit=7):
                    seen.append(event.task_id)
                    after = event.seq
                    ended = False
                if ended:
                    return

    TaskBoard(postgres_url).close()
    follower = threading.Thread(target=follow)
    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in [follower, *threads]:
        thread.start()
    for thread in threads:
        thread.join()
    done.set()
    follower.join()
    assert sorted(seen) == sorted(f"w{w}.{n}" for w in range(writers) for n in range(each))


def test_what_an_open_transaction_may_come_before_is_not_told_yet(
    board: TaskBoard, postgres_url: str
) -> None:
    board.post(work("before"))
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT pg_current_xact_id()")
        board.post(work("after"))
        assert [event.task_id for event in board.events()] == ["before"]
        assert [event.task_id for event in board.history("after")] == ["after"]
        assert board.get("after") is not None, "the task itself is there at once"
    assert [event.task_id for event in board.events()] == ["before", "after"]


def test_a_claim_is_told_after_what_made_its_task_ready(
    board: TaskBoard, postgres_url: str
) -> None:
    """Even if the claiming transaction got its number first."""
    board.post_many([work("a"), work("b")])
    held = board.claim("ann")
    assert held is not None
    with psycopg.connect(postgres_url) as slow:
        slow.execute("SELECT pg_current_xact_id()")  # an early number …
        board.release(held)
        board.record("later")
        call = (
            "SELECT task_id FROM stigmergy.exchange_1('bob', '{}', '{}', '{}', '{}', '{}', false, "
        )
        call += "'{}', NULL, 9, 60, NULL, 'key', false)"
        taken = [row[0] for row in slow.execute(call.encode()).fetchall()]
        assert taken == ["b"], "… so what was touched later is left to others"
    assert [task.task_id for task in board.claim_many("eve", 9)] == ["a"]
    kinds = [event.kind for event in board.history("a")]
    assert kinds == ["posted", "claimed", "released", "claimed"]


# Lost answers ------------------------------------------------------------------------------------


class Proxy:
    """Passes bytes between a client and the server; told to, it keeps an answer back and hangs up.

    The trap sees what the client sends; once it is sprung, the statement reaches the server, its
    answer does not reach the client.
    """

    def __init__(self, to: tuple[str, int]) -> None:
        self._to = to
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.trap: Callable[[bytes], bool] | None = None
        self.sprung = 0
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = [self._listening]
        self._start(self._accept)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            upstream = socket.create_connection(self._to)
            self._sockets += [client, upstream]
            cut = threading.Event()
            self._start(lambda c=client, u=upstream, cut=cut: self._forward(c, u, cut))
            self._start(lambda c=client, u=upstream, cut=cut: self._answer(u, c, cut))

    def _forward(
        self, client: socket.socket, upstream: socket.socket, cut: threading.Event
    ) -> None:
        try:
            while data := client.recv(65536):
                if self.trap is not None and self.trap(data):
                    self.trap = None
                    cut.set()
                upstream.sendall(data)
        except OSError:
            pass
        hang_up(upstream)

    def _answer(self, upstream: socket.socket, client: socket.socket, cut: threading.Event) -> None:
        try:
            while data := upstream.recv(65536):
                if cut.is_set():
                    self.sprung += 1
                    break
                client.sendall(data)
        except OSError:
            pass
        hang_up(client)

    def close(self) -> None:
        for each in self._sockets:
            hang_up(each)
        for thread in self._threads:
            thread.join(10)
        for each in self._sockets:
            each.close()


def hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@contextmanager
def through_proxy(server: PostgresServer) -> Iterator[tuple[Proxy, str]]:
    server.create_database("board")
    url = server.url("board")
    port = int(re.search(r"port=(\d+)", url)[1])  # type: ignore[index] - it has one
    proxy = Proxy(("127.0.0.1", port))
    try:
        yield proxy, url.replace(f"port={port}", f"port={proxy.port}") + "&sslmode=disable"
    finally:
        proxy.close()


def test_a_claim_whose_answer_was_lost_is_not_made_twice(server: PostgresServer) -> None:
    with through_proxy(server) as (proxy, url), TaskBoard(url) as board:
        board.post_many([work("a"), work("b"), work("c")])
        (first,) = board.claim_many("ann", 1)
        proxy.trap = lambda data: b"exchange_1" in data or b"_pg3_" in data
        (second,) = board.complete_and_claim("ann", [(first, {"n": 1})])
        assert proxy.sprung == 1
        assert second.task_id == "b"
        held = board.list_all(statuses=[TaskStatus.CLAIMED])
        assert [task.task_id for task in held] == ["b"]
        assert [e.kind for e in board.history("a")] == ["posted", "claimed", "completed"]
        assert board.complete(second).status is TaskStatus.COMPLETED


def test_a_result_whose_answer_was_lost_counts_once(server: PostgresServer) -> None:
    with through_proxy(server) as (proxy, url), TaskBoard(url) as board:
        board.post(work("a"))
        held = board.claim("ann")
        assert held is not None
        proxy.trap = lambda data: b"exchange_1" in data or b"_pg3_" in data
        done = board.complete(held, {"n": 1})
        assert proxy.sprung == 1
        assert (done.status, done.result) == (TaskStatus.COMPLETED, {"n": 1})
        assert [e.kind for e in board.history("a")].count("completed") == 1


def test_a_post_whose_answer_was_lost_stands_once(server: PostgresServer) -> None:
    with through_proxy(server) as (proxy, url), TaskBoard(url) as board:
        proxy.trap = lambda data: b"post_1" in data
        assert board.post_many([work("a"), work("b")]) == ["a", "b"]
        assert proxy.sprung == 1
        assert [task.task_id for task in board.list_all()] == ["a", "b"]
        assert [e.kind for e in board.events()] == ["posted", "posted"]


def test_a_commit_whose_answer_was_lost_is_looked_up(server: PostgresServer) -> None:
    with through_proxy(server) as (proxy, url), TaskBoard(url) as board:
        board.post(work("a"))
        proxy.trap = lambda data: b"COMMIT" in data
        assert board.cancel("a").status is TaskStatus.CANCELLED
        assert proxy.sprung == 1
        assert [e.kind for e in board.history("a")] == ["posted", "cancelled"]


def test_a_transaction_that_lost_its_connection_wrote_nothing(server: PostgresServer) -> None:
    with through_proxy(server) as (proxy, url), TaskBoard(url) as board:
        board.post(work("a"))
        proxy.trap = lambda data: b"DELETE FROM stigmergy.waits" in data
        with pytest.raises(TransientError, match=r"Nothing was written"):
            board.cancel("a")
        assert proxy.sprung == 1
        assert [e.kind for e in board.history("a")] == ["posted"]
        assert board.cancel("a").status is TaskStatus.CANCELLED


@pytest.mark.parametrize("how", ["fast", "immediate", "kill"])
def test_a_server_that_comes_back_is_found_again(server: PostgresServer, how: str) -> None:
    url = server.create_database("board")
    with TaskBoard(url) as board:
        board.post_many([work("a"), work("b")])
        held = board.claim("ann")
        assert held is not None
        if how == "kill":
            server.kill()
        else:
            server.stop(how)  # type: ignore[arg-type] - two of its modes
        back = threading.Thread(target=server.resume)
        back.start()
        (second,) = board.complete_and_claim("ann", [(held, {})])
        back.join()
        assert second.task_id == "b"
        assert board.cancel("b").status is TaskStatus.CANCELLED
        assert board.wait(after=board.last_seq() - 1, timeout_s=0) is True


def test_no_server_is_told_in_words_without_the_password(tmp_path: Path) -> None:
    url = f"postgresql://ann:secret@/nothing?host={tmp_path}&password=secret"
    with pytest.raises(TransientError, match="cannot be reached") as refusal:
        TaskBoard(url)
    assert "secret" not in str(refusal.value)
    assert "secret" not in Address.of(url).url


def test_a_newer_schema_is_refused_in_words_on_opening_and_in_the_middle(postgres_url: str) -> None:
    with TaskBoard(postgres_url) as board:
        board.post(work("a"))
        with psycopg.connect(postgres_url, autocommit=True) as newer:
            newer.execute("UPDATE stigmergy.meta SET value = '2' WHERE key = 'version'")
            newer.execute("ALTER TABLE stigmergy.tasks RENAME COLUMN payload TO body")
        for act in (lambda: board.get("a"), lambda: board.claim("ann"), lambda: board.cancel("a")):
            with pytest.raises(UsageError, match="has schema 2, this version"):
                act()
    with pytest.raises(UsageError, match="has schema 2, this version"):
        TaskBoard(postgres_url)


def test_boards_in_one_database_are_apart(postgres_url: str) -> None:
    with (
        TaskBoard(f"{postgres_url}&board=one") as one,
        TaskBoard(f"{postgres_url}&board=two") as two,
    ):
        one.post(work("a"))
        assert two.list_all() == []
        assert "board=one" in one.url
    with pytest.raises(UsageError, match="board='No-Name'"):
        TaskBoard(f"{postgres_url}&board=No-Name")


# A pooler ----------------------------------------------------------------------------------------


@pytest.mark.needs_pgbouncer
def test_a_board_works_behind_pgbouncer_in_transaction_mode(server: PostgresServer) -> None:
    server.create_database("board")
    url = server.url("board")
    port = re.search(r"port=(\d+)", url)[1]  # type: ignore[index] - it has one
    with pgbouncer(server_port=port) as pooled:
        first, second = TaskBoard(pooled), TaskBoard(pooled)
        with first, second:
            first.post_many(work(f"t{n}") for n in range(30))
            last = first.last_seq()
            woken: list[bool] = []
            waiter = threading.Thread(
                target=lambda: woken.append(first.wait(after=last, timeout_s=20))
            )
            waiter.start()
            held: list[Task] = []
            for n in range(15):
                board = (first, second)[n % 2]
                held = board.complete_and_claim("ann", [(task, {"n": n}) for task in held], 2)
                assert len(held) == 2
            waiter.join()
            second.complete_many((task, {}) for task in held)
            assert woken == [True]
            assert first.progress().completed == 30
            assert second.claim("bob") is None


@contextmanager
def pgbouncer(*, server_port: str) -> Iterator[str]:
    # It does not run as root, and every start of pytest closes the folders above tmp_path.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        with pgbouncer_in(folder, server_port=server_port) as url:
            yield url


@contextmanager
def pgbouncer_in(folder: Path, *, server_port: str) -> Iterator[str]:
    port = free_port()
    users = folder / "users.txt"
    users.write_text('"postgres" ""\n')
    config = folder / "pgbouncer.ini"
    config.write_text(
        f"[databases]\nboard = host=127.0.0.1 port={server_port} user=postgres\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\nunix_socket_dir =\n"
    )
    command = ["pgbouncer", "-q", str(config)]
    process = subprocess.Popen(command, user="nobody", stderr=subprocess.DEVNULL)
    try:
        reach(port)
        yield f"postgresql://postgres@127.0.0.1:{port}/board?pgbouncer=true"
    finally:
        process.kill()
        process.wait()


def reach(port: int) -> None:
    """Wait until somebody listens there."""
    for _ in range(1000):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
        else:
            return
    raise AssertionError("pgbouncer does not listen")


def test_the_pooled_store_prepares_and_listens_to_nothing(postgres_url: str) -> None:
    store = PostgresStore(f"{postgres_url}&pgbouncer=true")
    board = TaskBoard(store=store)
    for n in range(10):
        board.post(work(f"t{n}"))
    with psycopg.connect(postgres_url) as other:
        listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'"
        assert store.wait(after=store.last_seq(), timeout_s=0.05) is False
        assert other.execute(listening).fetchone() == (0,)
    with store._connections.use() as connection:
        prepared = connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone()
    assert prepared == (0,)
    board.close()
