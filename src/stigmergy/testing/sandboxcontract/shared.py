"""What the parts of the contract share: a small repository, sandboxes of it, scripts in them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from stigmergy.coding.sandbox.sandbox import (
    ModelSocket,
    Sandbox,
    SandboxFactory,
    SandboxSettings,
)

__all__ = [
    "COMMIT",
    "FILES",
    "MARK",
    "REF",
    "MakeFactory",
    "SandboxFixtures",
    "commit_all",
    "git",
    "on_loopback",
    "shell",
]

MakeFactory = Callable[[SandboxSettings, ModelSocket | None], SandboxFactory]

REF = "refs/stigmergy/test/tasks/T1"
MARK = "STIG_CONTRACT"
_IDENTITY = ("-c", "user.name=Agent", "-c", "user.email=agent@example.invalid")
COMMIT = "git add -A && git -c user.name=Agent -c user.email=a@example.invalid commit -q -m work"
FILES = {
    "README.md": "# A project\n",
    "src/one.txt": "one\n",
    "src/two.txt": "two\n",
    "docs/deep/er/page.md": "page\n",
    "run.sh": "#!/bin/sh\necho ran\n",
    "empty": "",
}


def git(repository: Path, *arguments: str) -> str:
    """Run git in a repository; its output without the last newline."""
    done = subprocess.run(
        ["git", *_IDENTITY, *arguments], cwd=repository, check=True, capture_output=True, text=True
    )
    return done.stdout.removesuffix("\n")


def commit_all(repository: Path, message: str = "Change") -> str:
    """Commit the whole working tree; the commit's id."""
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", message)
    return git(repository, "rev-parse", "HEAD")


def shell(sandbox: Sandbox, script: str) -> str:
    """Run a script of ours in a sandbox; its output. It must succeed."""
    ended = sandbox.run(["sh", "-c", script])
    assert ended.ok, ended
    return ended.stdout_tail.removesuffix("\n")


@contextlib.contextmanager
def on_loopback() -> Generator[int]:
    """Something that listens on the host's 127.0.0.1; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


class SandboxFixtures:
    """A repository, a factory and a sandbox. `make_factory` is the subclass's fixture."""

    confined = False
    """Whether the factory must claim to confine writes, network and processes: see below."""
    mark = f"{os.getpid()}.{time.monotonic_ns()}"
    """Tells our programs from those of other runs on the same machine."""

    @pytest.fixture
    def repository(self, tmp_path: Path) -> Path:
        """A small repository with one commit."""
        root = tmp_path / "repository"
        root.mkdir()
        git(root, "init", "--quiet", "--initial-branch=main")
        for name, text in FILES.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        (root / "run.sh").chmod(0o755)
        (root / "link").symlink_to("src/one.txt")
        commit_all(root, "Start")
        return root

    @pytest.fixture
    def commit(self, repository: Path) -> str:
        """The repository's first commit."""
        return git(repository, "rev-parse", "HEAD")

    @pytest.fixture
    def factory(self, make_factory: MakeFactory) -> Iterator[SandboxFactory]:
        """A factory with default settings, closed at the end."""
        factory = make_factory(SandboxSettings(env={MARK: self.mark}), None)
        yield factory
        factory.close()

    @pytest.fixture
    def sandbox(self, factory: SandboxFactory, commit: str) -> Sandbox:
        """A sandbox at the first commit; the factory closes it."""
        return factory.open("T1", commit)
