"""The built project's own files, shown from git's objects in a page that can do no harm.

Whoever may read the swarm asks for a ticket; the ticket stands in the path, so that the page's
own relative links work and no token is ever in an address. The page runs in a frame without an
origin, under a policy that lets it load what lies under its ticket and nothing else.
"""

from __future__ import annotations

import mimetypes
import secrets
import threading
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from stigmergy.coding.git.repository import Repository
from stigmergy.errors import NotFoundError

__all__ = ["MOST_FILE_BYTES", "PreviewFile", "PreviewTickets", "Ticket", "preview_headers"]

MOST_FILE_BYTES: Final = 16 * 1024**2
_MOST_TICKETS: Final = 64
_INDEXES: Final = ("index.html", "public/index.html", "dist/index.html", "docs/index.html")
"""Where a project's page may lie, the likeliest first."""
_TYPES: Final = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".htm": "text/html",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
    ".md": "text/plain",
    ".txt": "text/plain",
    ".py": "text/plain",
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """Leave to look at one commit's files."""

    name: str
    commit: str
    index: str | None
    """The page to begin with; None where there is none."""


@dataclass(frozen=True, slots=True)
class PreviewFile:
    """One file as it is sent."""

    body: bytes
    media_type: str


class PreviewTickets:
    """Gives out tickets and reads files for them. Thread-safe.

    Only files of the commit that the ticket is for; links are not followed.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = threading.Lock()
        self._tickets: dict[str, Ticket] = {}

    def issue(self, commit: str) -> Ticket:
        """A ticket for a commit. The oldest of too many is void."""
        index = next((p for p in _INDEXES if self._entry(commit, p) is not None), None)
        ticket = Ticket(secrets.token_urlsafe(24), commit, index)
        with self._lock:
            while len(self._tickets) >= _MOST_TICKETS:
                self._tickets.pop(next(iter(self._tickets)))
            self._tickets[ticket.name] = ticket
        return ticket

    def read(self, name: str, path: str) -> PreviewFile:
        """A file of the ticket's commit.

        Raises:
            NotFoundError: no such ticket or file, or it is too large.
        """
        with self._lock:
            ticket = self._tickets.get(name)
        if ticket is None:
            raise NotFoundError("this preview is over: ask for it again in the dashboard")
        path = path.strip("/")
        oid = self._entry(ticket.commit, path) if path else None
        if oid is None:
            path = f"{path}/index.html".lstrip("/")
            oid = self._entry(ticket.commit, path)
        if oid is None:
            raise NotFoundError(f"there is no such file at {ticket.commit[:10]}")
        return PreviewFile(self._blob(oid), _media_type(path))

    def _entry(self, commit: str, path: str) -> str | None:
        # A path that begins with a colon would be pathspec magic to git.
        parts = path.split("/")
        if "\0" in path or path[0] == ":" or any(part in ("", ".", "..") for part in parts):
            return None
        for entry in self._repository.ls_tree(commit, under=path):
            if entry.path == path and entry.mode.startswith("100"):
                return entry.oid
        return None

    def _blob(self, oid: str) -> bytes:
        size = int(self._repository.git("cat-file", "-s", oid).stdout)
        if size > MOST_FILE_BYTES:
            raise NotFoundError(f"the file has {size} bytes: too large for a preview")
        return self._repository.blob(oid)


def preview_headers(origin: str, ticket: str) -> dict[str, str]:
    """What confines a previewed page; `origin` is the server's own, as `http://127.0.0.1:8000`."""
    place = f"{origin}/preview/{quote(ticket)}/"
    policy = (
        f"default-src {place} data: blob: 'unsafe-inline' 'unsafe-eval' 'wasm-unsafe-eval'; "
        f"connect-src {place} data: blob:; form-action 'none'; base-uri {place}; "
        "frame-src 'none'; object-src 'none'; frame-ancestors 'self'; sandbox allow-scripts"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Resource-Policy": "cross-origin",
        # The page has no origin, so its modules and its fetches are cross-origin requests.
        "Access-Control-Allow-Origin": "*",
        "Cache-Control": "no-store",
    }


def _media_type(path: str) -> str:
    suffix = path[path.rfind(".") :].lower() if "." in path else ""
    known = _TYPES.get(suffix) or mimetypes.guess_type(path)[0] or "text/plain"
    return f"{known}; charset=utf-8" if known.startswith("text/") else known
