"""What a board's `postgresql://` URL says: libpq's part, and the board's own parameters."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from stigmergy.errors import UsageError

__all__ = ["Address"]

_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,39}")
_YES: Final = frozenset({"1", "true", "yes", "on"})
_NO: Final = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A board in a database.

    Parameters of the URL that are the board's and not libpq's: `board=NAME`, the schema that
    holds it (`stigmergy` if not given); `pgbouncer=true`, when a pooler in transaction mode stands
    between; `blobs=FOLDER` for payloads too large for a row, on a file system that all share.
    """

    conninfo: str
    """As libpq takes it; it may hold a password."""
    url: str
    """What opens the same board, without the password."""
    schema: str
    pooled: bool
    blobs: Path | None

    @classmethod
    def of(cls, url: str) -> Self:
        """Read a URL.

        Raises:
            UsageError: a parameter of the board's makes no sense.
        """
        parts = urlsplit(url)
        own: dict[str, str] = {}
        rest: list[tuple[str, str]] = []
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name in ("board", "pgbouncer", "blobs"):
                own[name] = value
            else:
                rest.append((name, value))
        schema = own.get("board", "stigmergy")
        if not _NAME.fullmatch(schema):
            raise UsageError(
                f"board={schema!r} in the board's URL: take a name of a-z, 0-9 and _, 40 at most"
            )
        pooled = own.get("pgbouncer", "false").lower()
        if pooled not in _YES | _NO:
            raise UsageError(f"pgbouncer={pooled!r} in the board's URL: take true or false")
        shown = [(name, value) for name, value in rest if name not in ("password", "sslpassword")]
        user, at, host = parts.netloc.rpartition("@")
        netloc = f"{user.partition(':')[0]}{at}{host}"
        return cls(
            conninfo=_joined(parts.scheme, parts.netloc, parts.path, rest),
            url=_joined(parts.scheme, netloc, parts.path, [*shown, *own.items()]),
            schema=schema,
            pooled=pooled in _YES,
            blobs=Path(own["blobs"]) if own.get("blobs") else None,
        )

    @property
    def lock(self) -> int:
        """The number of the board's advisory lock in its database."""
        digest = hashlib.sha256(f"stigmergy {self.schema}".encode()).digest()
        return int.from_bytes(digest[:8], signed=True)

    @property
    def channel(self) -> str:
        """Where the board notifies."""
        return f"stigmergy_{self.schema}"


def _joined(scheme: str, netloc: str, path: str, query: list[tuple[str, str]]) -> str:
    text = urlunsplit((scheme, netloc, path, urlencode(query, safe="/", quote_via=quote), ""))
    # With no host urlunsplit leaves out the slashes that libpq wants.
    return text if "//" in text else text.replace(":", "://", 1)
