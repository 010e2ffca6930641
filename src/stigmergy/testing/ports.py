"""Ports for servers of tests: one to come back to, and one where nobody answers.

A port that the kernel chose is anybody's as soon as it is closed: the next connection of any
process may begin there, and one to a server that is not up may even be connected with itself.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

__all__ = ["closed_port", "free_port"]

_LOWEST: Final = 10_000
_TRIES: Final = 100


def free_port(host: str = "127.0.0.1") -> int:
    """A port that nobody has, and that the kernel gives to nobody who does not name it."""
    draw = random.SystemRandom()  # processes that ask at the same time must not get the same
    for _ in range(_TRIES):
        port = draw.randrange(_LOWEST, _first_ephemeral())
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
        return port
    raise OSError(f"of {_TRIES} ports none was free")


@contextmanager
def closed_port() -> Generator[int]:
    """A port at which connections are refused for as long as the block lasts."""
    with socket.socket() as bound:  # it does not listen, and nobody else can
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        yield port


def _first_ephemeral() -> int:
    try:
        first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except OSError:
        return 32_768
    return first if first > _LOWEST + _TRIES else 32_768
