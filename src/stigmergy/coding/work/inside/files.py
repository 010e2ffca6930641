"""The tools that look at and change files of the repository."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterable

from . import process
from .commits import Checkout, GitFailedError, pathspec
from .paths import ToolError, resolve
from .text import clip

__all__ = ["Files", "replace_once"]

_READ_CHARS = 48_000
_FILE_BYTES = 16 * 1024**2
_WRITE_BYTES = 2 * 1024**2
_LISTED = 1_000
_MATCHES = 200
_MATCH_CHARS = 300
_SEARCH_S = 30.0


class Files:
    """The file tools on one checkout. Each returns the text that the model gets."""

    def __init__(self, checkout: Checkout) -> None:
        self._checkout = checkout
        self._root = checkout.path

    def read_file(self, path: str, start_line: int | None, end_line: int | None) -> str:
        """Lines of a text file, both ends included; lines count from 1."""
        # Not splitlines: lines are counted as git and editors count them.
        lines = re.findall(r"[^\n]*\n|[^\n]+", self._text(path))
        first = max(1, start_line or 1)
        last = len(lines) if end_line is None else min(end_line, len(lines))
        if lines and first > len(lines):
            raise ToolError(f"{path} has {len(lines)} lines; start_line is {first}")
        shown, end = _up_to(lines[first - 1 : last], _READ_CHARS)
        stop = first - 1 + end
        head = f"{path}: lines {first}-{stop} of {len(lines)}" if lines else f"{path}: empty"
        if stop < last:
            head += f" (too long to show at once; go on with start_line={stop + 1})"
        return f"{head}\n{shown}"

    def write_file(self, path: str, content: str) -> str:
        """Make a file or replace it as a whole."""
        at = resolve(self._root, path)
        existed = os.path.lexists(at)
        self._write(at, path, content)
        lines = content.count("\n") + (not content.endswith("\n") and content != "")
        return f"{'replaced' if existed else 'created'} {path} ({lines} lines)"

    def edit_file(self, path: str, old: str, new: str) -> str:
        """Replace the one place where `old` stands."""
        text = self._text(path)
        if "\r\n" in text and "\r" not in old:
            # Models write plain newlines; the file keeps its own.
            old, new = (part.replace("\n", "\r\n") for part in (old, new))
        changed, line = replace_once(text, old, new, path=path)
        self._write(resolve(self._root, path), path, changed)
        return f"changed {path} at line {line}"

    def list_files(self, glob: str | None) -> str:
        """The paths that match, one a line; what git ignores is not shown."""
        paths = self._checked(glob)
        shown = [path.encode(errors="replace").decode() for path in paths[:_LISTED]]
        if not shown:
            return f"no file matches {glob!r}" if glob else "the repository is empty"
        if len(paths) > _LISTED:
            shown.append(f"… and {len(paths) - _LISTED:,} more: give a narrower glob")
        return "\n".join(shown)

    def search(self, pattern: str, glob: str | None) -> str:
        """The lines that match a regular expression, as `path:line:text`."""
        ended = self._grep("--perl-regexp", pattern, glob)
        if "Perl-compatible" in ended.output and ended.code == 128:
            ended = self._grep("--extended-regexp", pattern, glob)  # this git has no PCRE
        if ended.timed_out:
            raise ToolError(f"the search took longer than {_SEARCH_S:g} s: give a narrower glob")
        if ended.code not in {0, 1, -13, 141}:
            raise ToolError(f"git grep: {clip(ended.output.strip(), 500)}")
        lines = ended.output.splitlines()
        if not lines:
            where = f" in files that match {glob!r}" if glob else ""
            return f"nothing matches {pattern!r}{where}"
        shown = [clip(line, _MATCH_CHARS) for line in lines[:_MATCHES]]
        if len(lines) > _MATCHES:
            shown.append(f"… more than {_MATCHES} lines match: narrow the pattern or the glob")
        return "\n".join(shown)

    def _grep(self, syntax: str, pattern: str, glob: str | None) -> process.Ended:
        if "\0" in pattern:
            raise ToolError("a pattern cannot hold a NUL character")
        argv = self._checkout.command(
            "grep", "--untracked", "--line-number", "-I", "--no-color", "--full-name", syntax,
            "-e", pattern, "--", *pathspec(_sensible(glob)),
        )  # fmt: skip
        return process.run(
            argv,
            cwd=self._root,
            timeout_s=_SEARCH_S,
            head_bytes=_MATCHES * 2 * _MATCH_CHARS,
            tail_bytes=1_024,
        )

    def _checked(self, glob: str | None) -> list[str]:
        try:
            return self._checkout.paths(_sensible(glob))
        except GitFailedError as error:
            raise ToolError(str(error)) from None

    def _text(self, path: str) -> str:
        at = resolve(self._root, path)
        try:
            info = os.lstat(at)
            _readable(info, path)
            # A link or a pipe that has taken its place meanwhile is neither followed nor waited on.
            fd = os.open(at, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
        except FileNotFoundError:
            raise ToolError(f"there is no file {path}{self._similar(path)}") from None
        except OSError as error:
            raise ToolError(f"{path}: {error.strerror}") from None
        with open(fd, "rb") as file:
            data = file.read(_FILE_BYTES)
        try:
            text = data.decode()
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise ToolError(f"{path} is a binary file of {len(data):,} bytes")
        return text

    def _write(self, at: str, path: str, content: str) -> None:
        try:
            data = content.encode()
        except UnicodeEncodeError:
            raise ToolError("the content is not valid Unicode text") from None
        if len(data) > _WRITE_BYTES:
            raise ToolError(f"the content has {len(data):,} bytes; at most {_WRITE_BYTES:,} go")
        try:
            os.makedirs(os.path.dirname(at), exist_ok=True)
            _replace(at, data)
        except OSError as error:
            raise ToolError(f"{path} cannot be written: {error.strerror}") from None

    def _similar(self, path: str) -> str:
        name = os.path.basename(path)
        found = [p for p in self._checked(None) if os.path.basename(p) == name][:5]
        return f"; did you mean {' or '.join(found)}?" if found else ""


def _readable(info: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(info.st_mode):
        raise ToolError(f"{path} is a folder: use list_files with the glob '{path}/**'")
    if not stat.S_ISREG(info.st_mode):
        raise ToolError(f"{path} is not a regular file")
    if info.st_size > _FILE_BYTES:
        raise ToolError(f"{path} has {info.st_size:,} bytes: use search, or run with head")


def replace_once(text: str, old: str, new: str, *, path: str) -> tuple[str, int]:
    """`text` with its one `old` replaced, and the line it stood at.

    Raises:
        ToolError: `old` stands nowhere or more than once; the text says where something like it
            stands, so that the next try can be right.
    """
    if not old:
        raise ToolError("'old' is empty: give the text to replace, or use write_file")
    if old == new:
        raise ToolError("'old' and 'new' are the same: nothing would change")
    count = text.count(old)
    if count == 1:
        line = text[: text.index(old)].count("\n") + 1
        return text.replace(old, new), line
    if count == 0:
        raise ToolError(f"'old' does not stand in {path}. {_near(text, old)}")
    lines = [text[: found.start()].count("\n") + 1 for found in re.finditer(re.escape(old), text)]
    where = ", ".join(map(str, lines[:10]))
    raise ToolError(
        f"'old' stands {count} times in {path} (lines {where}): add lines around it until it is "
        "the only one"
    )


def _near(text: str, old: str) -> str:
    """What helps somebody who remembers a passage nearly right."""
    wanted = [line.strip() for line in old.strip().splitlines()]
    lines = text.splitlines()
    stripped = [line.strip() for line in lines]
    for at in range(len(lines) - len(wanted) + 1):
        if stripped[at : at + len(wanted)] == wanted:
            passage = clip("\n".join(lines[at : at + len(wanted)]), 2_000)
            return f"But for white space it stands at line {at + 1}; there it reads:\n{passage}"
    first = max(wanted, key=len)
    hits = [str(at + 1) for at, line in enumerate(stripped) if first and first in line][:5]
    if hits:
        return f"The line {clip(first, 120)!r} stands at {', '.join(hits)}; read there again."
    return "Read the file again: it may have changed, or be another one."


def _up_to(lines: Iterable[str], limit: int) -> tuple[str, int]:
    """As many lines as fit into `limit` characters, and how many; a single long one is cut."""
    kept: list[str] = []
    room = limit
    for line in lines:
        if len(line) > room and kept:
            break
        kept.append(clip(line, limit))
        room -= len(line)
    return "".join(kept), len(kept)


def _replace(at: str, data: bytes) -> None:
    """Whole or not at all, with the mode that the file had."""
    mode = _mode(at)
    fd, temporary = tempfile.mkstemp(dir=os.path.dirname(at), prefix=".stig-")
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.chmod(temporary, mode)
        os.replace(temporary, at)
    except BaseException:
        os.unlink(temporary)
        raise


def _mode(at: str) -> int:
    try:
        return stat.S_IMODE(os.stat(at, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        umask = os.umask(0)
        os.umask(umask)
        return 0o666 & ~umask


def _sensible(glob: str | None) -> str | None:
    if glob is not None and ("\0" in glob or ".." in glob.split("/") or glob.startswith("/")):
        raise ToolError(f"{glob!r} leads out of the repository: globs are relative to its root")
    return glob
