"""Every engine keeps the contract of engines."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from stigmergy.testing.engines import EngineContract
from stigmergy.wasm.cpu.engine import CpuEngine
from stigmergy.wasm.engine import CohortSettings, Engine
from stigmergy.wasm.gpu.engine import GpuEngine
from stigmergy.wasm.module.model import Module


@pytest.fixture(scope="module")
def cpu_engine() -> Iterator[Engine]:
    with closing(CpuEngine()) as engine:
        yield engine


class TestCpuEngine(EngineContract):
    @pytest.fixture
    def engine(self, cpu_engine: Engine) -> Engine:
        return cpu_engine


@pytest.fixture(scope="module")
def gpu_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    with closing(GpuEngine(cache=tmp_path_factory.mktemp("verdicts"))) as engine:
        engine.cohort(Module(b""), CohortSettings()).close()  # its device is there from here on
        yield engine


@pytest.mark.needs_vulkan
class TestGpuEngine(EngineContract):
    @pytest.fixture
    def engine(self, gpu_engine: Engine) -> Engine:
        return gpu_engine


@pytest.fixture(scope="module")
def interleaving_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """As on hardware: agents interleaved, and many windows."""
    folder = tmp_path_factory.mktemp("verdicts")
    with closing(GpuEngine(cache=folder, memory_block=32, window_bytes=8 << 20)) as engine:
        engine.cohort(Module(b""), CohortSettings()).close()
        yield engine


@pytest.mark.needs_vulkan
class TestGpuEngineThatInterleaves(EngineContract):
    @pytest.fixture
    def engine(self, interleaving_engine: Engine) -> Engine:
        return interleaving_engine
