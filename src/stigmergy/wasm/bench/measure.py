"""Times a kernel on an engine, and on wasmtime by itself as what an engine is held against."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from stigmergy.errors import StigmergyError
from stigmergy.wasm.bench.kernels import Kernel
from stigmergy.wasm.manager import SwarmManager

__all__ = ["Measured", "measure_native", "measure_python", "measure_swarm"]

_INSTRUCTIONS = 1 << 40
_CHECKED = 16


@dataclass(frozen=True, slots=True)
class Measured:
    """One way to run a kernel for so many agents.

    `seconds` of a dispatch, the fewest of the rounds; `first_s` of the first, with all that is made
    ready in it; `instructions` of all agents.
    """

    way: str
    agents: int
    seconds: float
    first_s: float
    instructions: int

    @property
    def per_second(self) -> float:
        """Instructions a second."""
        return self.instructions / self.seconds


class WrongAnswerError(StigmergyError):
    """An engine answered what the kernel does not give: its time means nothing."""


def measure_swarm(
    swarm: SwarmManager, kernel: Kernel, agents: int, *, rounds: int = 3, way: str = ""
) -> Measured:
    """Time spawning fresh agents, dispatching them and having their results.

    Raises:
        WrongAnswerError: An agent's answer is not the kernel's.
    """
    times: list[float] = []
    instructions = 0
    digest = swarm.load_bytecode(kernel.module)
    args = np.stack([np.arange(agents), np.full(agents, kernel.size)], axis=1)
    for _ in range(rounds + 1):
        begun = time.perf_counter()
        ids = swarm.spawn_agents(agents, kernel.name, args, module=digest)
        result = swarm.dispatch(ids, _INSTRUCTIONS)
        times.append(time.perf_counter() - begun)
        instructions = result.instructions
        _check(kernel, {at: result.agent_results[one] for at, one in enumerate(ids)})
        swarm.kill_agents(ids)
    return Measured(way or "swarm", agents, min(times[1:]), times[0], instructions)


def measure_python(kernel: Kernel, agents: int, instructions: int) -> Measured:
    """Time what a user would write without a swarm: for each agent a store, an instance, a call."""
    from wasmtime import Engine, Func, Instance, Module, Store

    engine = Engine()
    module = Module(engine, kernel.module)

    def run() -> dict[int, int | float]:
        answers: dict[int, int | float] = {}
        for agent in range(agents):
            store = Store(engine)
            function = Instance(store, module, []).exports(store)[kernel.name]
            assert isinstance(function, Func)
            answers[agent] = function(store, agent, kernel.size)
        return answers

    return _timed("a Python loop over wasmtime", kernel, agents, instructions, run)


def measure_native(kernel: Kernel, agents: int, instructions: int, *, threads: int = 1) -> Measured:
    """Time wasmtime at its own speed: each thread has its share of the agents in one call.

    The loop over the agents is in WebAssembly, without fuel, so no Python is in the time.
    """
    from wasmtime import Engine, Func, Instance, Module, Store

    engine = Engine()
    looped = kernel.module.rstrip()[:-1] + _LOOP + ")"
    looped = looped.replace(f'(func (export "{kernel.name}")', f'(func $k (export "{kernel.name}")')
    module = Module(engine, looped)
    # As many each, and so with the numbers of the first ones: the work is alike.
    share = -(-agents // threads)

    def one() -> Callable[[], object]:
        store = Store(engine)
        function = Instance(store, module, []).exports(store)["all"]
        assert isinstance(function, Func)
        return lambda: function(store, share, kernel.size)

    calls = [one() for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def run() -> dict[int, int | float]:
            for call in [pool.submit(call) for call in calls]:
                call.result()
            return {}

        way = (
            "wasmtime itself, one thread" if threads == 1 else f"wasmtime itself, {threads} threads"
        )
        return _timed(way, kernel, agents, instructions, run)


_LOOP = """
  (func (export "all") (param $agents i32) (param $n i32) (result i32)
    (local $sum i32)
    (loop $next
      (local.set $agents (i32.sub (local.get $agents) (i32.const 1)))
      (local.set $sum (i32.add (local.get $sum) (call $k (local.get $agents) (local.get $n))))
      (br_if $next (local.get $agents)))
    (local.get $sum))
"""


def _timed(
    way: str,
    kernel: Kernel,
    agents: int,
    instructions: int,
    run: Callable[[], dict[int, int | float]],
) -> Measured:
    times: list[float] = []
    for _ in range(2):
        begun = time.perf_counter()
        answers = run()
        times.append(time.perf_counter() - begun)
        _check(kernel, answers)
    return Measured(way, agents, min(times), times[0], instructions)


def _check(kernel: Kernel, answers: dict[int, int | float]) -> None:
    """Compare some answers, spread over all agents, with the kernel's."""
    some = sorted(answers)[:: max(1, len(answers) // _CHECKED)]
    for agent in some:
        expected = kernel.expected(agent, kernel.size)
        if int(answers[agent]) & 0xFFFFFFFF != expected:
            message = f"{kernel.name} of agent {agent} gave {answers[agent]} instead of {expected}"
            raise WrongAnswerError(message)
