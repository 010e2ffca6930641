"""Where there is no hardware GPU, `auto` loads the driver once, not each time."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stigmergy.wasm.gpu import presence
from stigmergy.wasm.gpu.adapter import AdapterFacts
from stigmergy.wasm.gpu.presence import known_software, remember_software
from stigmergy.wasm.gpu.verdicts import Verdicts

LLVMPIPE = AdapterFacts("llvmpipe", "mesa", 1, 64, 1 << 27, 65_535, is_software=True)

RUN = """
import sys
from stigmergy.wasm import SwarmManager
with SwarmManager("auto") as swarm:
    swarm.load_bytecode("(module (func (result i32) (i32.const 7)))")
    agent = swarm.spawn_agent()
    assert swarm.dispatch().agent_results == {agent: 7}
    print("wgpu" in sys.modules, *swarm.placements)
"""


@pytest.mark.needs_vulkan
def test_the_second_process_does_not_load_a_driver_that_is_of_no_use(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}

    def run() -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-c", RUN],
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        loaded, _, placement = done.stdout.strip().partition(" ")
        return loaded, placement

    first, second = run(), run()
    assert first[0] == "True"
    assert first[1] == second[1]
    assert second[0] == ("False" if "the software driver" in first[1] else "True")


def test_what_is_remembered_is_of_this_start_these_devices_and_today(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot, verdicts = tmp_path / "boot", Verdicts(tmp_path / "verdicts")
    devices = ["/dev/dri/card0 True"]
    boot.write_text("first\n")
    monkeypatch.setattr(presence, "_BOOT", boot)
    monkeypatch.setattr(presence, "drivers", lambda: ["wgpu 1"])
    monkeypatch.setattr(presence, "_devices", lambda: iter(devices))
    assert known_software(verdicts) is None
    remember_software(verdicts, replace(LLVMPIPE, name="llvmpipe 25"))
    assert known_software(verdicts) == "llvmpipe 25"
    devices.append("/dev/nvidia0 True")
    assert known_software(verdicts) is None
    devices.pop()
    (file,) = (tmp_path / "verdicts").iterdir()
    for age_s, known in ((3_600, "llvmpipe 25"), (100_000, None), (-100, None)):
        at = file.stat().st_ctime - age_s
        os.utime(file, (at, at))
        assert known_software(verdicts) == known
    os.utime(file)
    boot.write_text("second\n")
    assert known_software(verdicts) is None
    boot.unlink()
    remember_software(verdicts, LLVMPIPE)
    assert known_software(verdicts) is None
