"""The tests of the document that the swarm comes from, where they use valid modules.

Its modules of four bytes (`\\0asm` alone) are replaced by the empty module of eight.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from stigmergy.wasm import SwarmManager, SwarmResult, WASMRuntime

EMPTY = b"\x00asm\x01\x00\x00\x00"


@pytest.fixture
def manager() -> Iterator[SwarmManager]:
    with SwarmManager(engine="cpu") as swarm:
        swarm.load_bytecode(EMPTY)
        yield swarm


def test_the_constants_are_the_defaults() -> None:
    assert SwarmManager.MAX_AGENTS == 1024
    assert SwarmManager.AGENT_MEMORY_SIZE == 64 * 1024
    assert SwarmManager.GLOBALS_PER_AGENT == 16
    assert SwarmManager.OUTPUT_SIZE_PER_AGENT == 4096
    assert SwarmManager().max_agents == 1024


def test_bytecode_is_loaded(manager: SwarmManager) -> None:
    assert manager.bytecode_loaded is True
    assert manager.bytecode_size == len(EMPTY)


def test_agents_get_numbers_in_order(manager: SwarmManager) -> None:
    assert [manager.spawn_agent() for _ in range(5)] == [0, 1, 2, 3, 4]
    assert len(manager.active_agents) == 5


def test_an_entry_point_is_kept(manager: SwarmManager) -> None:
    agent = manager.spawn_agent(entry_point=42)
    assert manager.active_agents[agent].entry_point == 42


def test_arguments_are_taken(manager: SwarmManager) -> None:
    assert manager.spawn_agent(args=[10, 20, 30]) == 0


def test_a_full_swarm_says_capacity(manager: SwarmManager) -> None:
    for _ in range(SwarmManager.MAX_AGENTS):
        manager.spawn_agent()
    with pytest.raises(RuntimeError, match="capacity"):
        manager.spawn_agent()


def test_agents_need_bytecode() -> None:
    with pytest.raises(RuntimeError, match="bytecode"):
        SwarmManager().spawn_agent()


def test_a_killed_agent_is_gone_and_its_slot_is_used_again(manager: SwarmManager) -> None:
    agent = manager.spawn_agent()
    slot = manager.active_agents[agent].pool_slot
    manager.kill_agent(agent)
    assert len(manager.active_agents) == 0
    assert agent not in manager.active_agents
    again = manager.spawn_agent()
    assert manager.active_agents[again].pool_slot == slot


def test_an_agent_that_is_not_there_is_a_key_error(manager: SwarmManager) -> None:
    with pytest.raises(KeyError):
        manager.kill_agent(999)
    with pytest.raises(KeyError):
        manager.get_agent_memory(999)
    with pytest.raises(KeyError):
        manager.dispatch([999])


def test_memory_is_written_and_read(manager: SwarmManager) -> None:
    agent = manager.spawn_agent()
    manager.set_agent_memory(agent, b"Hello World!")
    assert manager.get_agent_memory(agent, 12) == b"Hello World!"
    assert len(manager.get_agent_memory(agent)) == SwarmManager.AGENT_MEMORY_SIZE


def test_memories_are_apart(manager: SwarmManager) -> None:
    first, second = manager.spawn_agent(), manager.spawn_agent()
    manager.set_agent_memory(first, b"AAAA")
    manager.set_agent_memory(second, b"BBBB")
    assert manager.get_agent_memory(first, 4) == b"AAAA"
    assert manager.get_agent_memory(second, 4) == b"BBBB"


def test_a_dispatch_gives_a_result_for_each(manager: SwarmManager) -> None:
    ids = [manager.spawn_agent() for _ in range(10)]
    result = manager.dispatch()
    assert isinstance(result, SwarmResult)
    assert len(result.agent_results) == 10
    assert set(manager.dispatch(agent_ids=ids[:2]).agent_results) == set(ids[:2])


def test_an_empty_swarm_gives_an_empty_result(manager: SwarmManager) -> None:
    assert manager.dispatch().agent_results == {}


def test_a_dispatch_with_a_limit_of_instructions(manager: SwarmManager) -> None:
    manager.spawn_agent(entry_point=0)
    assert len(manager.dispatch(max_instructions=10).agent_results) == 1


def test_1024_agents(manager: SwarmManager) -> None:
    begun = time.perf_counter()
    for number in range(1024):
        manager.spawn_agent(args=[number])
    print(f"spawned in {(time.perf_counter() - begun) * 1000:.1f} ms")
    result = manager.dispatch()
    print(f"dispatched in {result.total_time_ms:.1f} ms")
    assert len(result.agent_results) == 1024


def test_slots_come_back(manager: SwarmManager) -> None:
    for _ in range(10):
        for agent in [manager.spawn_agent() for _ in range(100)]:
            manager.kill_agent(agent)
    assert len(manager.active_agents) == 0
    assert len(manager.free_slots) == 1024


def test_a_swarm_from_bytes() -> None:
    with SwarmManager.from_wasm(EMPTY) as manager:
        assert manager.bytecode_loaded is True


def test_a_runtime_in_swarm_mode() -> None:
    with WASMRuntime.from_wasm(EMPTY, swarm_mode=True) as runtime:
        assert runtime.swarm_mode is True
        assert runtime.swarm.bytecode_loaded is True
