"""What a sandbox says of its protection, and its way to the model."""

from __future__ import annotations

import contextlib
import http.server
import socketserver
import sys
import threading
from collections.abc import Generator
from pathlib import Path

from stigmergy.coding.sandbox.sandbox import (
    Exit,
    ModelSocket,
    SandboxFactory,
    SandboxSettings,
)
from stigmergy.testing.sandboxcontract.shared import (
    MakeFactory,
    SandboxFixtures,
)

__all__ = ["GatewayContract"]


class GatewayContract(SandboxFixtures):
    """The protection is told as it is; the model is reached at OPENAI_BASE_URL."""

    def test_the_protection_tells_the_truth(self, factory: SandboxFactory) -> None:
        """What is missing is said, with a reason."""
        told = factory.protection
        claims = (told.writes_confined, told.network_confined, told.processes_confined)
        assert claims == (self.confined,) * 3
        assert all(claims) or told.notes

    def test_the_model_gateway_is_reached_through_the_base_url(
        self, make_factory: MakeFactory, commit: str, tmp_path: Path
    ) -> None:
        """In and out, larger than any buffer, several at once."""
        with _gateway(tmp_path) as model:
            factory = make_factory(SandboxSettings(), model)
            ended: Exit = factory.open("T1", commit).run([sys.executable, "-c", _ASK])
            factory.close()
        assert ended.ok, ended
        if factory.protection.network_confined:
            assert model.url not in ended.stdout_tail


_ASK = """
import os, threading, urllib.request
base = os.environ["OPENAI_BASE_URL"]
print(base)
wrong = []
def ask(number):
    body = bytes([number]) * 3_000_000
    with urllib.request.urlopen(base + "/chat/completions", data=body, timeout=60) as answer:
        if answer.read() != body:
            wrong.append(number)
threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
raise SystemExit(len(wrong))
"""


class _Gateway(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = False


class _Answer(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:  # the name that http.server calls
        """Send back what came."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """A Unix socket's peer has no address."""
        return "sandbox"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 # its name
        """Say nothing."""


@contextlib.contextmanager
def _gateway(folder: Path) -> Generator[ModelSocket]:
    """An echo in the model gateway's place, on a Unix socket and on loopback."""
    path = folder / "model.sock"
    over_tcp = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    with _Gateway(str(path), _Answer) as over_unix, over_tcp:
        servers = (over_unix, over_tcp)
        threads = [threading.Thread(target=each.serve_forever, args=(0.05,)) for each in servers]
        for thread in threads:
            thread.start()
        try:
            yield ModelSocket(path=path, url=f"http://127.0.0.1:{over_tcp.server_port}/v1")
        finally:
            for each in servers:
                each.shutdown()
            for thread in threads:
                thread.join()
