"""A gateway killed with -9 in the middle of a call."""

import contextlib
import subprocess
import sys

import pytest

from stigmergy.models import BudgetLimits, Ledger, load_recording
from stigmergy.models.budget import Amount, Exceeded, MustWait, Scope
from stigmergy.testing.model_server import Failing, Hang, Say, ScriptedModelServer

# Makes calls, one after the other, until it is killed. argv: directory, provider's address.
GATEWAY = """
import sys
from pathlib import Path
import httpx
from stigmergy.models import Gateway, GatewayConfig, Ledger, ProviderConfig
directory, url = Path(sys.argv[1]), sys.argv[2]
config = GatewayConfig(
    providers=(ProviderConfig(name="p", base_url=url),), record=directory / "run.jsonl"
)
with Ledger(directory / "spend.db") as ledger, Gateway(config, run="r", ledger=ledger) as gateway:
    headers = {"authorization": "Bearer " + gateway.issue_token(task="F07")}
    while True:
        body = {"model": "m", "messages": [{"content": "F07"}], "max_tokens": 50}
        url = gateway.base_url + "/chat/completions"
        httpx.post(url, json=body, headers=headers, timeout=60).raise_for_status()
"""
RUN = Scope("run", "run/r", "run 'r'")


@contextlib.contextmanager
def gateway_in_mid_call(directory, *replies):
    """A process whose last request hangs at the provider; yields it when it does."""
    script = {"F07": [Failing(*replies, Hang())]}
    with ScriptedModelServer(script) as server:
        process = subprocess.Popen([sys.executable, "-c", GATEWAY, str(directory), server.base_url])
        try:
            server.wait_for_requests(len(replies) + 1, timeout_s=60)
            yield process
        finally:
            process.kill()
            process.wait()


def reserve(ledger, tokens, *, limit):
    limits = [(RUN, BudgetLimits(tokens=limit))]
    return ledger.reserve(limits, Amount(tokens, None), allow_unknown_prices=True)


def test_its_reservation_counts_as_spent_once_it_is_dead_and_not_before(tmp_path):
    with (
        Ledger(tmp_path / "spend.db") as ledger,
        gateway_in_mid_call(tmp_path, Say(usage=(7, 3))) as process,
    ):
        reserved = ledger.reserved(RUN.key).tokens
        assert reserved > 50
        assert ledger.spent(RUN.key).tokens == 10

        # Room that only the other's reservation holds: it is alive, so there may be room later.
        limit = 10 + reserved + 5
        assert isinstance(reserve(ledger, 6, limit=limit), MustWait)

        process.kill()
        process.wait()
        assert isinstance(reserve(ledger, 6, limit=limit), Exceeded)
        assert ledger.reserved(RUN.key).tokens == 0
        spent = ledger.spent(RUN.key)
        assert (spent.tokens, spent.estimated_tokens) == (10 + reserved, reserved)


def test_a_ledger_opened_later_settles_it_once(tmp_path):
    with gateway_in_mid_call(tmp_path) as process, Ledger(tmp_path / "spend.db") as before:
        reserved = before.reserved(RUN.key).tokens
        process.kill()
        process.wait()
    for _ in range(2):
        with Ledger(tmp_path / "spend.db") as ledger:
            assert ledger.spent(RUN.key).tokens == reserved
    assert not list(tmp_path.glob("*.owner-*"))


@pytest.mark.parametrize("answers", [0, 3])
def test_what_it_recorded_is_whole(tmp_path, answers):
    with gateway_in_mid_call(tmp_path, *[Say(f"answer {n}") for n in range(answers)]):
        pass
    recording = load_recording(tmp_path / "run.jsonl")
    assert recording.origin == "captured"
    if answers:
        (turn,) = recording.turns.values()
        assert turn.response.message.content == "answer 2", "asked again, the last counts"
