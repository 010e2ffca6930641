"""Which names the server answers to, and which web pages may call it. Pure.

A page of another site can make a browser send requests here, and DNS rebinding can make its own
name lead here: so the `Host` must be one of ours, and an `Origin` must be ours or allowed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from stigmergy.addresses import ip_address, is_loopback
from stigmergy.errors import UsageError

__all__ = ["Origins", "check_origin"]

_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def check_origin(text: str) -> str:
    """The origin as browsers write it.

    Raises:
        UsageError: it is none.
    """
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path not in ("", "/"):
        raise UsageError(f"{text!r} is no origin: write https://host or https://host:port")
    return f"{parts.scheme}://{parts.netloc}".lower()


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """What is ours.

    Args:
        host: the address that the server listens on.
        port: its port.
        names: further names that it is known by.
        allowed: origins of pages that may call it, besides its own.
    """

    host: str
    port: int
    names: frozenset[str] = frozenset()
    allowed: frozenset[str] = frozenset()

    def is_ours(self, host: str) -> bool:
        """Whether a `Host` header names this server."""
        name, port = _split(host)
        if name is None or (port is not None and port != self.port and name not in self.names):
            return False
        if name in self.names:
            return True
        if is_loopback(self.host):
            return name in _LOOPBACK
        # An address cannot be rebound by anybody's name server.
        return ip_address(name) is not None or name == self.host

    def may_call(self, origin: str, *, scheme: str, host: str) -> bool:
        """Whether a page of that origin may call."""
        return origin == f"{scheme}://{host}".lower() or self.is_allowed(origin)

    def is_allowed(self, origin: str) -> bool:
        """Whether it is one of the further ones."""
        return origin in self.allowed


def _split(host: str) -> tuple[str | None, int | None]:
    text = host.lower()
    if text.startswith("["):
        name, bracket, rest = text[1:].partition("]")
        if not bracket or ip_address(name) is None:
            return None, None
    else:
        name, colon, rest = text.partition(":")
        rest = colon + rest
    if not rest:
        return name, None
    digits = rest[1:]
    if rest[0] != ":" or not digits.isascii() or not digits.isdigit() or len(digits) > 5:
        return None, None
    return name, int(digits)
