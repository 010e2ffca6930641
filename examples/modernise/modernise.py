"""A run without any model: a command over every file of a real library, proved by its own tests.

    python examples/modernise/modernise.py [--dir DIR]

Downloads the source distribution of a library (boltons, pinned below), puts it into a fresh git
repository, and lets four agents run `ruff --fix` over each of its modules; what does not survive
the library's own test suite does not land. ruff and pytest are installed with the development
requirements (`make test` does that).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

LIBRARY = "boltons==26.2.0"
BIN = Path(sys.executable).parent
AGENT = (
    f"{BIN / 'ruff'} check --quiet --exit-zero --isolated --no-cache --select UP,C4,PIE "
    "--target-version py39 --fix {path}"
)
GATE = f"{sys.executable} -m pytest -q -p no:cacheprovider"
IDENTITY = ("-c", "user.name=Example", "-c", "user.email=example@stigmergy.invalid")


def download(scratch: Path) -> Path:
    """The unpacked source distribution."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*pip, "--dest", str(scratch), LIBRARY], check=True)
    (archive,) = scratch.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(scratch, filter="data")
    (folder,) = (path for path in scratch.iterdir() if path.is_dir())
    return folder


def git(folder: Path, *argv: str) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *IDENTITY, *argv], cwd=folder, env=env, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--dir", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args()
    scratch: Path = options.dir or Path(tempfile.mkdtemp(prefix="stigmergy-modernise-"))
    scratch.mkdir(parents=True, exist_ok=True)
    folder = download(scratch)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "-m", f"Import {LIBRARY}")
    print(f"The repository is {folder}", flush=True)
    run = [str(BIN / "stig"), "run", "--repo", str(folder), "--each", "boltons/*.py"]
    what = ["--task", "Use the idioms of Python 3.9 in {path}"]
    how = ["--agent-command", AGENT, "--gate", GATE, "--agents", "4"]
    return subprocess.run([*run, *what, *how], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
