"""Running git: one place decides the flags, the environment and what a failure looks like.

The user's own configuration stays in force (merge drivers, `safe.directory`), but nothing that
runs code or asks questions behind our back: no hooks, no signing, no editor, no pager, no prompt,
no automatic garbage collection, no `GIT_*` variable that points git at another repository.
"""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stigmergy.errors import StigmergyError, UnsupportedError, UsageError

__all__ = [
    "MINIMUM_VERSION",
    "Completed",
    "GitError",
    "git_argv",
    "git_environment",
    "git_version",
    "require_git",
    "run_git",
]

MINIMUM_VERSION = (2, 38)
"""The first with `git merge-tree --write-tree`."""

_STDERR_TAIL = 4_000

_CONFIG = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "commit.gpgSign=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "submodule.recurse=false",
    "advice.detachedHead=false",
)
_PREFIX = ("git", "--no-pager", *(word for entry in _CONFIG for word in ("-c", entry)))

# A user may start us from inside a hook, where these name the hook's repository and index.
_INHERITED = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
    "GIT_CEILING_DIRECTORIES",
    "GIT_QUARANTINE_PATH",
    "GIT_EXTERNAL_DIFF",
    "GIT_DIFF_OPTS",
    "GIT_REFLOG_ACTION",
)
_SECRET = ("_KEY", "_TOKEN", "_SECRET", "_PASSWORD")
_SETTINGS = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_EDITOR": "false",
    "GIT_SEQUENCE_EDITOR": "false",
    "GIT_ASKPASS": "true",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    # Reflog entries need a name, and a machine without user.name must not fail for it.
    "GIT_COMMITTER_NAME": "Stigmergy",
    "GIT_COMMITTER_EMAIL": "merge@stigmergy.invalid",
}


class GitError(StigmergyError):
    """A git command failed. The text holds its arguments, exit code and the end of stderr."""

    def __init__(self, argv: Sequence[str], *, code: int | None, stderr: str) -> None:
        self.argv = tuple(argv)
        self.code = code
        self.stderr = stderr[-_STDERR_TAIL:].strip()
        ending = "did not end in time" if code is None else f"ended with {code}"
        super().__init__(f"git {' '.join(self.argv)} {ending}: {self.stderr or 'no message'}")


@dataclass(frozen=True, slots=True)
class Completed:
    """What a git command left: its exit status, and its output as bytes."""

    code: int
    stdout: bytes
    stderr: str


def git_argv(args: Sequence[str]) -> list[str]:
    """The hardened command line for `git <args>`."""
    return [*_PREFIX, *args]


def git_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's environment, made safe for git.

    Without keys and tokens: git runs filters and merge drivers of the user's, and needs none.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in _INHERITED and not name.endswith(_SECRET)
    }
    return environment | _SETTINGS | dict(extra or {})


def run_git(
    args: Sequence[str],
    *,
    cwd: Path,
    stdin: bytes = b"",
    accept: Sequence[int] = (0,),
    timeout_s: float = 120.0,
    env: Mapping[str, str] | None = None,
) -> Completed:
    """Run `git <args>` in `cwd` to its end.

    Raises:
        GitError: it ended with a status that is not in `accept`, or not within `timeout_s`.
        UsageError: `cwd` is no folder, or may not be entered.
        UnsupportedError: there is no git.
    """
    try:
        ended = subprocess.run(
            git_argv(args),
            cwd=cwd,
            input=stdin,
            capture_output=True,
            check=False,
            timeout=timeout_s,
            env=git_environment(env),
        )
    except subprocess.TimeoutExpired as error:
        raise GitError(args, code=None, stderr=f"killed after {timeout_s:g} s") from error
    except (FileNotFoundError, NotADirectoryError) as error:
        if not cwd.is_dir():
            raise UsageError(f"{cwd} is not a directory; name a git repository.") from error
        raise UnsupportedError("git is not on PATH; install git 2.38 or newer.") from error
    except PermissionError as error:
        raise UsageError(f"git cannot be run in {cwd}: {error.strerror}.") from error
    stderr = ended.stderr.decode(errors="replace")
    if ended.returncode not in accept:
        raise GitError(args, code=ended.returncode, stderr=stderr)
    return Completed(ended.returncode, ended.stdout, stderr)


@functools.cache
def git_version() -> tuple[int, int]:
    """Major and minor version of the git on PATH."""
    return parse_version(run_git(["--version"], cwd=Path("/")).stdout.decode())


def parse_version(text: str) -> tuple[int, int]:
    """Major and minor of `git version 2.39.5 (Apple Git-154)`."""
    found = re.search(r"(\d+)\.(\d+)", text)
    if found is None:
        raise UnsupportedError(f"cannot tell the version of git from {text.strip()!r}.")
    return int(found[1]), int(found[2])


def require_git(version: tuple[int, int] | None = None) -> None:
    """See that git is new enough.

    Raises:
        UsageError: it is older than `MINIMUM_VERSION`; the text says which is needed.
    """
    have = version or git_version()
    if have < MINIMUM_VERSION:
        wanted = ".".join(map(str, MINIMUM_VERSION))
        raise UsageError(
            f"git {'.'.join(map(str, have))} is too old: merging without a checkout needs "
            f"git {wanted} or newer (`git merge-tree --write-tree`). Install a newer git."
        )
