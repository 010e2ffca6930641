"""A port to come back to is nobody else's, and at a closed one nobody answers."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from stigmergy.testing.ports import closed_port, free_port


def test_a_free_port_is_none_that_the_kernel_gives_away() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1
    assert all(port < first for port in ports)
    with socket.create_server(("127.0.0.1", free_port())):
        pass


def test_a_closed_port_refuses_and_nobody_else_can_have_it() -> None:
    with closed_port() as port:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=60)
        with pytest.raises(OSError, match="in use"):
            socket.create_server(("127.0.0.1", port))
