"""Every engine keeps the contract of engines."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from stigmergy.testing.engines import EngineContract
from stigmergy.wasm.cpu.engine import CpuEngine
from stigmergy.wasm.engine import Engine


@pytest.fixture(scope="module")
def cpu_engine() -> Iterator[Engine]:
    with closing(CpuEngine()) as engine:
        yield engine


class TestCpuEngine(EngineContract):
    @pytest.fixture
    def engine(self, cpu_engine: Engine) -> Engine:
        return cpu_engine
