"""Serve the model gateway's Unix socket on loopback inside a sandbox that has no network."""

from __future__ import annotations

import _socket
import select

__all__ = ["Relay"]

_CHUNK = 1 << 16
_CONNECT_TIMEOUT_S = 2.0
_NONBLOCKING_ERRORS = (BlockingIOError, InterruptedError)


class Relay:
    """Copies bytes between TCP connections on 127.0.0.1 and the gateway. One thread, no waiting.

    A half is one direction's source; bytes that its peer cannot take yet wait in the peer, and the
    source is not read until they are gone, so memory stays bounded.
    """

    def __init__(self, port: int, target: bytes) -> None:
        self._target = target
        self._listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        self._listener.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self._listener.listen(64)
        self._listener.settimeout(0)
        self._halves: dict[int, _Half] = {}
        self._poll: select.poll | None = None

    def register(self, poll: select.poll) -> None:
        """Be called through `handle` for what `poll` finds about our sockets."""
        self._poll = poll
        poll.register(self._listener.fileno(), select.POLLIN)

    def handle(self, fd: int, event: int) -> None:
        """Move what can be moved now."""
        if fd == self._listener.fileno():
            self._accept()
            return
        half = self._halves.get(fd)
        if half is None:
            return  # closed with its peer, earlier in this round
        try:
            if event & select.POLLOUT:
                half.flush()
            if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                half.pull()
        except OSError:
            self._drop(half)
            return
        if half.finished and half.peer.finished:
            self._drop(half)
        else:
            self._rearm(half)
            self._rearm(half.peer)

    def _accept(self) -> None:
        try:
            fd = _accept(self._listener)
        except OSError:
            return  # the caller gave up, or we are out of descriptors; it will try again
        inner = _Half(_socket.socket(fileno=fd))
        outer = _Half(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM))
        outer.socket.settimeout(_CONNECT_TIMEOUT_S)
        inner.peer, outer.peer = outer, inner
        try:
            outer.socket.connect(self._target)
        except OSError:
            inner.socket.close()
            outer.socket.close()
            return
        for half in (inner, outer):
            half.socket.settimeout(0)
            self._halves[half.fd] = half
            self._rearm(half)

    def _rearm(self, half: _Half) -> None:
        assert self._poll is not None
        wanted = 0
        if not half.finished and not half.peer.waiting:
            wanted |= select.POLLIN
        if half.waiting:
            wanted |= select.POLLOUT
        if wanted:
            self._poll.register(half.fd, wanted)
        elif half.armed:
            self._poll.unregister(half.fd)
        half.armed = bool(wanted)

    def _drop(self, half: _Half) -> None:
        assert self._poll is not None
        for each in (half, half.peer):
            if each.armed:
                self._poll.unregister(each.fd)
            del self._halves[each.fd]
            each.socket.close()


def _accept(listener: _socket.socket) -> int:
    # All that `_socket` offers, and its stub does not know it.
    return listener._accept()[0]  # type: ignore[attr-defined] # noqa: SLF001


class _Half:
    """One socket: its bytes go to `peer`, and `waiting` are the peer's bytes not yet written."""

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket
        self.fd = socket.fileno()
        self.waiting = b""
        self.finished = False
        self.armed = False
        self.peer: _Half = self

    def pull(self) -> None:
        """Read once and give it to the peer."""
        try:
            data = self.socket.recv(_CHUNK)
        except _NONBLOCKING_ERRORS:
            return
        if not data:
            self.finished = True
            if not self.peer.waiting:
                self.peer.socket.shutdown(_socket.SHUT_WR)
            return
        self.peer.waiting += data
        self.peer.flush()

    def flush(self) -> None:
        """Write what waits, as far as it goes."""
        try:
            sent = self.socket.send(self.waiting)
        except _NONBLOCKING_ERRORS:
            return
        self.waiting = self.waiting[sent:]
        if not self.waiting and self.peer.finished:
            self.socket.shutdown(_socket.SHUT_WR)
