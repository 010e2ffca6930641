"""Make the README's picture: the live table of a demonstration run, as it stood in its middle.

    python scripts/live_picture.py REPOSITORY [--at 0.5] [--out docs/images/demo-live.svg]

REPOSITORY is where a demonstration has run. Its journal is folded up to the given part of its time
and drawn by the same code that draws the terminal; nothing is made up.
"""

from __future__ import annotations

import argparse
import io
import re
from pathlib import Path

from rich.console import Console

from stigmergy.board import TaskBoard
from stigmergy.cli.frame import frame
from stigmergy.coding.rundir import StateFolder
from stigmergy.monitor import SwarmView

WIDTH, HEIGHT = 110, 34


def main() -> None:
    """Draw one moment of a run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("repository", type=Path)
    parser.add_argument("--at", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("docs/images/demo-live.svg"))
    options = parser.parse_args()
    with TaskBoard(StateFolder(options.repository).find(None).board_url) as board:
        events = board.events(limit=10**6)
    first, last = events[0].at, events[-1].at
    moment = first + (last - first) * options.at
    view = SwarmView()
    view.take(event for event in events if event.at <= moment)
    console = Console(
        record=True, width=WIDTH, height=HEIGHT, force_terminal=True, file=io.StringIO()
    )
    console.print(frame(view.run, now=moment, width=WIDTH, height=HEIGHT))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    drawn = console.export_svg(title="stig run")
    # Fonts of the reader's own machine only: a picture in a README fetches nothing.
    options.out.write_text(re.sub(r",?\s*url\([^)]*\) format\([^)]*\)", "", drawn))


if __name__ == "__main__":
    main()
