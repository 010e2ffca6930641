"""Where a run lives: `.stigmergy/` in the repository, one folder for each run.

Nothing here is needed by git: deleting `.stigmergy/` forgets the runs and harms no branch. The
folder hides itself from git with a `.gitignore` of its own, so the user's files stay as they are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from stigmergy.coding.git.process import run_git
from stigmergy.coding.git.repository import Repository
from stigmergy.coding.locking import is_free, take
from stigmergy.coding.protected import STATE_FOLDER
from stigmergy.coding.spec import RunSpec
from stigmergy.errors import CorruptError, NotFoundError, UsageError

__all__ = ["RunDirectory", "StateFolder", "new_run_id", "state_home"]

_RUN_ID: Final = re.compile(r"[0-9]{8}-[0-9]{6}-[0-9a-f]{4}")


def new_run_id(now: float) -> str:
    """`20261121-101500-3fa2`: the second (UTC) and, in 65,536ths, where in it; sorts by time."""
    second, part = divmod(now, 1)
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime(second))}-{int(part * 65_536):04x}"


def state_home(repository: Repository) -> Path:
    """The folder that `.stigmergy/` is made in: the top of the working tree, or the bare one."""
    if repository.is_bare:
        return repository.git_dir
    top = run_git(("rev-parse", "--show-toplevel"), cwd=repository.path).stdout
    return Path(os.fsdecode(top.removesuffix(b"\n")))


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The files of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        """The run's name, in refs too."""
        return self.path.name

    @property
    def board_url(self) -> str:
        """The run's board."""
        return f"sqlite:///{self.path / 'board.db'}"

    @property
    def sandboxes(self) -> Path:
        """Where sandboxes are made."""
        return self.path / "sandboxes"

    @property
    def ledger(self) -> Path:
        """What the run has spent."""
        return self.path / "ledger.db"

    @property
    def conversations(self) -> Path:
        """What agents and their models said to each other, a file for each task."""
        return self.path / "conversations"

    @property
    def report(self) -> Path:
        """The report of a finished run."""
        return self.path / "report.json"

    def ref(self, *parts: str) -> str:
        """A ref of the run: `refs/stigmergy/<run>/…`."""
        return "/".join(("refs/stigmergy", self.run_id, *parts))

    def read_spec(self) -> RunSpec:
        """What the run was started with.

        Raises:
            CorruptError: `run.json` is damaged.
        """
        file = self.path / "run.json"
        try:
            return RunSpec.model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            raise CorruptError(
                f"run {self.run_id}: cannot read {file}: {error}", where=str(file)
            ) from None

    def remove(self) -> None:
        """Forget the run; nobody may be at work in it."""
        shutil.rmtree(self.path)

    @property
    def findings(self) -> Path:
        """The report of what a hive found, for people."""
        return self.path / "findings.md"

    def write_findings(self, text: str) -> None:
        """Keep the report of findings, atomically."""
        self._write(self.findings, text)

    def holder(self) -> str | None:
        """Who is at work on this very run; None when nobody is."""
        return _holder(self.path / "lock")

    @contextmanager
    def locked(self) -> Generator[None]:
        """Be the one process that works on this run.

        Raises:
            UsageError: another does.
        """
        with _locked(self.path / "lock", self.run_id) as holder:
            if holder is not None:
                raise UsageError(f"somebody is at work on this already: {holder}")
            yield

    def write_report(self, report: dict[str, object]) -> None:
        """Keep the report, atomically."""
        self._write(self.report, json.dumps(report, indent=2) + "\n")

    def _write(self, path: Path, text: str) -> None:
        # A fresh name, opened exclusively: a link that somebody put there is not written through.
        with tempfile.NamedTemporaryFile("w", dir=self.path, delete=False) as file:
            file.write(text)
        Path(file.name).replace(path)


class StateFolder:
    """The `.stigmergy/` of a repository."""

    def __init__(self, top: Path) -> None:
        self.path = top / STATE_FOLDER

    def prepare(self) -> None:
        """Make it if it is not there.

        Raises:
            UsageError: it cannot be written, or it is not our own.
        """
        self._require_own()
        try:
            (self.path / "runs").mkdir(parents=True, exist_ok=True)
            ignore = self.path / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise UsageError(f"cannot write to {self.path}: {error.strerror}") from None

    def memory(self) -> Path:
        """The file of what was learned in this repository, whether it is there or not.

        Raises:
            UsageError: the folder came with the repository.
        """
        self._require_own()
        return self.path / "memory.db"

    def _require_own(self) -> None:
        """Refuse a state folder, or a link in its place, that came with the repository.

        A link that the user made is their own affair: it may lead to a larger disk.

        Raises:
            UsageError: git tracks it, so it would be somebody else's runs that are believed.
        """
        top = self.path.parent
        if not top.is_dir():
            return
        tracked = run_git(("ls-files", "-z", "--", STATE_FOLDER), cwd=top, accept=(0, 128))
        if tracked.stdout:
            raise UsageError(
                f"git tracks files in {self.path}, so they are not the state of runs of yours: "
                f"remove them with `git rm -r --cached {STATE_FOLDER}` if you trust them"
            )

    def create(self, run_id: str, spec: RunSpec) -> RunDirectory:
        """A folder for a new run, with its spec in it whenever it is there at all."""
        made = self.path / "runs" / f"new-{run_id}"
        made.mkdir(parents=True)
        (made / "run.json").write_text(spec.model_dump_json(indent=2) + "\n")
        return RunDirectory(made.rename(self.path / "runs" / run_id))

    def runs(self) -> list[RunDirectory]:
        """All runs, the latest last."""
        folder = self.path / "runs"
        if not folder.is_dir():
            return []
        names = sorted(entry.name for entry in folder.iterdir() if _RUN_ID.fullmatch(entry.name))
        return [run for name in names if (run := RunDirectory(folder / name)).path.is_dir()]

    def find(self, run_id: str | None) -> RunDirectory:
        """The run of that id (its beginning or end will do), or the latest one.

        Raises:
            NotFoundError: there is none.
            UsageError: several have such an id.
        """
        self._require_own()
        runs = self.runs()
        if not runs:
            raise NotFoundError(f"no run has been started in {self.path.parent} (no {self.path})")
        if run_id is None:
            return runs[-1]
        found = [r for r in runs if r.run_id.startswith(run_id) or r.run_id.endswith(run_id)]
        if not found:
            known = ", ".join(run.run_id for run in runs[-5:])
            raise NotFoundError(f"no run {run_id!r} here; the latest are {known}")
        if len(found) > 1:
            raise UsageError(f"{run_id!r} may be {', '.join(run.run_id for run in found)}")
        return found[0]

    def holder(self) -> str | None:
        """Who lands here now: `run … (process …)`; None when nobody does."""
        return _holder(self.path / "lock")

    @contextmanager
    def locked(self, run_id: str) -> Generator[None]:
        """Be the one run of this repository that lands on it.

        Raises:
            UsageError: another run is.
        """
        with _locked(self.path / "lock", run_id) as holder:
            if holder is not None:
                raise UsageError(
                    f"this repository has a run already: {holder}. Wait for it, or stop it with "
                    "`stig cancel`"
                )
            yield


def _holder(path: Path) -> str | None:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if is_free(fd) else _written(fd)
    finally:
        os.close(fd)


@contextmanager
def _locked(path: Path, run_id: str) -> Generator[str | None]:
    """Hold a lock and say so in its file; gives who holds it when that is somebody else.

    The kernel frees the lock when its holder dies, however it dies.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not take(fd):
            yield _written(fd)
            return
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"run {run_id} (process {os.getpid()})\n".encode(), 0)
        yield None
    finally:
        os.close(fd)


def _written(fd: int) -> str:
    return os.read(fd, 200).decode(errors="replace").strip() or "another process"
