"""The sandbox's repository: committing what an agent did, and counting it.

Counts come from git and never from what an agent says. The checkout may hold 50,000 files, so
each question is one git process.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["IGNORED", "Checkout", "Facts", "GitFailedError", "identity"]

IGNORED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ignored")
_TIMEOUT_S = 300.0
_CONFIG = (
    f"core.excludesFile={IGNORED}",
    # The gate judges the work; a hook of the project could refuse it half-way or ask for input.
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
)


class GitFailedError(Exception):
    """A git command failed; the text says which and git's own reason."""


class Facts(NamedTuple):
    """What the commits since the base amount to."""

    commits: int
    paths: tuple[str, ...]
    lines_added: int
    lines_removed: int


def identity(name: str, email: str) -> dict[str, str]:
    """The environment in which commits get this author, whoever makes them."""
    return {
        "GIT_AUTHOR_NAME": name,
        "GIT_AUTHOR_EMAIL": email,
        "GIT_COMMITTER_NAME": name,
        "GIT_COMMITTER_EMAIL": email,
        "GIT_TERMINAL_PROMPT": "0",
    }


class Checkout:
    """The working tree in `path`, which started from the commit `base`."""

    def __init__(self, path: str, base: str, env: Mapping[str, str]) -> None:
        self.path = path
        self._base = base
        # C, so that git's messages can be recognised. The work tree, because an agent may have set
        # another in the checkout's configuration, and `git add` would walk the whole machine.
        self._env = {**env, "LC_ALL": "C", "GIT_WORK_TREE": path}

    def command(self, *args: str) -> list[str]:
        """The command line of `git <args>` in this checkout."""
        return ["git", "--no-pager", *(word for c in _CONFIG for word in ("-c", c)), *args]

    def commit(self, message: str) -> int:
        """Commit everything that changed; how many paths that is, 0 when nothing did."""
        try:
            self._git("add", "--all")
        except GitFailedError as error:
            if "index.lock" not in str(error):
                raise
            # Whatever held it was killed in the middle; nothing else runs in this sandbox now.
            self._unlock()
            self._git("add", "--all")
        staged = self._git("diff", "--cached", "--name-only", "-z", "--no-renames")
        paths = staged.count(b"\0")
        if paths:
            text = message.encode(errors="replace")
            self._git("commit", "--quiet", "--file=-", stdin=text)
        return paths

    def facts(self) -> Facts:
        """Count what stands between the base and HEAD."""
        counted = self._git("rev-list", "--count", f"{self._base}..HEAD")
        stat = self._git("diff", "--numstat", "-z", "--no-renames", self._base, "HEAD", "--")
        paths: list[str] = []
        added = removed = 0
        for record in stat.split(b"\0"):
            plus, _, rest = record.partition(b"\t")
            minus, _, path = rest.partition(b"\t")
            if path:
                paths.append(path.decode(errors="replace"))
                added += int(plus) if plus.isdigit() else 0  # "-" stands for a binary file
                removed += int(minus) if minus.isdigit() else 0
        return Facts(int(counted), tuple(paths), added, removed)

    def paths(self, glob: str | None) -> list[str]:
        """The files that are or would be committed, and match `glob` (`**` crosses folders)."""
        listed = self._git(
            "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *pathspec(glob)
        )
        # A conflict lists a path three times; a deleted file is still in the index.
        names = {name.decode(errors="surrogateescape") for name in listed.split(b"\0") if name}
        return sorted(n for n in names if os.path.lexists(os.path.join(self.path, n)))

    def _unlock(self) -> None:
        lock = self._git("rev-parse", "--git-path", "index.lock").decode().strip()
        with contextlib.suppress(FileNotFoundError):  # released meanwhile
            os.unlink(os.path.join(self.path, lock))

    def _git(self, *args: str, stdin: bytes = b"") -> bytes:
        try:
            ended = subprocess.run(
                self.command(*args),
                cwd=self.path,
                env=self._env,
                input=stdin,
                capture_output=True,
                timeout=_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise GitFailedError(f"git {args[0]}: {error}") from None
        if ended.returncode != 0:
            said = ended.stderr.decode(errors="replace").strip()[-1_000:]
            raise GitFailedError(f"git {args[0]} ended with {ended.returncode}: {said}")
        return ended.stdout


def pathspec(glob: str | None) -> Sequence[str]:
    """Git's pathspec for a glob; one without a slash matches in every folder."""
    if not glob or glob in {".", "./"}:
        return ()
    # The first form names a file or a folder as well, and then everything in it.
    forms = [glob.removeprefix("./")] if "/" in glob else [glob, f"**/{glob}"]
    return [f":(glob){form}" for form in forms]
