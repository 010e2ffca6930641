"""What an address leads to: a server, another machine. Pure; nothing is looked up."""

from __future__ import annotations

import ipaddress

__all__ = ["ip_address", "is_loopback", "is_remote"]


def ip_address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is written as; None of a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_loopback(host: str | None) -> bool:
    """Whether a host, as an address or a name, is this machine and can be no other."""
    if host is None:
        return False
    if host.lower() == "localhost":
        return True
    # A name may begin like an address: 127.0.0.1.example.com.
    address = ip_address(host)
    return address is not None and address.is_loopback


def is_remote(url: str | None) -> bool:
    """Whether a board's URL is that of a server."""
    return url is not None and url.startswith(("http://", "https://"))
