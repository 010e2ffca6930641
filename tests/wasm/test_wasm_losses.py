# pyright: reportPrivateUsage=false
"""A device that is lost, and a dispatch that fails in the middle: nothing is done halfway."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from stigmergy.errors import StigmergyError, UnsupportedError
from stigmergy.testing.engines.modules import RING
from stigmergy.wasm import DeviceLostError, SwarmManager
from stigmergy.wasm.cpu.cohort import CpuCohort
from stigmergy.wasm.engine import Slots, Words
from stigmergy.wasm.gpu.cohort import GpuCohort
from stigmergy.wasm.gpu.device import Device
from stigmergy.wasm.gpu.engine import GpuEngine

COUNT = """(module
  (memory (export "memory") 1)
  (func (export "count") (param $n i32) (result i32)
    (loop $next
      (i32.store (i32.const 8) (i32.add (i32.load (i32.const 8)) (local.get $n)))
      (br_if $next (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))
    (i32.load (i32.const 8))))"""

OTHER_RING = RING.replace("(memory 1)", "(memory 1) (global i32 (i32.const 7))")

needs_gpu = pytest.mark.needs_vulkan


@pytest.fixture
def lose(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Destroys the device in use, really, when shaders are about to run: at these times."""
    encode = Device.encode

    def arm(*times: int, always: bool = False) -> None:
        seen = 0

        def lossy(self: Device, encoder: object, dispatches: object) -> None:
            nonlocal seen
            seen += 1
            if always or seen in times:
                self._device.destroy()
            encode(self, encoder, dispatches)  # pyright: ignore[reportArgumentType] - as given

        monkeypatch.setattr(Device, "encode", lossy)

    yield arm
    monkeypatch.setattr(Device, "encode", encode)


@pytest.fixture
def hardware(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets lavapipe pass for a GPU, so that `auto` takes it."""
    monkeypatch.setattr("stigmergy.wasm.engines._open_hardware", GpuEngine)


def finish(swarm: SwarmManager, budget: int = 10_000) -> object:
    while (result := swarm.dispatch(max_instructions=budget)).unfinished:
        pass
    return result.agent_results, result.instruction_counts, swarm.undeliverable


def populate(swarm: SwarmManager) -> None:
    """Rings of two modules that hand letters to each other, and some who count."""
    ring, other = swarm.load_bytecode(RING), swarm.load_bytecode(OTHER_RING)
    for agent in range(6):
        swarm.spawn_agent("ring", args=[6, 5], module=(ring, other)[agent % 2])
    swarm.load_bytecode(COUNT)
    counting = swarm.spawn_agents(4, "count", np.arange(100, 104), memory_init=b"\1\2\3")
    swarm.set_agent_memory(counting[1], b"\x07", 8)
    swarm.dispatch(max_instructions=50)
    swarm.restart_agent(counting[2], "count", [9])


@pytest.fixture(scope="module")
def expected() -> object:
    with SwarmManager("cpu") as swarm:
        populate(swarm)
        return finish(swarm)


@needs_gpu
@pytest.mark.parametrize("times", [(1,), (3,), (4, 5)])
def test_agents_are_made_again_when_their_device_is_lost(
    lose: Callable[..., None], expected: object, times: tuple[int, ...]
) -> None:
    with SwarmManager("gpu") as swarm:
        populate(swarm)
        before = swarm.active_agents
        lose(*times)
        assert finish(swarm, 70) == expected
        assert len(swarm.losses) == len(times)
        assert "made again" in swarm.losses[0]
        assert list(swarm.active_agents) == list(before) == list(range(10))


@needs_gpu
def test_memory_can_be_read_and_written_after_a_loss() -> None:
    with SwarmManager.from_wasm(COUNT, "gpu") as swarm:
        one, two = swarm.spawn_agents(2, "count", [3, 4])
        swarm.dispatch()
        _destroy_device(swarm)
        assert len(swarm.get_memories(iter([one, two]), 4, 8)) == 2  # pyright: ignore[reportArgumentType] - wrong on purpose
        assert swarm.get_agent_memory(one, 4, 8) == (6).to_bytes(4, "little")
        _destroy_device(swarm)
        swarm.set_agent_memory(two, b"\1", 9)
        assert swarm.get_agent_memory(two, 4, 8) == (10 + 256).to_bytes(4, "little")
        _destroy_device(swarm)
        swarm.restart_agent(one, "count", [1])
        assert swarm.dispatch([one]).agent_results == {one: 7}
        assert len(swarm.losses) == 3


@needs_gpu
def test_what_has_run_does_not_run_again_when_the_device_is_lost_before_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results, told = GpuCohort.results, list[int]()

    def losing(self: GpuCohort, slots: Slots, function: int) -> Words:
        told.append(len(slots))
        if len(told) == 1:
            self._device._device.destroy()
        return results(self, slots, function)

    monkeypatch.setattr(GpuCohort, "results", losing)
    with SwarmManager.from_wasm(RING, "gpu") as swarm:
        agents = swarm.spawn_agents(2, "ring", [[9, 2], [9, 2]])
        result = swarm.dispatch()
        assert told == [2, 2]
        assert list(result.agent_results) == list(agents)
        # One letter of each round goes to nobody: had it run twice, there would be four.
        assert (result.undeliverable, swarm.undeliverable) == (2, 2)
        assert [one.verb for one in swarm._record.journal.operations].count("dispatch") == 1


def _destroy_device(swarm: SwarmManager) -> None:
    engine = swarm._record.engines._gpu
    assert isinstance(engine, GpuEngine)
    engine._ready_device()._device.destroy()


@needs_gpu
def test_who_loses_every_device_says_so_and_keeps_what_was_done(
    lose: Callable[..., None], expected: object, tmp_path: Path
) -> None:
    with SwarmManager("gpu") as swarm:
        populate(swarm)
        lose(always=True)
        for _ in range(2):
            with pytest.raises(DeviceLostError, match=r"3 times in a row.*can be saved"):
                swarm.dispatch()
        assert len(swarm.active_agents) == 10
        swarm.save(tmp_path / "swarm")
        with SwarmManager.restore(tmp_path / "swarm", "cpu") as again:
            assert finish(again) == expected
        lose()
        assert finish(swarm) == expected
        swarm.kill_agents(list(swarm.active_agents))
        assert len(swarm.active_agents) == 0


@needs_gpu
def test_auto_goes_on_on_the_cpu_and_says_so(
    lose: Callable[..., None],
    hardware: None,
    expected: object,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with SwarmManager("auto") as swarm, caplog.at_level(logging.WARNING, "stigmergy.wasm"):
        populate(swarm)
        assert "on gpu" in swarm.placements[0]
        lose(always=True)
        assert finish(swarm) == expected
        assert all("on cpu" in one and "lost" in one for one in swarm.placements)
        assert "go on on the CPU" in swarm.losses[-1]
        assert [one.message for one in caplog.records] == list(swarm.losses)


@needs_gpu
def test_fast_floats_do_not_move_to_the_cpu(lose: Callable[..., None], hardware: None) -> None:
    with SwarmManager("auto", floats="fast") as swarm:
        populate(swarm)
        lose(always=True)
        with pytest.raises(DeviceLostError, match="3 times in a row"):
            swarm.dispatch()


@needs_gpu
def test_a_machine_whose_gpu_is_gone_is_told(
    lose: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        message = "no graphics driver any more"
        raise UnsupportedError(message)

    with SwarmManager.from_wasm(COUNT, "gpu") as swarm:
        agent = swarm.spawn_agent("count", args=[3])
        swarm.dispatch(max_instructions=10)
        lose(1)
        with monkeypatch.context() as broken:
            broken.setattr("stigmergy.wasm.gpu.engine.find_adapter", gone)
            with pytest.raises(DeviceLostError, match="no graphics driver any more"):
                swarm.dispatch()
        assert swarm.dispatch().agent_results == {agent: 6}


@needs_gpu
def test_without_a_journal_the_lost_are_named_and_others_go_on(lose: Callable[..., None]) -> None:
    with SwarmManager.from_wasm(RING, "gpu", journal=False) as swarm:
        lost = swarm.spawn_agents(3, "ring", [[3, 9]] * 3)
        lose(1)
        for _ in range(2):
            with pytest.raises(DeviceLostError, match=r"no journal.*kill them"):
                swarm.dispatch()
        swarm.kill_agents(lost)
        others = swarm.spawn_agents(3, "ring", [[6, 2]] * 3)
        assert list(swarm.dispatch().agent_results) == list(others)
        assert len(swarm.placements) == 1


# --- a dispatch that fails in the middle ---


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[SwarmManager, int, BaseException], None]:
    """Makes the cohort of the module loaded second fail when it runs for the n-th time."""

    def arm(swarm: SwarmManager, time: int, error: BaseException) -> None:
        digest = swarm.load_bytecode(OTHER_RING)
        seen = 0
        for kind in (CpuCohort, GpuCohort):
            run = kind.run

            def failing(
                self: CpuCohort, *given: object, run: Callable[..., object] = run
            ) -> object:
                nonlocal seen
                if self.module.digest == digest:
                    seen += 1
                    if seen == time:
                        raise error
                return run(self, *given)

            monkeypatch.setattr(kind, "run", failing)

    return arm


@pytest.mark.parametrize("time", [1, 3])
@pytest.mark.parametrize(
    "error", [UnsupportedError("no such shader"), KeyboardInterrupt(), MemoryError()], ids=repr
)
def test_a_dispatch_that_fails_in_the_middle_is_saved_as_it_is(
    engine: str,
    fail: Callable[[SwarmManager, int, BaseException], None],
    expected: object,
    error: BaseException,
    time: int,
    tmp_path: Path,
) -> None:
    with SwarmManager(engine) as swarm:
        populate(swarm)
        fail(swarm, time, error)
        with pytest.raises(type(error)):
            swarm.dispatch()
        swarm.save(tmp_path / "swarm")
        with SwarmManager.restore(tmp_path / "swarm", engine) as again:
            told = again.dispatch(max_instructions=1)
            here = swarm.dispatch(max_instructions=1)
            assert told.instruction_counts == here.instruction_counts
            assert told.agent_results == here.agent_results
            assert finish(again) == finish(swarm) == expected


def test_who_ran_before_the_failure_has_run(
    engine: str, fail: Callable[[SwarmManager, int, BaseException], None]
) -> None:
    with SwarmManager(engine) as swarm:
        first = swarm.load_bytecode(COUNT)
        agent = swarm.spawn_agent("count", args=[3], module=first)
        second = swarm.load_bytecode(OTHER_RING)
        swarm.spawn_agent("ring", args=[1, 1], module=second)
        fail(swarm, 1, UnsupportedError("no such shader"))
        with pytest.raises(StigmergyError, match="no such shader"):
            swarm.dispatch()
        assert swarm._record.journal.operations[-1].verb == "advance"
        assert swarm.get_agent_memory(agent, 4, 8) == (6).to_bytes(4, "little")
