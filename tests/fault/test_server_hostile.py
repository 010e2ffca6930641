"""What comes in over HTTP is not to be trusted: each of these is answered, or cut off, in order."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from stigmergy import Task, TaskBoard
from stigmergy.board import Event
from stigmergy.errors import UsageError
from stigmergy.server import wire
from stigmergy.server.auth import Scope, make_token_file, read_token_file
from stigmergy.server.guard import BodyLimits
from stigmergy.server.serving import ServeOptions, serving_board
from stigmergy.testing.serving import ServedBoard, served

API = "/api/v1"


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TaskBoard]:
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


@pytest.fixture
def server(board: TaskBoard, tmp_path: Path) -> Iterator[ServedBoard]:
    limits = BodyLimits(request_bytes=100_000)
    with served(board, tmp_path / "server", ServeOptions(limits=limits)) as running:
        yield running


def raw(server: ServedBoard, request: bytes, *, wait_s: float = 5.0) -> bytes:
    """All that the server answers before it hangs up or is silent."""
    host, port = server.url.removeprefix("http://").split(":")
    answer = b""
    with socket.create_connection((host, int(port)), timeout=wait_s) as link:
        link.sendall(request)
        with contextlib.suppress(TimeoutError, ConnectionError):
            while chunk := link.recv(65536):
                answer += chunk
                if b"\r\n\r\n" in answer and b"keep-alive" not in request:
                    break
    return answer


def head(server: ServedBoard, *, path: str = f"{API}/tasks", method: str = "GET", **headers: str):
    """The beginning of a request with a good token, and headers as they are given."""
    given = {
        "host": server.url.removeprefix("http://"),
        "authorization": f"Bearer {server.tokens[Scope.ADMIN]}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join(lines).encode() + b"\r\n"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else 0


def test_a_proof_of_any_text_is_a_forged_one(server: ServedBoard) -> None:
    for lease in (
        {"task_id": "j", "agent_id": "a", "fence": 1, "proof": "é" * 32},
        {"task_id": "j", "agent_id": "a", "fence": 1, "proof": "\ud800"},
        {"task_id": "j", "agent_id": "\ud800", "fence": 1, "proof": "0" * 32},
    ):
        headers = {"content-type": "application/json"}
        body = json.dumps({"lease": lease})  # lone surrogates, which httpx would not send
        with server.client(Scope.WORKER) as worker:
            answer = worker.post(f"{API}/tasks/j/start", content=body, headers=headers)
        assert answer.status_code in (403, 422), answer.text


def test_a_body_of_two_lengths_ends_the_connection(server: ServedBoard) -> None:
    """What follows it could be the body of the one length and a request of the other."""
    given = head(server, method="POST", content_length="4", transfer_encoding="chunked")
    hidden = head(server) + b"\r\n"
    answer = raw(server, given + b"\r\n0\r\n\r\n" + hidden + b"", wait_s=1.0)
    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


def test_who_has_no_token_cannot_fill_the_line_before_the_board(
    tmp_path: Path,
) -> None:
    looks = 0
    many, held = threading.Event(), threading.Event()

    class SlowBoard(TaskBoard):
        def events(self, *args: Any, **kwargs: Any) -> list[Event]:
            nonlocal looks
            if threading.current_thread().name.startswith("board-call") and many.is_set():
                looks += 1
                held.wait(60)
            return super().events(*args, **kwargs)

    with SlowBoard(tmp_path / "slow.db") as slow, served(slow, tmp_path / "server") as server:
        many.set()
        asked = head(server, path="/healthz").split(b"authorization")[0] + b"\r\n"
        host, port = server.url.removeprefix("http://").split(":")
        with contextlib.ExitStack() as stack:
            links = [
                stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
                for _ in range(100)
            ]
            for link in links:
                link.sendall(asked)
            with server.client() as client:
                assert client.get(f"{API}/progress").status_code == 200
            # A hundred would have filled the line; some may ask after the first look has ended.
            held.set()
            assert all(status(link.recv(4096)) == 200 for link in links)
        assert 1 <= looks < len(links)


# --- other names, other pages ---


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "localhost:1", "[::1"]
)
def test_a_host_that_is_not_ours_is_refused(server: ServedBoard, host: str) -> None:
    assert status(raw(server, head(server, host=host) + b"\r\n")) in (400, 421)
    assert status(raw(server, head(server, host=host, path="/") + b"\r\n")) in (400, 421)


def test_localhost_is_ours(server: ServedBoard) -> None:
    port = server.url.rpartition(":")[2]
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"LOCALHOST:{port}", "localhost"):
        assert status(raw(server, head(server, host=host) + b"\r\n")) == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "file://"])
def test_pages_from_elsewhere_may_not_call(server: ServedBoard, origin: str) -> None:
    assert status(raw(server, head(server, origin=origin) + b"\r\n")) == 403
    asking = {"access_control_request_method": "POST", "origin": origin}
    assert status(raw(server, head(server, method="OPTIONS", **asking) + b"\r\n")) == 403


def test_our_own_page_and_allowed_ones_may_call(board: TaskBoard, tmp_path: Path) -> None:
    allowed = "https://pages.example"
    options = ServeOptions(allowed_origins=frozenset({allowed}))
    with served(board, tmp_path / "s", options) as server:
        assert status(raw(server, head(server, origin=server.url) + b"\r\n")) == 200
        answer = raw(server, head(server, origin=allowed) + b"\r\n")
        assert status(answer) == 200
        assert b"access-control-allow-origin: https://pages.example" in answer.lower()
        asking = {"access_control_request_method": "POST", "origin": allowed}
        preflight = httpx.options(
            f"{server.url}{API}/tasks",
            headers={name.replace("_", "-"): value for name, value in asking.items()},
            trust_env=False,
        )
        assert preflight.status_code == 204
        assert "Idempotency-Key" in preflight.headers["access-control-allow-headers"]


def test_headers_that_are_there_twice_are_refused(server: ServedBoard) -> None:
    host = server.url.removeprefix("http://")
    token = server.tokens[Scope.ADMIN]
    for extra in (f"host: {host}", f"authorization: Bearer {token}", "origin: http://x"):
        twice = head(server) + f"{extra}\r\n{extra}\r\n\r\n".encode()
        assert status(raw(server, twice)) in (400, 403)


# --- bodies ---


def post(server: ServedBoard, content: bytes, path: str = f"{API}/tasks") -> httpx.Response:
    with server.client() as client:
        return client.post(path, content=content, headers={"content-type": "application/json"})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"null",
        b"[]",
        b'"x"',
        b'{"task_type": 1}',
        b'{"task_type": "x", "priority": 99}',
        b'{"task_type": "x", "unknown": 1}',
        b'{"task_type": "x", "payload": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}",
        b'{"task_type": "x", "payload": {"a": ' + b"[" * 30_000 + b"]" * 30_000 + b"}}",
        b'{"task_type": "x", "payload": {"a": ' + b"9" * 5_000 + b"}}",
        b'{"task_type": "x", "payload": {"a": NaN}}',
        b'{"task_type": "x", "payload": {"a": 1e999}}',
        b'{"task_type": "x", "description": "\\ud800"}',
        b'{"task_type": "x", "task_id": "../../etc/passwd"}',
        b'{"task_type": "x", "task_id": "a\\u0000b"}',
        b'{"task_type": "x", "payload": {"$blob": "../../tokens"}}',
    ],
    ids=range(18),
)
def test_what_is_no_task_is_refused_and_nothing_is_written(
    server: ServedBoard, board: TaskBoard, content: bytes
) -> None:
    answer = post(server, content)
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert board.last_seq() == 0


def test_odd_text_is_kept_as_it_is(server: ServedBoard, board: TaskBoard) -> None:
    odd = "<script>\u2028\x00\x1b[31m\u202e\U0001f41c"
    answer = post(server, json.dumps({"task_type": odd, "description": odd}).encode())
    assert answer.status_code == 201, answer.text
    (task,) = board.list_all()
    with server.client() as client:
        told = client.get(f"{API}/tasks/{task.task_id}").json()["task"]
    assert (told["task_type"], told["description"]) == (odd, odd)


def test_a_form_or_no_content_type_is_no_json(server: ServedBoard, board: TaskBoard) -> None:
    """A page of another site can send these without asking."""
    with server.client() as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            headers = {"content-type": kind} if kind else {}
            answer = client.post(f"{API}/tasks", content=b'{"task_type":"x"}', headers=headers)
            assert answer.status_code in (415, 422), (kind, answer.text)
    assert board.last_seq() == 0


def test_a_body_that_comes_slowly_is_given_up(board: TaskBoard, tmp_path: Path) -> None:
    options = ServeOptions(limits=BodyLimits(read_s=0.3))
    with served(board, tmp_path / "s", options) as server:
        slow = head(server, method="POST", content_type="application/json", content_length="500")
        assert status(raw(server, slow + b'\r\n{"task_type":', wait_s=60)) == 408


def test_heads_that_come_slowly_or_never_end_are_cut_off(server: ServedBoard) -> None:
    assert status(raw(server, b"GET / HTTP/1.1\r\nx: " + b"y" * 100_000)) in (0, 400, 431)
    many = b"".join(b"x%d: y\r\n" % n for n in range(20_000))
    assert status(raw(server, head(server) + many + b"\r\n")) in (0, 400, 431)


def test_a_client_that_does_not_read_its_answer_is_cut_off(
    server: ServedBoard, board: TaskBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each such client would keep a large answer in memory for as long as it likes."""
    monkeypatch.setattr(wire, "STALL_S", 0.3)
    cut, lost = threading.Event(), wire.TimedProtocol.connection_lost

    def tell(protocol: wire.TimedProtocol, error: Exception | None) -> None:
        lost(protocol, error)
        cut.set()

    monkeypatch.setattr(wire.TimedProtocol, "connection_lost", tell)
    board.post_many(Task(task_type="job", payload={"text": "x" * 500_000}) for _ in range(30))
    host, port = server.url.removeprefix("http://").split(":")
    with socket.socket() as link:
        link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.settimeout(60)
        link.connect((host, int(port)))
        link.sendall(head(server, path=f"{API}/tasks?limit=30") + b"\r\n")
        assert cut.wait(60)
        got = 0
        with contextlib.suppress(ConnectionError):
            while chunk := link.recv(65536):
                got += len(chunk)
    assert got < 7_000_000, "what it had not read was thrown away with the connection"
    monkeypatch.undo()
    with server.client() as client:  # who reads gets all of it
        assert len(client.get(f"{API}/tasks", params={"limit": 30}).content) > 8_000_000


def test_a_connection_that_does_not_say_what_it_wants_is_cut_off(
    server: ServedBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = server.url.removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as resting:

        def ask() -> int:
            resting.request("GET", "/healthz")
            with resting.getresponse() as answer:
                answer.read()
            return answer.status

        assert ask() == 200
        connection = resting.sock
        monkeypatch.setattr(wire, "HEAD_S", 0.3)
        assert ask() == 200
        for said in (b"", b"GET / HT", head(server)):
            assert raw(server, said, wait_s=60) == b"", "it was not answered, and not waited for"
        # What rested all that time between requests is another matter.
        monkeypatch.undo()
        assert ask() == 200
        assert resting.sock is connection


@pytest.mark.parametrize(
    "request_head",
    [
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET /\x00 HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n%s: chunked\r\n\r\n"
        % b"transfer-encoding",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: xx\r\n\r\n",
        b"\r\n" * 50,
    ],
)
def test_what_is_no_http_does_no_harm(server: ServedBoard, request_head: bytes) -> None:
    raw(server, request_head, wait_s=1.0)
    with server.client() as client:
        assert client.get("/healthz").status_code == 200


def test_a_length_that_is_a_lie_is_refused_before_the_body(server: ServedBoard) -> None:
    for told in ("999999999999999999999999", "100001"):
        answer = raw(server, head(server, method="POST", content_length=told) + b"\r\n")
        assert status(answer) in (400, 413)


# --- paths ---


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../../../etc/passwd",
        "/static/..%2f..%2f..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/..\\..\\app.py",
        "/static/%00",
        "/static/" + "a/" * 3000,
        "/preview/../app.py",
        "//evil.example/",
        "/api/v1/../../app.py",
    ],
)
def test_no_path_leads_out(server: ServedBoard, path: str) -> None:
    answer = raw(server, head(server, path=path) + b"\r\n")
    assert status(answer) in (0, 400, 404, 405, 414), answer[:300]
    assert b"build_app" not in answer
    assert b"root:" not in answer


@pytest.mark.parametrize("task_id", ["..", "a/b", "%2e%2e", "x" * 129, "a%00", "%ff", ".lock"])
def test_ids_that_are_none_find_nothing(server: ServedBoard, task_id: str) -> None:
    answer = raw(server, head(server, path=f"{API}/tasks/{task_id}") + b"\r\n")
    assert status(answer) in (400, 404, 422), answer[:300]


def test_numbers_beyond_all_bounds_are_refused(server: ServedBoard) -> None:
    big = "9" * 5000
    with server.client() as client:
        for query in (f"after={big}", "after=-1", f"limit={big[:50]}", "limit=0", "after=1e9"):
            assert client.get(f"{API}/events?{query}").status_code == 422
        headers = {"Idempotency-Key": "k" * 201}
        assert client.post(f"{API}/tasks", json={}, headers=headers).status_code == 422


# --- starting ---


def test_other_addresses_need_tls_and_a_token(board: TaskBoard, tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    refused = [
        ServeOptions(host="0.0.0.0"),
        ServeOptions(host="0.0.0.0", token_file=file),
        ServeOptions(host="0.0.0.0", token_file=file, insecure_http=True),
        ServeOptions(host="::", token="stig_0123456789abcdef"),
        ServeOptions(certificate=tmp_path / "c.pem"),
        ServeOptions(host="not an address"),
    ]
    for options in refused:
        with pytest.raises(UsageError), serving_board(board, options):
            pass
    make_token_file(file)
    options = ServeOptions(host="0.0.0.0", token_file=file, insecure_http=True, state=tmp_path)
    with serving_board(board, options) as running:
        port = running.url.rpartition(":")[2]
        url = f"http://127.0.0.1:{port}/healthz"
        assert httpx.get(url, trust_env=False).status_code == 200
        rebound = httpx.get(url, headers={"host": "evil.example"}, trust_env=False)
        assert rebound.status_code == 421


def test_a_taken_port_is_told(board: TaskBoard, tmp_path: Path, server: ServedBoard) -> None:
    port = int(server.url.rpartition(":")[2])
    options = ServeOptions(port=port, state=tmp_path, token="stig_0123456789abcdef")
    with pytest.raises(UsageError, match=str(port)), serving_board(board, options):
        pass


def test_a_token_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    make_token_file(file)
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_token_file(file)


@pytest.mark.parametrize(
    "text", ["root stig_0123456789abcdef", "short", "admin a b", "admin", "\0"]
)
def test_a_token_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "tokens"
    file.touch(mode=0o600)
    file.write_text(text)
    with pytest.raises(UsageError):
        read_token_file(file)


def test_a_board_is_served_over_tls(board: TaskBoard, tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    options = ServeOptions(
        certificate=certificate, key=key, token="stig_0123456789abcdef", state=tmp_path
    )
    from stigmergy.swarm.remote import RemoteBoard

    board.post(Task(task_type="job"))
    with serving_board(board, options) as running:
        assert running.url.startswith("https://")
        with RemoteBoard(
            running.url, token="stig_0123456789abcdef", verify=str(certificate)
        ) as remote:
            assert remote.claim("r") is not None
    wrong = ServeOptions(certificate=key, key=certificate, token="stig_0123456789abcdef")
    with pytest.raises(UsageError, match="certificate"), serving_board(board, wrong):
        pass


def test_the_token_is_in_no_repr(board: TaskBoard, tmp_path: Path) -> None:
    options = ServeOptions(token="stig_0123456789abcdef", state=tmp_path)
    with serving_board(board, options) as running:
        assert "0123456789abcdef" not in repr(running)
    assert "0123456789abcdef" not in repr(options)
