"""One long-lived `git cat-file --batch`: an object or a ref costs a pipe write, not a process."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import IO

from stigmergy.coding.git.objects import check_oid, check_ref
from stigmergy.coding.git.process import GitError, git_argv, git_environment
from stigmergy.errors import NotFoundError

__all__ = ["ObjectReader"]

_ARGS = ("cat-file", "--batch")


class ObjectReader:
    """Reads objects by id. Thread-safe; the process starts with the first question.

    It sees what was written after it started: git looks again when it misses an object, and
    reads a ref each time.
    """

    def __init__(self, git_dir: Path) -> None:
        self._git_dir = git_dir
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def read(self, oid: str) -> tuple[str, bytes]:
        """An object's type and bytes.

        Raises:
            NotFoundError: the repository has no such object.
            GitError: the reading process died; the next read starts a new one.
        """
        _, kind, data = self._look_up(check_oid(oid))
        return kind, data

    def commit_at(self, ref: str) -> str:
        """The id of the commit that a full ref name stands for now.

        Raises:
            NotFoundError: there is no such ref, or it names no commit.
            GitError: as for `read`.
        """
        oid, _, _ = self._look_up(f"{check_ref(ref)}^{{commit}}")
        return oid

    def _look_up(self, name: str) -> tuple[str, str, bytes]:
        with self._lock:
            process = self._started()
            try:
                return self._ask(process, name)
            except (BrokenPipeError, EOFError) as error:
                self._stop()
                raise GitError(_ARGS, code=process.poll(), stderr="the process died") from error

    def close(self) -> None:
        """End the process; idempotent."""
        with self._lock:
            self._stop()

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                git_argv(_ARGS),
                cwd=self._git_dir,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=git_environment(),
            )
        return self._process

    def _ask(self, process: subprocess.Popen[bytes], name: str) -> tuple[str, str, bytes]:
        stdin, stdout = _pipes(process)
        stdin.write(name.encode("utf-8", "surrogateescape") + b"\n")
        stdin.flush()
        header = stdout.readline().split()
        if len(header) == 2 and header[1] == b"missing":
            raise NotFoundError(f"object {name} is not in the repository {self._git_dir}.")
        if len(header) != 3:
            raise EOFError
        size = int(header[2])
        data = stdout.read(size + 1)
        if len(data) != size + 1:
            raise EOFError
        return header[0].decode(), header[1].decode(), data[:-1]

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for pipe in _pipes(process):
            try:
                pipe.close()
            except BrokenPipeError:
                continue  # it died first; there is nothing left to flush
        process.kill()
        process.wait()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    return process.stdin, process.stdout
