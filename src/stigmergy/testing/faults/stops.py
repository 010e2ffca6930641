"""SIGSTOP to agents for longer than their leases, then SIGCONT: what they say then is stale.

Some are stopped within a transaction and hold up the whole board: it has to go on afterwards.
"""

from __future__ import annotations

import signal

from stigmergy.errors import StigmergyError
from stigmergy.testing.faults.checker import check
from stigmergy.testing.faults.crew import Crew, Plan, gather
from stigmergy.testing.faults.forkserver import ForkServer
from stigmergy.testing.faults.table import Row, Setting

__all__ = ["stops"]


def stops(setting: Setting) -> Row:
    """Most of the agents are stopped at once, again and again."""
    rng = setting.rng
    plan = Plan(url=setting.url, folder=setting.folder, seed=setting.seed, agents=6, work_s=0.03)
    rounds = 6 if setting.short else 120
    stopped = 0
    with ForkServer() as server, Crew(plan, [server]) as crew:
        workers = [role for role in crew.roles if not role.is_poster]
        for _ in range(rounds):
            crew.roles[0].child.has_ended(timeout_s=rng.uniform(0.05, 0.2))
            chosen = rng.sample(workers, 4)
            for role in chosen:
                role.child.signal(signal.SIGSTOP)
            crew.roles[0].child.has_ended(timeout_s=plan.lease_s * rng.uniform(1.2, 2.0))
            for role in chosen:
                role.child.signal(signal.SIGCONT)
            stopped += len(chosen)
        crew.settle()
    evidence = gather(plan)
    if not (refused := len(evidence.said("refused"))):
        raise StigmergyError("nobody was refused: the stops were too short to prove anything")
    notes = f"{refused} stale reports, all refused; {len(evidence.tasks)} tasks done"
    return Row(injected=stopped, violations=check(evidence), notes=notes)
