"""A swarm builds a spreadsheet program; `make demo` runs this.

The words of the model come from `recording.jsonl`; everything else is real: the board, the
sandboxes, the commands the agents run, the merges, the gate, and the program at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
STIG = Path(sys.executable).with_name("stig")
GATE = "python3 -m unittest discover -s tests -t ."
SHOW = ("python3", "-m", "sheet", "show", "budget.csv", "--format", "#,##0.00")
IDENTITY = ("-c", "user.name=Demonstration", "-c", "user.email=demo@stigmergy.invalid")


def prepare(folder: Path) -> None:
    """Make a fresh git repository with the seed, the specification and the features."""
    shutil.copytree(HERE / "seed", folder, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("SPEC.md", "FEATURES.json"):
        shutil.copy(HERE / name, folder)
    _git(folder, "init", "--quiet", "--initial-branch=main")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "-m", "Begin with the specification and an empty program")


def build(folder: Path, *, model: str, agents: int) -> int:
    """Let the swarm build the program; the exit status of `stig run`."""
    command = [
        *(str(STIG), "run"),
        *("--repo", str(folder)),
        *("--features", str(folder / "FEATURES.json")),
        *("--model", model),
        *("--agents", str(agents)),
        *("--gate", GATE),
    ]
    return subprocess.run(command, check=False).returncode


def report(folder: Path) -> int:
    """Tell what landed, what came back and how it was mended."""
    print("\n== the report\n", flush=True)
    return subprocess.run([str(STIG), "report", "--repo", str(folder)], check=False).returncode


def show(folder: Path) -> int:
    """Check out what stands on main now, run its gate and then the program."""
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "sheet"
        _git(folder, "clone", "--quiet", "--branch", "main", str(folder), str(program))
        for title, command in (("the gate on main", GATE.split()), ("the program", SHOW)):
            print(f"\n== {title}: {' '.join(command)}\n", flush=True)
            status = subprocess.run(command, cwd=program, check=False).returncode
            if status:
                return status
    return 0


def _git(folder: Path, *argv: str) -> None:
    # A GIT_DIR of the caller's, as in a hook, would lead into another repository.
    env = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    subprocess.run(["git", *IDENTITY, *argv], cwd=folder, env=env, check=True)


def main() -> int:
    """Prepare, build, show; the first exit status that is not 0 ends it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--dir", type=Path, help="where to build; must not exist (default: a new temporary folder)"
    )
    parser.add_argument(
        "--model",
        default=f"replay:{HERE / 'recording.jsonl'}",
        help="as in stig run (default: the recording)",
    )
    parser.add_argument("--agents", type=int, default=8, help="how many at once (default: 8)")
    parser.add_argument("--prepare-only", action="store_true", help="make the repository and stop")
    options = parser.parse_args()

    folder: Path = options.dir or Path(tempfile.mkdtemp(prefix="stigmergy-demo-")) / "sheet"
    prepare(folder)
    print(f"The repository is {folder}", flush=True)
    if options.prepare_only:
        return 0
    began = time.monotonic()
    built = build(folder, model=options.model, agents=options.agents)
    reported = report(folder)
    status = built or reported or show(folder)
    print(f"\nEnded with status {status} after {time.monotonic() - began:.0f} s. See {folder}")
    return status


if __name__ == "__main__":
    sys.exit(main())
