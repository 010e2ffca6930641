"""A network between agents and their database that delays, loses, parts, or works in one direction.

The server and half of the agents are in one network namespace, the other half in another, with a
`Wire` between them.
"""

from __future__ import annotations

import random
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from stigmergy.testing.faults.checker import Violation, check
from stigmergy.testing.faults.crew import Crew, Plan, gather
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.machine import inside
from stigmergy.testing.faults.servers import own_server
from stigmergy.testing.faults.table import Row, Setting
from stigmergy.testing.faults.wire import NEAR, Condition, wired

__all__ = ["TROUBLES", "bad_network", "round_trips"]

TROUBLES: Final = {
    "latency": Condition(delay_s=0.1, jitter_s=0.02),
    "loss": Condition(loss=0.3),
    "partition": Condition(to_far=False, to_near=False),
    "one way out": Condition(to_near=False),
    "one way in": Condition(to_far=False),
}
_LEASE_S: Final = 1.0
_PORT: Final = 7007


def bad_network(setting: Setting) -> Row:
    """Each kind of trouble for some seconds, with calm between."""
    told = inside(
        ["net"],
        trouble_the_network,
        folder=str(setting.folder),
        seed=setting.seed,
        rounds=1 if setting.short else 10,
        seconds=1.0 if setting.short else 6.0,
    )
    violations = [Violation(**violation) for violation in told["violations"]]
    return Row(injected=told["injected"], violations=violations, notes=told["notes"])


def trouble_the_network(*, folder: str, seed: str, rounds: int, seconds: float) -> dict[str, Any]:
    """In a network namespace of its own, where the server is."""
    rng = random.Random(seed)
    conditions = list(TROUBLES.values()) * rounds
    rng.shuffle(conditions)
    with (
        ForkServer() as near,
        ForkServer(prefix=["unshare", "--net"]) as far,
        wired(far, Path(folder)) as wire,
        own_server(host=NEAR) as server,
    ):
        url = server.create_database("faults")
        plan = Plan(url=url, folder=Path(folder), seed=seed, agents=4, posters=2, lease_s=_LEASE_S)
        with Crew(plan, [near, far]) as crew:
            idle = crew.roles[0].child
            for condition in conditions:
                idle.has_ended(timeout_s=rng.uniform(0.2, 0.8))
                wire.set(condition)
                idle.has_ended(timeout_s=seconds)
                wire.set(Condition())
            crew.settle(within_s=120.0)
        evidence = gather(plan)
    notes = (
        f"{len(evidence.said('trouble'))} calls to be tried again, "
        f"{len(evidence.said('refused'))} refused; {len(evidence.tasks)} tasks done"
    )
    violations = [asdict(violation) for violation in check(evidence)]
    return {"injected": len(conditions), "notes": notes, "violations": violations}


# Whether the network is what it is said to be -----------------------------------------------------


def round_trips(*, folder: str) -> dict[str, float | None]:
    """Seconds that a connection, a word and its echo take under each kind of trouble.

    None where there was no answer in time. In a network namespace of its own.
    """
    told: dict[str, float | None] = {}
    with (
        ForkServer() as near,
        ForkServer(prefix=["unshare", "--net"]) as far,
        wired(far, Path(folder)) as wire,
    ):
        near.spawn(echo)
        for name, condition in {"calm": Condition(), **TROUBLES, "calm again": Condition()}.items():
            wire.set(condition)
            patience_s = 30.0 if condition.to_near and condition.to_far else 1.0
            told[name] = far.call(call_out, patience_s=patience_s)
    return told


def echo() -> None:
    """Say back what is heard, until it is killed."""
    with socket.create_server((NEAR, _PORT)) as server:
        while True:
            connection, _ = server.accept()
            with connection:
                connection.sendall(connection.recv(100))


def call_out(*, patience_s: float) -> float | None:
    """How long an answer took."""
    began = time.monotonic()
    while (left_s := began + patience_s - time.monotonic()) > 0:
        try:
            with socket.create_connection((NEAR, _PORT), timeout=left_s) as connection:
                connection.sendall(b"hello")
                if connection.recv(100) == b"hello":
                    return time.monotonic() - began
        except ConnectionRefusedError:  # it does not listen yet
            time.sleep(0.01)
        except OSError:
            continue
    return None
