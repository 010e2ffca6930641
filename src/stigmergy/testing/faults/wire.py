"""A wire between two network namespaces that can be made slow, lossy, dead or one-way.

A TUN device in each, and a process that carries packets from one to the other: kernels that shape
no traffic (netem) have TUN too. What it does with a packet stands in a small file, which may be
changed at any time. Nothing leaves the two namespaces.
"""

from __future__ import annotations

import ctypes
import fcntl
import heapq
import mmap
import os
import random
import select
import struct
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from functools import cache
from pathlib import Path
from typing import Final

from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.machine import own_namespace, trouble

__all__ = ["FAR", "NEAR", "Condition", "Wire", "wire_missing", "wired"]

NEAR: Final = "10.201.77.1"
FAR: Final = "10.201.77.2"

_TUNSETIFF: Final = 0x400454CA
_IFF_TUN: Final = 0x0001
_IFF_NO_PI: Final = 0x1000
_CLONE_NEWNET: Final = 0x40000000
_PACKET_BYTES: Final = 65536
_FORMAT: Final = "5d"


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What becomes of a packet."""

    delay_s: float = 0.0
    """Each way."""
    jitter_s: float = 0.0
    """So much more at most; packets may overtake each other."""
    loss: float = 0.0
    """The share that is lost, 0 to 1."""
    to_far: bool = True
    to_near: bool = True
    """Whether anything gets through in that direction."""


class Wire:
    """The condition of a wire, as the process that carries reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(struct.calcsize(_FORMAT)))
        self.set(Condition())

    def set(self, condition: Condition) -> None:
        """From the next packet on."""
        with self.path.open("r+b") as file:
            file.write(struct.pack(_FORMAT, *map(float, astuple(condition))))


@cache
def wire_missing() -> str | None:
    """Why there can be no such wire here, or None."""
    if not Path("/dev/net/tun").exists():
        return "there is no /dev/net/tun"
    script = "ip tuntap add dev near mode tun && unshare --net ip link"
    return trouble(["ip", "-V"]) or trouble([*own_namespace("net"), "sh", "-c", script])


@contextmanager
def wired(far: ForkServer, folder: Path) -> Generator[Wire]:
    """A wire from this process's network, where `NEAR` is, to that of `far`, where `FAR` is."""
    for words in _commands("near", NEAR, FAR):
        run(*words)
    far.call(run_all, commands=list(_commands("far", FAR, NEAR)))
    wire = Wire(folder / "wire")
    with ForkServer() as server:
        server.spawn(carry, condition=str(wire.path), far_pid=far.pid)
        yield wire


def _commands(device: str, address: str, peer: str) -> Generator[list[str]]:
    yield ["ip", "link", "set", "lo", "up"]
    yield ["ip", "tuntap", "add", "dev", device, "mode", "tun"]
    yield ["ip", "address", "add", address, "peer", peer, "dev", device]
    yield ["ip", "link", "set", device, "up"]


def run_all(*, commands: list[list[str]]) -> None:
    """Run commands in this process's network."""
    for words in commands:
        run(*words)


def run(*words: str) -> None:
    """Run a command in this process's network.

    Raises:
        StigmergyError: it failed; the text says why.
    """
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StigmergyError(f"{' '.join(words)}: {done.stderr.strip()}")


# The process that carries -------------------------------------------------------------------------


def carry(*, condition: str, far_pid: int) -> None:
    """Carry packets until it is killed."""
    near = _tun("near")
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    away = os.open(f"/proc/{far_pid}/ns/net", os.O_RDONLY)
    _enter(away)
    far = _tun("far")
    _enter(home)
    file = os.open(condition, os.O_RDONLY)
    with mmap.mmap(file, 0, prot=mmap.PROT_READ) as memory:
        _carry(near, far, memory)


def _carry(near: int, far: int, memory: mmap.mmap) -> None:
    rng = random.Random()
    late: list[tuple[float, int, int, bytes]] = []
    number = 0
    while True:
        wait = max(0.0, late[0][0] - time.monotonic()) if late else None
        for source in select.select([near, far], [], [], wait)[0]:
            packet = os.read(source, _PACKET_BYTES)
            delay, jitter, loss, to_far, to_near = struct.unpack(_FORMAT, memory[:])
            if rng.random() < loss or not (to_far if source == near else to_near):
                continue
            number += 1
            due = time.monotonic() + delay + rng.uniform(0.0, jitter)
            heapq.heappush(late, (due, number, far if source == near else near, packet))
        while late and late[0][0] <= time.monotonic():
            _, _, target, packet = heapq.heappop(late)
            os.write(target, packet)


def _tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    return fd


def _enter(namespace: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "cannot enter the other network")
