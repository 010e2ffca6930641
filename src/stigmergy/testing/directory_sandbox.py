"""A sandbox that confines nothing: a clone in a folder. For tests of what runs in sandboxes.

Whatever runs here is trusted as the test itself is. It keeps the rest of the `Sandbox` protocol:
limits of time, stopping, a process group that is gone afterwards, exporting commits.
"""

from __future__ import annotations

import os
import selectors
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from stigmergy.coding.git.process import run_git
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.sandbox.sandbox import Exit, Limits
from stigmergy.errors import CorruptError

__all__ = ["DirectorySandbox"]

_POLL_S = 0.02
_GRACE_S = 5.0
_TAIL_CHARS = 8_000


class DirectorySandbox:
    """A workspace in `folder`, which must not exist, at `commit` of `repository`.

    Args:
        env: added to the environment of what runs, such as OPENAI_BASE_URL.
    """

    def __init__(
        self,
        repository: Repository,
        folder: Path,
        commit: str,
        *,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._repository = repository
        self.folder = folder
        self.base = commit
        self._env = dict(env or {})
        folder.mkdir(parents=True)
        source = str(repository.git_dir)
        run_git(("clone", "--quiet", "--shared", "--no-checkout", source, "repo"), cwd=folder)
        run_git(("checkout", "--quiet", "--detach", commit), cwd=self.repo)

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name

    @property
    def repo(self) -> Path:
        """The checkout."""
        return self.folder / "repo"

    def write_file(self, path: str, data: bytes) -> None:
        """Put a file into the workspace."""
        (self.folder / path).write_bytes(data)

    def read_file(self, path: str, *, max_bytes: int) -> bytes | None:
        """A regular file of the workspace, or None."""
        at = self.folder / path
        try:
            info = at.lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(info.st_mode) or info.st_size > max_bytes:
            text = f"{path} is not a regular file of at most {max_bytes} bytes"
            raise CorruptError(text, where=path)
        return at.read_bytes()

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str = "repo",
        limits: Limits | None = None,
        stop: threading.Event | None = None,
        on_line: Callable[[str], None] | None = None,
    ) -> Exit:
        """Run a program to its end, `wall_s` or `stop`; of the limits only the time holds."""
        started = time.monotonic()
        stderr_path = self.folder / ".stderr"
        with stderr_path.open("wb") as stderr:
            try:
                process = subprocess.Popen(
                    argv,
                    cwd=self.folder / cwd,
                    env=self._environment(env),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    start_new_session=True,
                )
            except FileNotFoundError as error:
                return _exit(127, "exited", started, "", str(error))
        lines: list[str] = []

        def take(line: str) -> None:
            lines.append(line)
            if on_line is not None:
                on_line(line)

        reason = _follow(process, started + (limits or Limits()).wall_s, stop, take)
        said = stderr_path.read_text("utf-8", errors="replace")
        return _exit(process.returncode, reason, started, "\n".join(lines), said)

    def export(self, ref: str) -> str | None:
        """Fetch HEAD into the repository as `ref`."""
        head = run_git(("rev-parse", "HEAD"), cwd=self.repo).stdout.decode().strip()
        if head == self.base:
            return None
        self._repository.git("fetch", "--quiet", "--no-tags", str(self.repo), f"+{head}:{ref}")
        return head

    def close(self) -> None:
        """Nothing runs between calls; the folder is left to whoever gave it."""

    def _environment(self, more: Mapping[str, str] | None) -> dict[str, str]:
        own = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "STIG_WORKSPACE": str(self.folder),
        }
        return {**own, **self._env, **(more or {})}


def _follow(
    process: subprocess.Popen[bytes],
    deadline: float,
    stop: threading.Event | None,
    take: Callable[[str], None],
) -> str:
    """Pass on lines until the program ended or had to be ended; how, in `Exit.reason`'s words."""
    assert process.stdout is not None
    reason, rest = "exited", b""
    with process.stdout, selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while process.poll() is None or selector.select(0):
            now = time.monotonic()
            if reason == "exited" and stop is not None and stop.is_set():
                reason, deadline = "stopped", now + _GRACE_S
                os.killpg(process.pid, signal.SIGTERM)
            elif now >= deadline:
                reason = "timed-out" if reason == "exited" else reason
                break
            if selector.select(_POLL_S):
                data = os.read(process.stdout.fileno(), 65_536)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    take(line.decode(errors="replace"))
                if not data:
                    break
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            reason = "timed-out" if reason == "exited" else reason
        _kill(process)
    return reason


def _kill(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # all of them have ended
    finally:
        process.wait()


def _exit(code: int, reason: str, started: float, stdout: str, stderr: str) -> Exit:
    return Exit(
        code=code,
        reason=reason,
        duration_s=time.monotonic() - started,
        stdout_tail=stdout[-_TAIL_CHARS:],
        stderr_tail=stderr[-_TAIL_CHARS:],
    )
