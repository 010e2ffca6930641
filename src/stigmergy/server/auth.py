"""Who may do what: bearer tokens and their scopes, and the file that they are kept in.

A token is 32 random bytes. The server keeps digests alone once it has read them, and compares them
in constant time. A token never stands on a command line, in a log or in an event.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Final

from stigmergy.board.folders import make_folder
from stigmergy.errors import NotFoundError, UsageError

__all__ = [
    "Principal",
    "Scope",
    "Token",
    "TokenTable",
    "check_token",
    "chosen_token",
    "make_token_file",
    "read_token_file",
]

_PREFIX: Final = "stig_"
_SHORTEST: Final = 16
_LONGEST: Final = 512


class Scope(IntEnum):
    """Each may do what those before it may."""

    READ = 1
    """Look at everything."""
    WORKER = 2
    """Post tasks, claim them and report on those that it holds."""
    ADMIN = 3
    """Steer: cancel, retry, priorities, approvals, pauses, the number of agents."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token as it stands in a file."""

    scope: Scope
    text: str

    def __repr__(self) -> str:
        return f"Token({self.scope.name.lower()})"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls."""

    scope: Scope
    name: str
    """The beginning of the token's digest: tells tokens apart, and says nothing about them."""


class TokenTable:
    """The tokens that are good."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._known = [(_digest(token.text), _principal(token)) for token in tokens]

    def find(self, text: str) -> Principal | None:
        """Whose token it is; takes as long for every text."""
        digest = _digest(text)
        found: Principal | None = None
        for known, principal in self._known:
            if hmac.compare_digest(known, digest):
                found = principal
        return found


def make_token_file(path: Path) -> list[Token]:
    """Make a token for each scope, and keep them where only this user can read them.

    Raises:
        UsageError: the file cannot be written, or is there already.
    """
    tokens = [Token(scope, _PREFIX + secrets.token_urlsafe(32)) for scope in reversed(Scope)]
    lines = [f"{token.scope.name.lower()} {token.text}\n" for token in tokens]
    try:
        make_folder(path.parent)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - pathlib opens no descriptors
            file.write("".join(lines))
    except OSError as error:
        raise UsageError(f"the tokens cannot be kept in {path}: {error.strerror}") from error
    return tokens


def read_token_file(path: Path) -> list[Token]:
    """The tokens in a file: lines of a scope and a token, or one token alone for every scope.

    Raises:
        NotFoundError: there is no such file.
        UsageError: it cannot be read, others may read it, or a line is wrong.
    """
    try:
        with path.open() as file:
            mode = os.fstat(file.fileno()).st_mode
            text = file.read(64 * 1024)
    except FileNotFoundError:
        raise NotFoundError(f"there is no token file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"the token file {path} cannot be read: {error}") from error
    if stat.S_IMODE(mode) & 0o077:
        raise UsageError(f"others may read the token file {path}: `chmod 600` it")
    lines = [line.split() for line in text.splitlines() if line.strip() and line[0] != "#"]
    if len(lines) == 1 and len(lines[0]) == 1:
        return [check_token(Token(Scope.ADMIN, lines[0][0]), where=str(path))]
    return [_token_of(words, path) for words in lines]


def check_token(token: Token, *, where: str) -> Token:
    """The token, if nobody can guess it for being short.

    Raises:
        UsageError: it is too short, too long, or cannot stand in a header.
    """
    text = token.text
    if not _SHORTEST <= len(text) <= _LONGEST or not text.isascii() or not text.isprintable():
        raise UsageError(
            f"{where}: a token has {_SHORTEST} to {_LONGEST} printable ASCII characters; "
            "remove the file, and the server makes new ones"
        )
    return token


def chosen_token(tokens: Sequence[Token], wanted: Scope) -> str:
    """The token with the least scope that suffices for a client.

    Raises:
        UsageError: none does.
    """
    fit: Mapping[Scope, str] = {
        each.scope: each.text for each in tokens if each.scope.value >= wanted.value
    }
    if not fit:
        raise UsageError(f"the token file has no token of the scope {wanted.name.lower()}")
    return fit[min(fit)]


def _token_of(words: Sequence[str], path: Path) -> Token:
    names = {scope.name.lower(): scope for scope in Scope}
    if len(words) != 2 or words[0] not in names:
        raise UsageError(
            f"{path}: every line has a scope ({', '.join(names)}) and a token; one has "
            f"{len(words)} words"
        )
    return check_token(Token(names[words[0]], words[1]), where=str(path))


def _principal(token: Token) -> Principal:
    return Principal(token.scope, _digest(token.text).hex()[:12])


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()
