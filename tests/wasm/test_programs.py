"""Programs that were not written for this project's engines, compiled by clang, on each engine."""

from __future__ import annotations

import hashlib
import random
import subprocess
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from stigmergy.testing.wasm.campaign import open_engine
from stigmergy.testing.wasm.slicing import Slicing
from stigmergy.wasm.engine import CohortSettings, Engine, Status
from stigmergy.wasm.module.model import Module
from stigmergy.wasm.module.reading import read_module

pytestmark = pytest.mark.needs_wasm_cc

SOURCES = Path(__file__).parent / "programs"
BUDGET = 1 << 40
SLICINGS = (Slicing(0, 0), Slicing(1_000, 40), Slicing(97, 30))


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Module]:
    folder = tmp_path_factory.mktemp("programs")
    modules: dict[str, Module] = {}

    def compile_(name: str) -> Module:
        if name not in modules:
            file = folder / f"{name}.wasm"
            options = ["--target=wasm32", "-O2", "-ffreestanding", "-nostdlib", "-Wall", "-Werror"]
            exports = [
                "--no-entry",
                "--export=run",
                "--export=buffer",
                "--export-if-defined=packed",
            ]
            linking = [f"-Wl,{one}" for one in (*exports, "-z,stack-size=8192")]
            source = str(SOURCES / f"{name}.c")
            subprocess.run(["clang", *options, *linking, "-o", str(file), source], check=True)
            modules[name] = read_module(file.read_bytes())
        return modules[name]

    return compile_


@pytest.fixture(scope="module", params=["cpu", pytest.param("gpu", marks=pytest.mark.needs_vulkan)])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    made = open_engine(request.param, tmp_path_factory.mktemp("verdicts"))
    yield made
    made.close()


def run(
    engine: Engine,
    module: Module,
    arguments: Sequence[tuple[int, ...]],
    buffers: Sequence[bytes] = (),
    *,
    read: str = "buffer",
) -> list[tuple[int, bytes]]:
    """Return the result and a buffer for each tuple of arguments, the same in every slicing."""
    cohort = engine.cohort(module, CohortSettings())
    try:
        agents = len(arguments)
        slots = np.arange(agents * len(SLICINGS), dtype=np.int64)
        cohort.reserve(len(slots))
        cohort.create(slots, slots.astype(np.uint32))
        for slot in slots if buffers else ():
            content = np.frombuffer(buffers[slot % agents], dtype=np.uint8)
            cohort.write_memory(slots[slot : slot + 1], address(module, "buffer"), content[None])
        function = module.exported_functions["run"]
        words = np.array(list(arguments) * len(SLICINGS), dtype=np.uint64)
        cohort.begin(slots, function, words)
        for slice_ in range(max(one.times for one in SLICINGS) + 1):
            targets = [one.target(slice_, BUDGET) for one in SLICINGS]
            statuses = cohort.run(slots, np.repeat(np.array(targets, dtype=np.uint64), agents))
        assert [Status(int(one)) for one in statuses] == [Status.FINISHED] * len(slots)
        counts = cohort.counts(slots).reshape(len(SLICINGS), agents)
        assert (counts == counts[0]).all()
        results = cohort.results(slots, function)[:, 0]
        memory = cohort.read_memory(slots, address(module, read), 8_192)
        seen = [(int(value), row.tobytes()) for value, row in zip(results, memory, strict=True)]
        assert seen == seen[:agents] * len(SLICINGS)
        return seen[:agents]
    finally:
        cohort.close()


def address(module: Module, name: str) -> int:
    """Where an array lies: clang exports a global that holds it."""
    index = next(one.index for one in module.exports if one.name == name)
    return module.globals[index].start[0].argument()


def test_crc32(engine: Engine, compiled: Callable[[str], Module], rng: random.Random) -> None:
    texts = [b"123456789", b"", b"\0" * 32, rng.randbytes(700)]
    seen = run(engine, compiled("crc32"), [(len(text),) for text in texts], texts)
    assert [value for value, _ in seen] == [zlib.crc32(text) for text in texts]
    assert seen[0][0] == 0xCBF43926  # the check value of the catalogue of CRC algorithms


def test_sha256(engine: Engine, compiled: Callable[[str], Module], rng: random.Random) -> None:
    two_blocks = b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"
    texts = [b"abc", b"", two_blocks, rng.randbytes(64), rng.randbytes(300)]
    seen = run(engine, compiled("sha256"), [(len(text),) for text in texts], texts)
    assert [content[:32] for _, content in seen] == [hashlib.sha256(one).digest() for one in texts]
    # FIPS 180-4's own examples.
    assert seen[0][1][:4].hex() == "ba7816bf"
    assert seen[2][1][:4].hex() == "248d6a61"


def test_queens(engine: Engine, compiled: Callable[[str], Module]) -> None:
    # The On-Line Encyclopedia of Integer Sequences, A000170.
    ways = {1: 1, 2: 0, 3: 0, 4: 2, 5: 10, 6: 4, 7: 40, 8: 92, 9: 352, 10: 724}
    seen = run(engine, compiled("queens"), [(n,) for n in ways])
    assert [value for value, _ in seen] == list(ways.values())


def test_mandelbrot(engine: Engine, compiled: Callable[[str], Module]) -> None:
    grids = [(n, kind) for n in (1, 5, 12) for kind in (0, 1, 2)]
    seen = run(engine, compiled("mandelbrot"), grids)
    assert [value for value, _ in seen] == [mandelbrot(n, kind) for n, kind in grids]


def mandelbrot(n: int, kind: int) -> int:
    total = 0
    number = np.float32 if kind == 1 else np.float64
    for y in range(n):
        for x in range(n):
            if kind == 0:
                times = escape_fixed(3 * 4096 * x // n - 2 * 4096, 2 * 4096 * y // n - 4096)
            else:
                three, two, one = number(3), number(2), number(1)
                real = three * number(x) / number(n) - two
                times = escape(real, two * number(y) / number(n) - one)
            total = (total * 31 + times) % (1 << 32)
    return total


def escape_fixed(cr: int, ci: int) -> int:
    r = i = 0
    for n in range(24):
        rr, ii = (r * r) >> 12, (i * i) >> 12
        if rr + ii > 4 << 12:
            return n
        i = ((r * i) >> 11) + ci
        r = rr - ii + cr
    return 24


def escape(cr: np.floating, ci: np.floating) -> int:
    r = i = type(cr)(0)
    for n in range(24):
        rr, ii = r * r, i * i
        if rr + ii > 4:
            return n
        i = type(cr)(2) * r * i + ci
        r = rr - ii + cr
    return 24


def test_lz77(engine: Engine, compiled: Callable[[str], Module], rng: random.Random) -> None:
    words = [b"lorem ", b"ipsum ", b"dolor ", b"sit ", b"amet "]
    texts = [
        b"",
        b"a" * 900,
        b"".join(rng.choice(words) for _ in range(200)),
        rng.randbytes(300),
    ]
    seen = run(engine, compiled("lz77"), [(len(one),) for one in texts], texts, read="packed")
    assert [unpack(packed[:size]) for size, packed in seen] == texts
    assert seen[1][0] < 30
    assert seen[2][0] < len(texts[2]) / 2


def unpack(packed: bytes) -> bytes:
    text, at = bytearray(), 0
    while at < len(packed):
        token = packed[at]
        if token < 128:
            text += packed[at + 1 : at + 2 + token]
            at += 2 + token
        else:
            distance = packed[at + 1] | packed[at + 2] << 8
            for _ in range(token - 125):
                text.append(text[-distance])
            at += 3
    return bytes(text)


def test_quicksort(engine: Engine, compiled: Callable[[str], Module], rng: random.Random) -> None:
    lists = [
        [],
        [5],
        list(range(100)),
        [7] * 50,
        [rng.randrange(-(1 << 31), 1 << 31) for _ in range(200)],
    ]
    content = [np.array(one, dtype="<i4").tobytes() for one in lists]
    seen = run(engine, compiled("quicksort"), [(len(one),) for one in lists], content)
    assert [value for value, _ in seen] == [1] * len(lists)
    for (_, memory), given in zip(seen, lists, strict=True):
        assert np.frombuffer(memory, dtype="<i4")[: len(given)].tolist() == sorted(given)


def test_matrices(engine: Engine, compiled: Callable[[str], Module]) -> None:
    asked = [(n, seed, kind) for n in (1, 6) for seed in (1, 99) for kind in (0, 1)]
    seen = run(engine, compiled("matrices"), asked)
    assert [value for value, _ in seen] == [product(*one) for one in asked]


def product(n: int, seed: int, kind: int) -> int:
    number, bits = (np.float64, np.uint64) if kind else (np.float32, np.uint32)
    divisor = number(3 if kind else 4096)

    def draw() -> np.floating:
        nonlocal seed
        seed = (seed * 1664525 + 1013904223) % (1 << 32)
        return number(seed >> 8) / divisor

    a = [[draw() for _ in range(n)] for _ in range(n)]
    b = [[draw() for _ in range(n)] for _ in range(n)]
    total = 0
    for y in range(n):
        for x in range(n):
            element = number(0)
            for k in range(n):
                element = element + a[y][k] * b[k][x]
            total += int(np.array([element]).view(bits)[0])
    return total % (1 << 64)


def test_life(engine: Engine, compiled: Callable[[str], Module], rng: random.Random) -> None:
    glider = np.zeros((16, 16), dtype=np.uint8)
    glider[[0, 1, 2, 2, 2], [1, 2, 0, 1, 2]] = 1
    soup = np.array([rng.randrange(2) for _ in range(256)], dtype=np.uint8).reshape(16, 16)
    boards = [(glider, 4), (glider, 64), (soup, 10), (soup, 0)]
    given = [board.tobytes() for board, _ in boards]
    seen = run(engine, compiled("life"), [(times,) for _, times in boards], given)
    for (alive, memory), (board, times) in zip(seen, boards, strict=True):
        after = np.frombuffer(memory[:256], dtype=np.uint8).reshape(16, 16)
        assert (after == life(board, times)).all()
        assert alive == int(after.sum())
    # In 4 generations it goes one cell on; the torus has 16.
    assert seen[1][1][:256] == glider.tobytes()


def life(board: np.ndarray, times: int) -> np.ndarray:
    for _ in range(times):
        around = sum(
            np.roll(board, (dy, dx), (0, 1))
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
            if (dy, dx) != (0, 0)
        )
        board = ((around == 3) | ((around == 2) & (board == 1))).astype(np.uint8)
    return board
