from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from stigmergy.errors import UsageError
from stigmergy.models import ProviderConfig
from stigmergy.models.providers import open_provider
from stigmergy.models.reach import check_reachable

KEY = "sk-secret-of-the-test"


@pytest.fixture
def answering():
    """A server that answers with the status it is told; yields (base URL, statuses, headers)."""
    statuses: list[int] = []
    seen: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization"))
            self.send_response(statuses.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", statuses, seen
    server.shutdown()
    thread.join()
    server.server_close()


def provider(url: str):
    config = ProviderConfig(name="p", base_url=url, key_env="P_KEY")
    return open_provider(config, environ={"P_KEY": KEY})


@pytest.mark.parametrize("status", [200, 404, 405, 500])
def test_any_answer_will_do(answering, status: int) -> None:
    url, statuses, seen = answering
    statuses.append(status)
    check_reachable(provider(url))
    assert seen == [f"Bearer {KEY}"]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_said_without_the_key(answering, status: int) -> None:
    url, statuses, _ = answering
    statuses.append(status)
    with pytest.raises(UsageError, match="P_KEY") as refusal:
        check_reachable(provider(url))
    assert KEY not in str(refusal.value)


def test_nobody_there_is_said_with_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(UsageError, match="cannot be reached at http://127") as refusal:
            check_reachable(provider(url))
    assert KEY not in str(refusal.value)
