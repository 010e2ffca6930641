"""Every kind of agent passes the contract of the Agent seam."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from stigmergy.coding.work.agent import AGENTS
from stigmergy.coding.work.handoff import CommandAgent, OwnAgent
from stigmergy.testing.agents import CHANGED, CONTENT, AgentContract, Behaviour, Staged
from stigmergy.testing.model_server import Call, Fail, Hang, Reply, Say, ScriptedModelServer

COMMANDS = {
    Behaviour.WORKS: 'printf "%s" "$0" > "$1"',
    Behaviour.IDLES: "exit 0",
    Behaviour.FAILS: "echo 'no such luck' >&2; exit 3",
    # The line after the file tells the contract that the file is there.
    Behaviour.HANGS: 'printf "%s" "$0" > "$1"; echo written; exec sleep 600',
}

WRITES = Say(calls=(Call("write_file", {"path": CHANGED, "content": CONTENT}),))
FINISHES = Say(calls=(Call("finish", {"status": "complete", "summary": "done"}),))
SCRIPTS: dict[Behaviour, list[Reply]] = {
    Behaviour.WORKS: [WRITES, FINISHES],
    Behaviour.IDLES: [FINISHES],
    Behaviour.FAILS: [Fail(400, message="this model is not for you")],
    Behaviour.HANGS: [WRITES, Hang()],
}


class TestCommandAgent(AgentContract):
    @contextmanager
    def stage(self, behaviour: Behaviour, *, wall_s: float) -> Generator[Staged]:
        argv = ("sh", "-c", COMMANDS[behaviour], CONTENT, CHANGED)
        yield Staged(CommandAgent(argv=argv, wall_s=wall_s))


class TestShellCommandAgent(AgentContract):
    @contextmanager
    def stage(self, behaviour: Behaviour, *, wall_s: float) -> Generator[Staged]:
        text = COMMANDS[behaviour].replace("$0", CONTENT).replace("$1", CHANGED)
        yield Staged(CommandAgent(argv=(text,), shell=True, wall_s=wall_s))


class TestOwnAgent(AgentContract):
    @contextmanager
    def stage(self, behaviour: Behaviour, *, wall_s: float) -> Generator[Staged]:
        with ScriptedModelServer({"T1": SCRIPTS[behaviour]}) as server:
            env = {"OPENAI_BASE_URL": server.base_url}
            yield Staged(OwnAgent(model="scripted", wall_s=wall_s), env)


def test_every_kind_of_agent_is_under_contract() -> None:
    assert set(AGENTS) == {"own", "command"}
