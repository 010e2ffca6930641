"""Makes `.venv` ready: pinned packages checked against their hashes, and Stigmergy itself.

`run` brings what the program needs, `dev` also the tests and the gates. A stamp in `.venv` holds
a digest of everything the environment was made from, so a ready one costs a few milliseconds and
no network. Standard library only: nothing else is there yet.
"""

import argparse
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import system_packages

__all__ = ["Setup", "SetupError", "main"]

ROOT = Path(__file__).resolve().parent.parent

# What each kind of environment installs; `dev` holds everything that `run` does.
REQUIREMENTS = {"run": ("run.txt", "build.txt"), "dev": ("dev.txt",)}


class SetupError(Exception):
    """The environment could not be made; the message says why and what to do."""


class Setup:
    """The environment of one checkout, `root/.venv`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.venv = root / ".venv"
        self.python = self.venv / "bin" / "python"
        self.log = self.venv / "setup.log"

    def ensure(self, kind: str) -> None:
        """Make the environment ready for `kind` (`run` or `dev`); nothing to do is instant."""
        if self.is_ready(kind):
            return
        with self._alone():
            # Another make may have done it while this one waited for the lock.
            if not self.is_ready(kind):
                self._make(kind)

    def is_ready(self, kind: str) -> bool:
        """Whether it was made for `kind`, or for `dev`, from the files as they are now."""
        return any(self._stamp_holds(ready) for ready in {kind, "dev"})

    def _stamp_holds(self, kind: str) -> bool:
        try:
            return self._stamp(kind).read_text() == self._digest(kind) and self.python.exists()
        except FileNotFoundError:
            return False

    def _stamp(self, kind: str) -> Path:
        return self.venv / f"ready-{kind}"

    def _digest(self, kind: str) -> str:
        """Of what the environment is made from, and of where: scripts in it hold its path."""
        digest = hashlib.sha256(str(self.venv).encode())
        for path in (*self._requirements(kind), self.root / "pyproject.toml"):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _requirements(self, kind: str) -> list[Path]:
        return [self.root / "requirements" / name for name in REQUIREMENTS[kind]]

    @contextmanager
    def _alone(self) -> Generator[None]:
        """Hold the checkout's setup lock. A folder can be locked, so no lock file is left."""
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("Waiting for another setup of this checkout …")
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _make(self, kind: str) -> None:
        started = time.monotonic()
        self._ensure_venv()
        for stamp in map(self._stamp, REQUIREMENTS):
            stamp.unlink(missing_ok=True)
        requirements = self._requirements(kind)
        count = len({pin for path in requirements for pin in pins_in(path)})
        say(f"Installing {count} pinned packages …")
        # --no-deps: the files are complete, and an older pip that resolves anew trips over
        # extras (`coverage[toml]`) as soon as a release newer than the pin is out.
        wanted = (f"--requirement={path}" for path in requirements)
        self._pip("--require-hashes", "--no-deps", *wanted)
        say("Installing Stigmergy itself …")
        # --no-build-isolation: the build backend is pinned like the rest, not fetched at will.
        self._pip("--no-deps", "--no-build-isolation", "--no-index", f"--editable={self.root}")
        self._stamp(kind).write_text(self._digest(kind))
        say(f"Ready in {time.monotonic() - started:.0f} s.")

    def _ensure_venv(self) -> None:
        if self._has_pip():
            return
        say(f"Making .venv with Python {'.'.join(map(str, sys.version_info[:3]))} …")
        # Run from a broken .venv, sys.executable would be that environment's own link.
        interpreter = getattr(sys, "_base_executable", sys.executable)
        command = [interpreter, "-m", "venv", "--clear", str(self.venv)]
        ensure_venv_module(interpreter)
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise SetupError(f"{' '.join(command)} failed:\n{result.stdout}{result.stderr}")

    def _has_pip(self) -> bool:
        if not self.python.exists():
            return False
        probe = [self.python, "-m", "pip", "--version"]
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0

    def _pip(self, *arguments: str) -> None:
        """Run `pip install`, a second time when it failed: most failures are a lost connection."""
        # Wheels only: a source package would fetch its build backend unpinned, and run it.
        command = [self.python, "-m", "pip", "install", "--only-binary=:all:", "--no-input"]
        command += ["--disable-pip-version-check", "--no-color", *arguments]
        result = run_logged(command, self.log)
        if result:
            say("That failed; trying once more …")
            result = run_logged(command, self.log)
        if result:
            raise SetupError(f"pip failed (exit {result}). Its log:\n{self.log.read_text()}")


def ensure_venv_module(interpreter: str) -> None:
    """Debian and Ubuntu ship `venv` without its half; bring the other, or say how to.

    Raises:
        SetupError: it is missing and this user may not install packages.
    """
    probe = [interpreter, "-c", "import ensurepip, venv"]
    if subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return
    package = f"python3.{sys.version_info.minor}-venv"
    trouble = system_packages.install([package])
    if trouble:
        raise SetupError(f"{interpreter} cannot make virtual environments: {trouble}")


def run_logged(command: Sequence[str | Path], log: Path) -> int:
    """Run a command with all it says in a file, and give its exit status."""
    with log.open("w") as output:
        finished = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    return finished.returncode


def pins_in(path: Path) -> Iterator[str]:
    """The `name==version` of each requirement in a pinned file."""
    for line in path.read_text().splitlines():
        if line and not line.startswith((" ", "#")):
            yield line.split()[0]


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: `setup_environment.py run|dev`."""
    parser = argparse.ArgumentParser(description=__doc__, prog="scripts/setup")
    parser.add_argument("kind", choices=sorted(REQUIREMENTS))
    options = parser.parse_args(arguments)
    try:
        Setup(ROOT).ensure(options.kind)
    except SetupError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
