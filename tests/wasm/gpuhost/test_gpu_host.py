"""The GPU engine's host on a real driver, with a shader written by hand in the compiler's place."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stigmergy.errors import TransientError, UnsupportedError
from stigmergy.testing.engines.values import FIRST_ID, Crew, mail
from stigmergy.wasm.engine import Status, Trap, TrapKind
from stigmergy.wasm.gpu import running
from stigmergy.wasm.gpu.cohort import GpuCohort
from stigmergy.wasm.gpu.engine import GpuEngine
from stigmergy.wasm.gpu.pacing import Pace
from stigmergy.wasm.gpu.trial import Trials
from stigmergy.wasm.gpu.verdicts import GOOD, Verdicts

pytestmark = pytest.mark.needs_vulkan

Host = Any
Spun = Callable[[int], int]
GLOBAL = 0x1122334455667788
IMAGE = bytes(range(1, 11))


def windows(agents: Crew) -> list[Any]:
    cohort = agents.cohort
    assert isinstance(cohort, GpuCohort)
    return cohort._windows


# --- windows and blocks ---

SHAPES = [(1, None), (1, 512), (32, None), (32, 4096)]
"""Memory blocks, and the most bytes of a buffer: one window, and many."""


@pytest.fixture(params=SHAPES, ids=["one", "many", "one-interleaved", "many-interleaved"])
def agents(request: pytest.FixtureRequest, host: Host) -> Crew:
    block, window_bytes = request.param
    engine = host.engine(image=IMAGE, memory_block=block, window_bytes=window_bytes)
    return host.crew(engine, size=150, memory_bytes=64)


def test_limits_make_windows(host: Host) -> None:
    small = host.crew(host.engine(memory_block=1, window_bytes=512), size=150)
    # 512 bytes are four mails of 26 words
    assert [one.stride for one in windows(small)] == [4] * 38
    assert len(windows(host.crew(host.engine(memory_block=1), size=150))) == 1


def test_agents_in_any_window_run_and_answer(agents: Crew, spun: Spun) -> None:
    rounds = [slot % 13 for slot in range(150)]
    answers = [(spun(n) | (FIRST_ID + slot) << 32,) for slot, n in enumerate(rounds)]
    assert agents.call("spin", rounds) == answers
    assert agents.counts() == [10 * n for n in rounds]
    some = agents.slots(149, 0, 31, 32, 33, 77)
    assert agents.call("spin", 5, slots=some) == [
        (spun(5) | (FIRST_ID + int(slot)) << 32,) for slot in some
    ]


def test_memories_hold_the_image_and_what_is_written(agents: Crew) -> None:
    image = IMAGE.ljust(64, b"\0")
    assert agents.memory() == [image] * 150
    generator = np.random.default_rng(3)
    expected = np.tile(np.frombuffer(image, dtype=np.uint8), (150, 1))
    choices = [agents.slots(), agents.slots(7), agents.slots()[::-1].copy(), agents.slots()[40:90]]
    choices += [agents.slots(*generator.permutation(150)[:60].tolist())]
    for slots in choices:
        for offset, size in ((0, 64), (4, 8), (3, 6), (63, 1), (0, 1)):
            content = generator.integers(0, 256, (len(slots), size), dtype=np.uint8)
            agents.cohort.write_memory(slots, offset, content)
            expected[slots, offset : offset + size] = content
            seen = agents.cohort.read_memory(agents.slots(), 0, 64)
            assert (seen == expected).all()
            part = agents.cohort.read_memory(slots, offset, size)
            assert (part == content).all()


def test_shaders_and_the_host_see_the_same_memory(agents: Crew) -> None:
    content = np.arange(150, dtype=np.uint32)[:, None].view(np.uint8)
    agents.cohort.write_memory(agents.slots(), 20, content)
    assert agents.call("store", 20, [slot * 3 for slot in range(150)]) == [
        (slot,) for slot in range(150)
    ]
    stored = agents.cohort.read_memory(agents.slots(), 20, 4).view("<u4")[:, 0]
    assert stored.tolist() == [slot * 3 + 1000 for slot in range(150)]


def test_scattered_slots_begin_anew_and_their_neighbours_do_not(agents: Crew) -> None:
    agents.call("store", 4, 5)
    agents.call("say", 3)
    agents.call("bump")
    letters = [(slot, 1, b"x") for slot in range(150)]
    agents.cohort.write_mail(agents.slots(), "inbox", mail(6, *letters))
    slots = agents.slots(*range(3, 150, 7), 0, 1, 149)
    agents.cohort.create(slots, slots.astype(np.uint32))
    fresh = set(slots.tolist())
    image = IMAGE.ljust(64, b"\0")
    for slot, memory in enumerate(agents.memory()):
        assert (memory == image) == (slot in fresh)
    said = agents.outputs()
    assert [slot for slot in range(150) if not said[slot]] == sorted(fresh)
    left = agents.cohort.read_mail(agents.slots(), "inbox").slots.tolist()
    assert left == [slot for slot in range(150) if slot not in fresh]
    numbers = agents.globals()
    assert [slot for slot in range(150) if numbers[slot] == (GLOBAL,)] == sorted(fresh)
    assert {agents.call("spin", 0, slots=slots)[at][0] >> 32 for at in range(3)} == set(
        slots[:3].tolist()
    )


def test_scattered_globals(agents: Crew) -> None:
    slots = agents.slots(*range(0, 150, 2), 149, 1)
    values = np.arange(len(slots), dtype=np.uint64)[:, None] << np.uint64(33)
    agents.cohort.write_globals(slots, [0], values)
    assert agents.call("bump", slots=slots) == [(at << 33,) for at in range(len(slots))]
    assert agents.globals()[3] == (GLOBAL,)


def test_outputs_are_each_agents_own(agents: Crew) -> None:
    agents.call("say", [slot % 13 for slot in range(150)])
    assert agents.outputs() == [
        bytes([(FIRST_ID + slot) % 256]) * min(slot % 13, 10) for slot in range(150)
    ]
    some = agents.slots(100, 2, 3)
    assert list(agents.cohort.outputs(some)) == [agents.outputs()[slot] for slot in (100, 2, 3)]


@pytest.mark.parametrize("count", [1, 5, 150])
def test_mail_goes_round(agents: Crew, count: int) -> None:
    slots = np.arange(0, 150, 150 // count, dtype=np.int64)
    letters = [
        (slot, 7 + n, bytes([slot, n] * (n + 1))) for slot in slots.tolist() for n in range(3)
    ]
    agents.cohort.write_mail(slots, "inbox", mail(6, *letters))
    agents.begin("forward", 2)
    assert agents.run() == [Status.WAITING] * 150
    found = agents.cohort.read_mail(agents.slots(), "outbox")
    assert found.slots.tolist() == [slot for slot, _, _ in letters]
    assert found.peers.tolist() == [peer + 2 for _, peer, _ in letters]
    assert found.lengths.tolist() == [len(content) for _, _, content in letters]
    assert [row.tobytes() for row in found.contents] == [
        content.ljust(6, b"\0") for _, _, content in letters
    ]
    assert len(agents.cohort.read_mail(agents.slots(), "inbox")) == 0
    agents.cohort.wake(agents.slots())
    assert agents.run() == [Status.FINISHED] * 150
    agents.cohort.write_mail(agents.slots(), "outbox", mail(6))
    assert len(agents.cohort.read_mail(agents.slots(), "outbox")) == 0


def test_many_boxes_are_written_at_once(host: Host) -> None:
    agents = host.crew(host.engine(), size=700)
    agents.cohort.write_mail(agents.slots(), "outbox", mail(6, (0, 5, b"first"), (9, 5, b"nine")))
    odd = agents.slots()[1::2].copy()
    letters = [(slot, slot, bytes([slot % 256] * 5)) for slot in odd.tolist() if slot != 9]
    agents.cohort.write_mail(odd, "outbox", mail(6, *letters))
    agents.cohort.write_mail(agents.slots(), "inbox", mail(6, (9, 1, b"x")))
    found = agents.cohort.read_mail(agents.slots(), "outbox")
    assert found.peers.tolist() == [5, *(peer for _, peer, _ in letters)]
    assert found.contents[1:, 0].tolist() == [slot % 256 for slot, _, _ in letters]
    some = agents.slots(9, 0, 2, 3)
    assert agents.cohort.read_mail(some, "outbox").slots.tolist() == [0, 3]
    assert agents.cohort.read_mail(agents.slots(), "inbox").slots.tolist() == [9]


def test_growth_keeps_what_is_there(host: Host, spun: Spun) -> None:
    agents = host.crew(host.engine(image=IMAGE, window_bytes=4096), size=10)
    agents.begin("spin", 100)
    assert agents.run(300) == [Status.READY] * 10
    agents.cohort.write_memory(agents.slots(), 8, np.full((10, 4), 9, dtype=np.uint8))
    agents.cohort.reserve(1000)
    assert len(windows(agents)) > 5
    late = np.arange(10, 1000, dtype=np.int64)
    agents.cohort.create(late, late.astype(np.uint32))
    agents.begin("spin", 1, slots=late)
    assert agents.counts() == [300] * 10
    every = np.arange(1000, dtype=np.int64)
    assert set(agents.run(slots=every)) == {Status.FINISHED}
    assert {low for (low,) in agents.results("spin", late[:4])} == {
        spun(1) | slot << 32 for slot in range(10, 14)
    }
    assert {word[0] & 0xFFFFFFFF for word in agents.results("spin")} == {spun(100)}
    assert agents.memory(8, 4) == [b"\x09" * 4] * 10


def test_an_agent_that_fits_no_buffer_is_refused(host: Host) -> None:
    with pytest.raises(UnsupportedError, match="larger than"):
        host.crew(host.engine(window_bytes=256), size=1, memory_bytes=1024)


# --- running ---


def test_a_slice_grows_while_it_is_fast(host: Host) -> None:
    agents = host.crew(host.engine(), size=3)
    agents.begin("spin", 1_000_000)
    assert agents.run(5_000_000) == [Status.READY] * 3
    slices = agents.cohort.slices
    assert slices[0] == 4096
    assert len(slices) > 2
    assert slices[-1] > slices[0]
    assert agents.counts() == [5_000_000] * 3


def test_slices_of_any_length_give_the_same(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pace, "after", lambda self, elapsed_s, agents: self)
    agents = host.crew(host.engine(), size=5)
    agents.begin("spin", [0, 1, 409, 410, 5000])
    agents.run()
    assert len(agents.cohort.slices) > 10
    sliced = agents.results("spin"), agents.counts()
    monkeypatch.setattr(agents.cohort._runner, "_pace", Pace(1 << 30, 1 << 30))
    monkeypatch.setattr(agents.cohort._runner, "_paces", {})
    agents.begin("spin", [0, 1, 409, 410, 5000])
    agents.run()
    assert len(agents.cohort.slices) == 1
    assert (agents.results("spin"), agents.counts()) == sliced


def test_the_finished_are_no_longer_dispatched(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    agents = host.crew(host.engine(), size=200)
    listed: list[int] = []
    write = running.Runner._write_agents

    def spy(self: Any, job: Any) -> None:
        listed.append(len(job.local))
        write(self, job)

    monkeypatch.setattr(running.Runner, "_write_agents", spy)
    agents.begin("spin", [100_000 if slot % 50 == 0 else 1 for slot in range(200)])
    agents.run()
    assert listed[0] == 200
    assert set(listed[1:]) == {4}


def test_who_makes_no_progress_is_reported(host: Host) -> None:
    agents = host.crew(host.engine(), size=3)
    agents.begin("spin", 5, slots=agents.slots(0, 1))
    agents.begin("stall", slots=agents.slots(2))
    with pytest.raises(UnsupportedError, match=r"slot 2 came no further than 0"):
        agents.run()
    assert agents.run(0) == [Status.FINISHED, Status.FINISHED, Status.READY]


def test_a_dispatch_wider_than_a_row_goes_on_in_the_next(host: Host, spun: Spun) -> None:
    engine = host.engine()
    device = engine._ready_device()
    device.facts = replace(device.facts, groups_per_dimension=3)
    agents = host.crew(engine, size=1000)
    assert {word & 0xFFFFFFFF for (word,) in agents.call("spin", 7)} == {spun(7)}


def test_a_pipeline_serves_the_entries_that_run_and_is_kept(host: Host) -> None:
    agents = host.crew(host.engine(), size=4)
    (compiled,) = host.compiled
    spin, say = agents.function("spin"), agents.function("say")
    loaded = agents.cohort._shaders._loaded
    agents.call("spin", 1)
    assert list(loaded) == [{spin}]
    agents.begin("spin", 1, slots=agents.slots(0, 1))
    agents.begin("say", 1, slots=agents.slots(2, 3))
    agents.run(slots=agents.slots(2, 3))
    assert list(loaded) == [{spin}, {spin, say}]
    for _ in range(3):
        agents.call("spin", 1)
        agents.call("say", 1)
    assert len(loaded) == 2
    assert compiled.asked.count(frozenset({spin, say})) == 1


def test_agents_of_a_module_that_cannot_begin_trap_at_the_first_call(host: Host) -> None:
    agents = host.crew(host.engine(stillborn=True), size=2)
    assert agents.statuses() == [Status.IDLE] * 2
    agents.begin("spin", 1)
    assert agents.run() == [Status.TRAPPED] * 2
    assert agents.traps() == [Trap(TrapKind.MEMORY_OUT_OF_BOUNDS)] * 2


def test_two_threads_share_a_device(host: Host, spun: Spun) -> None:
    engine = host.engine()
    found: dict[int, set[int]] = {}

    def work(number: int) -> None:
        agents = host.crew(engine, size=50 + number)
        for rounds in range(10):
            answers = {word & 0xFFFFFFFF for (word,) in agents.call("spin", rounds * 99 + number)}
            found[rounds * 99 + number] = answers

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 30
    assert all(answers == {spun(rounds)} for rounds, answers in found.items())


# --- what goes wrong ---


def test_a_lost_device_loses_its_agents_and_the_engine_makes_another(host: Host) -> None:
    engine = host.engine()
    agents = host.crew(engine, size=2)
    agents.call("spin", 1)
    agents.cohort._device._device.destroy()
    with pytest.raises(TransientError, match="state of all agents"):
        agents.call("spin", 2)
    with pytest.raises(TransientError, match="state of all agents"):
        agents.memory()
    again = host.crew(engine, size=2)
    again.call("spin", 1)


def test_a_closed_engine_says_so(host: Host) -> None:
    engine = host.engine()
    agents = host.crew(engine, size=2)
    engine.close()
    engine.close()
    with pytest.raises(TransientError, match="closed"):
        agents.call("spin", 1)


def test_a_shader_that_the_driver_refuses_is_reported_with_its_words(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = host.crew(host.engine(), size=1)
    (compiled,) = host.compiled
    shader = compiled.shader(frozenset({2}))
    broken = type(shader)("fn main( {", False, False, False, shader.constants)
    monkeypatch.setattr(type(compiled), "shader", lambda self, entries: broken)
    agents.begin("spin", 1)
    with pytest.raises(UnsupportedError, match="refuses the shader"):
        agents.run()


def test_a_machine_without_a_driver_is_told_what_to_install(tmp_path: Path) -> None:
    code = "from stigmergy.wasm.gpu.engine import GpuEngine; GpuEngine()"
    environment = {**os.environ, "VK_ICD_FILENAMES": str(tmp_path / "none.json")}
    environment |= {"VK_DRIVER_FILES": str(tmp_path / "none.json"), "HOME": str(tmp_path)}
    environment |= {"WGPU_BACKEND_TYPE": "Vulkan"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    last = done.stderr.strip().splitlines()[-1]
    assert "UnsupportedError" in last
    assert "apt-get install mesa-vulkan-drivers" in last


def test_a_machine_without_wgpu_is_told_what_to_install(tmp_path: Path) -> None:
    code = (
        "import importlib.metadata as m\n"
        "def missing(name): raise m.PackageNotFoundError(name)\n"
        "m.version = missing\n"
        "from stigmergy.wasm.gpu.engine import GpuEngine; GpuEngine()"
    )
    environment = {**os.environ, "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )
    assert "pip install 'stigmergy[gpu]'" in done.stderr.strip().splitlines()[-1]


def test_a_working_driver_is_asked_only_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    GpuEngine(cache=tmp_path).close()
    assert len(list(tmp_path.iterdir())) == 1
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("asked again"))
    GpuEngine(cache=tmp_path).close()


# --- trials ---

GOOD_SHADER = """
@group(0) @binding(0) var<storage, read_write> state: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) { if (id.x > 99u) { state[0] = 1u; } }
"""
PANICKING_SHADER = """
@group(0) @binding(0) var<storage, read_write> state: array<u32>;
@compute @workgroup_size(1)
fn main() { state[0] = u32(countLeadingZeros(u64(state[1]))); }
"""


def _many_ways_out(count: int) -> str:
    """A block with so many jumps out of it: llvmpipe of Mesa 25 crashes at 80."""
    jumps = "".join(
        f"if (a == {at}u) {{ x = x * {at + 3}u; break; }} x ^= state[x & 15u];\n"
        for at in range(count)
    )
    return GOOD_SHADER.replace(
        "state[0] = 1u;",
        f"let a = state[1]; var x = 0u; loop {{ {jumps} break; }} state[0] = x;",
    )


def test_a_shader_of_ordinary_size_is_not_tried(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = host.engine().facts
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("tried"))
    Trials(facts, Verdicts(tmp_path), "auto").check(_many_ways_out(30), {0: "read_write"})


@pytest.mark.parametrize("shader", [PANICKING_SHADER, _many_ways_out(100)], ids=["naga", "mesa"])
def test_a_shader_that_ends_the_process_is_found_out_by_another(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shader: str
) -> None:
    facts = host.engine().facts
    if shader != PANICKING_SHADER and "llvmpipe" not in facts.driver:
        pytest.skip("this crash is llvmpipe's")
    trials = Trials(facts, Verdicts(tmp_path), "auto")
    for _ in range(2):
        with pytest.raises(UnsupportedError, match="cannot compile"):
            trials.check(shader, {0: "read_write"})
        monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("tried again"))


def test_a_shader_that_is_fine_is_tried_once(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = host.engine().facts
    trials = Trials(facts, Verdicts(tmp_path), "always")
    trials.check(GOOD_SHADER, {0: "read_write"})
    (file,) = tmp_path.iterdir()
    assert file.read_text() == GOOD
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: pytest.fail("tried again"))
    trials.check(GOOD_SHADER, {0: "read_write"})
    Trials(facts, Verdicts(tmp_path), "never").check(PANICKING_SHADER, {0: "read_write"})


def test_a_folder_that_cannot_be_written_only_costs_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    verdicts = Verdicts(tmp_path / "file" / "folder")
    verdicts.put("a", GOOD)
    assert verdicts.get("a") is None
