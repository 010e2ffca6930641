"""An epidemic among a hundred thousand people, each a WebAssembly agent of its own.

    python examples/epidemic/epidemic.py [--people 100000] [--days 250] [--engine auto] [--seed 1]
        [--picture epidemic.png]

People meet by messages, which arrive overnight: a day is over when everybody waits for the next.
The same seed gives the same epidemic, on every engine.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time
import zlib
from pathlib import Path

import numpy as np

from stigmergy.wasm import SwarmManager

NEVER = 0xFFFF
INSTRUCTIONS_AT_ONCE = 2_000
SUSCEPTIBLE, EXPOSED, INFECTIOUS, RECOVERED = (
    (0xE8, 0xEA, 0xED),
    (0xF2, 0xB1, 0x34),
    (0xD6, 0x3A, 0x2F),
    (0x3B, 0x6E, 0xA8),
)
FIRST_SEEN, LAST_SEEN = (0xFD, 0xE7, 0x25), (0x44, 0x01, 0x54)
CURVE_HEIGHT = 120
INCUBATION_DAYS = 3


def main() -> None:
    options = parse()
    width = int(np.ceil(np.sqrt(options.people * 1.6)))
    height = max(1, round(options.people / width))
    people = width * height
    print(f"{people:,} people on {width} by {height} places, {options.days} days")
    begun = time.perf_counter()
    infected, recovered, told = live(options, width, height)
    print(f"{told} in {time.perf_counter() - begun:.1f} s")
    ever = np.count_nonzero(infected != NEVER)
    sick = [((infected <= day) & (recovered > day)).sum() for day in range(options.days + 1)]
    worst = int(np.argmax(sick))
    print(
        f"{ever:,} were infected ({ever / people:.0%}); "
        f"most at a time: {sick[worst]:,}, on day {worst}"
    )
    if options.picture:
        picture = draw(infected.reshape(height, width), infected, recovered, options.days)
        options.picture.write_bytes(png(picture))
        print(f"wrote {options.picture}: when each was infected, and how many were on each day")


def live(
    options: argparse.Namespace, width: int, height: int
) -> tuple[np.ndarray, np.ndarray, str]:
    """Run everybody's life: the days of infection and of recovery, and how it went."""
    people = width * height
    module = Path(__file__).with_name("person.wasm").read_bytes()
    with SwarmManager(
        options.engine, people, 1_024, seed=options.seed, mailbox_messages=8, message_bytes=4
    ) as swarm:
        swarm.load_bytecode(module)
        life = [width, height, options.days, people // 2 + width // 2]
        ids = swarm.spawn_agents(people, "live", np.tile(life, (people, 1)))
        result = swarm.dispatch(ids, INSTRUCTIONS_AT_ONCE)
        while result.unfinished:
            show(result.instruction_counts[ids[0]], len(result.unfinished))
            result = swarm.dispatch(ids, INSTRUCTIONS_AT_ONCE)
        show(None, 0)
        if result.traps:
            sys.exit(f"somebody trapped: {next(iter(result.traps.values()))}")
        stories = np.array([result.agent_results[one] for one in ids], dtype=np.int64)
        total = sum(result.instruction_counts.values())
        told = f"{total:,} instructions on {', '.join(swarm.devices)}"
    return stories & 0xFFFF, stories >> 16 & 0xFFFF, told


def show(used: int | None, left: int) -> None:
    if sys.stderr.isatty():
        text = "" if used is None else f"{left:,} people live on; {used:,} instructions each"
        sys.stderr.write(f"\r{text:70}\r")


def draw(places: np.ndarray, infected: np.ndarray, recovered: np.ndarray, days: int) -> np.ndarray:
    """A map of the day when each was infected, above the share of each state day by day."""
    width = places.shape[1]
    scale = max(1, 800 // width)
    ill = infected[infected != NEVER]
    age = np.clip(places / max(1, int(ill.max(initial=1))), 0, 1)[..., None]
    colours = np.array(FIRST_SEEN) * (1 - age) + np.array(LAST_SEEN) * age
    colours[places == NEVER] = SUSCEPTIBLE
    land = np.kron(colours, np.ones((scale, scale, 1)))
    curve = np.empty((CURVE_HEIGHT, land.shape[1], 3))
    for x in range(land.shape[1]):
        day = round(x * days / (land.shape[1] - 1))
        gone = np.count_nonzero(recovered <= day)
        ever = np.count_nonzero(infected <= day)
        early = np.count_nonzero((infected <= day) & (infected > day - INCUBATION_DAYS))
        early = min(early, ever - gone)
        shares = [gone, ever - gone - early, early, len(infected) - ever]
        rows = np.round(np.cumsum(shares) / len(infected) * CURVE_HEIGHT).astype(int)
        colour_at = [RECOVERED, INFECTIOUS, EXPOSED, SUSCEPTIBLE]
        start = 0
        for end, colour in zip(rows, colour_at, strict=True):
            curve[CURVE_HEIGHT - end : CURVE_HEIGHT - start, x] = colour
            start = end
    gap = np.full((6, land.shape[1], 3), 255)
    return np.concatenate([land, gap, curve]).astype(np.uint8)


def png(picture: np.ndarray) -> bytes:
    """A picture of shape (height, width, 3) as a PNG file."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        body = kind + content
        return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))

    height, width, _ = picture.shape
    rows = np.insert(picture.reshape(height, -1), 0, 0, axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=250)
    parser.add_argument("--engine", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    if options.people < 1 or not 1 <= options.days < NEVER:
        parser.error(f"--people must be at least 1, --days between 1 and {NEVER - 1}")
    return options


if __name__ == "__main__":
    main()
