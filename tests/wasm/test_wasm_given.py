"""What callers give a swarm: mistakes are named, and numbers of numpy are numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stigmergy.errors import UsageError
from stigmergy.wasm import SwarmManager, WASMRuntime

SQUARE = """(module (memory 1) (func (export "square") (param i32) (result i32)
    (i32.mul (local.get 0) (local.get 0))))"""


@pytest.fixture
def swarm() -> Iterator[SwarmManager]:
    with SwarmManager.from_wasm(SQUARE, engine="cpu") as opened:
        yield opened


MISTAKES: list[tuple[Callable[[Any], object], str]] = [
    (lambda swarm: swarm.load_bytecode("square.wat"), "read_bytes"),
    (lambda swarm: swarm.load_bytecode(Path("square.wat")), "read_bytes"),
    (lambda swarm: swarm.load_bytecode(None), "NoneType; wanted bytes"),
    (lambda swarm: swarm.spawn_agent("square", args=5), r"args=\[5\]"),
    (lambda swarm: swarm.spawn_agent("square", args="5"), "wanted a list"),
    (lambda swarm: swarm.spawn_agent("square"), "no arguments are given, and square has"),
    (lambda swarm: swarm.spawn_agent(None, args=[5]), "entry_point is None"),
    (lambda swarm: swarm.spawn_agent("square", "abc", [5]), "memory_init is of the type str"),
    (lambda swarm: swarm.spawn_agents(2, "square", 5), "arguments of each agent"),
    (lambda swarm: swarm.spawn_agents(2, "square", [[1], [1, 2]]), "not equally many"),
    (lambda swarm: swarm.spawn_agents(2.0, "square", [1, 2]), "count is 2.0"),
    (lambda swarm: swarm.spawn_agents(1, "square", [2**40]), "1099511627776 does not fit"),
    (lambda swarm: swarm.dispatch(max_instructions=1e6), "must be an integer"),
    (lambda swarm: type(swarm)("cpu", "10"), "max_agents is '10'"),
]


@pytest.mark.parametrize(("mistake", "says"), MISTAKES)
def test_a_mistake_is_named(
    swarm: SwarmManager, mistake: Callable[[Any], object], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        mistake(swarm)
    assert len(swarm.active_agents) == 0


def test_numbers_of_numpy_are_numbers_and_can_be_saved(swarm: SwarmManager, tmp_path: Path) -> None:
    first = swarm.spawn_agent(np.int64(0), args=np.array([3]))  # pyright: ignore[reportArgumentType] - wrong on purpose
    second = swarm.spawn_agents(np.int64(1), "square", [4])[0]  # pyright: ignore[reportArgumentType] - wrong on purpose
    assert type(second) is int
    assert swarm.dispatch({first, second}).agent_results == {first: 9, second: 16}  # pyright: ignore[reportArgumentType] - wrong on purpose
    swarm.save(str(tmp_path / "saved"))
    with SwarmManager.restore(str(tmp_path / "saved"), engine="cpu") as again:
        assert again.dispatch().agent_results == {first: 9, second: 16}


def test_what_is_written_is_as_long_as_its_bytes(swarm: SwarmManager) -> None:
    agent = swarm.spawn_agent("square", args=[1])
    words = np.arange(3, dtype=np.int64)
    swarm.set_agent_memory(agent, words)  # pyright: ignore[reportArgumentType] - wrong on purpose
    assert swarm.get_agent_memory(agent, 24) == words.tobytes()
    with pytest.raises(UsageError, match="24 bytes from 65530"):
        swarm.set_agent_memory(agent, words, 65_530)  # pyright: ignore[reportArgumentType] - wrong on purpose


def test_a_closed_swarm_says_so() -> None:
    swarm = SwarmManager.from_wasm(SQUARE, engine="cpu")
    agent = swarm.spawn_agent("square", args=[3])
    swarm.dispatch()
    swarm.close()
    swarm.close()
    for use in (
        swarm.dispatch,
        swarm.spawn_agent,
        lambda: swarm.spawn_agents(1),
        lambda: swarm.load_bytecode(SQUARE),
        lambda: swarm.restart_agent(agent, "square", [4]),
        lambda: swarm.get_agent_memory(agent),
        lambda: swarm.set_agent_memory(agent, b"x"),
        lambda: swarm.save("nowhere"),
    ):
        with pytest.raises(UsageError, match="closed"):
            use()
    assert repr(swarm) == "<SwarmManager: closed of at most 1,024>"
    with WASMRuntime.from_wasm(SQUARE, engine="cpu") as runtime:
        assert runtime.call("square", 3) == 9
    with pytest.raises(UsageError, match="closed"):
        runtime.call("square", 3)


def test_a_result_is_told_in_one_line(swarm: SwarmManager) -> None:
    swarm.spawn_agents(1000, "square", range(1000))
    told = repr(swarm.dispatch())
    assert told.startswith("<SwarmResult: 1,000 finished, in ")
    assert repr(swarm) == "<SwarmManager: 1,000 agents of at most 1,024>"
