"""What users install is the package as it is here, whole, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder)]
    done = subprocess.run([*build, str(ROOT)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.whl")
    return zipfile.Path(file)


def is_metadata(name: str) -> bool:
    return ".dist-info/" in name or name.endswith("/")


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: zipfile.Path) -> None:
    here = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    packed = {name for name in wheel.root.namelist() if not is_metadata(name)}
    assert packed == here
    assert {Path(name).suffix for name in packed} >= {".py", ".sql", ".typed"}


def test_the_wheel_brings_the_command_and_the_license(wheel: zipfile.Path) -> None:
    (info,) = [entry for entry in wheel.iterdir() if entry.name.endswith(".dist-info")]
    assert "stig = stigmergy.cli:main" in (info / "entry_points.txt").read_text()
    assert "Apache License" in (info / "licenses" / "LICENSE").read_text()
    assert "License-Expression: Apache-2.0" in (info / "METADATA").read_text()
