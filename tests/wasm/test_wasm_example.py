"""The example of the README does what its page says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

EPIDEMIC = Path(__file__).resolve().parents[2] / "examples" / "epidemic" / "epidemic.py"


def test_an_epidemic_is_the_same_every_time(engine: str, tmp_path: Path) -> None:
    def live(chosen: str, seed: int) -> tuple[bytes, str]:
        picture = tmp_path / f"{chosen}-{seed}.png"
        options = ["--people", "400", "--days", "25", "--seed", str(seed), "--engine", chosen]
        done = subprocess.run(
            [sys.executable, str(EPIDEMIC), *options, "--picture", str(picture)],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        found = re.search(r"^.* were infected .*$", done.stdout, re.MULTILINE)
        assert found, done.stdout
        return picture.read_bytes(), found[0]

    content, story = live(engine, 4)
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert story.split()[0] != "1", "nobody infected anybody"
    assert live("cpu", 4) == (content, story)
    assert live("cpu", 5)[0] != content
