"""Every source of answers keeps the contract, over real HTTP where it has HTTP."""

import contextlib
import json
from pathlib import Path

import pytest

from stigmergy.models.attempt import Connection
from stigmergy.models.config import Budgets, ProviderConfig, RetryPolicy
from stigmergy.models.ledger import Ledger
from stigmergy.models.metering import Meter
from stigmergy.models.providers import Provider
from stigmergy.models.recording import Recorder, load_recording
from stigmergy.models.redaction import Redactor
from stigmergy.models.replay import Recorded, Replay
from stigmergy.models.timing import Timing
from stigmergy.models.upstream import Upstream
from stigmergy.testing.model_server import Call, Fail, Say, ScriptedModelServer
from stigmergy.testing.models import ANSWER, CALL_ARGUMENTS, ModelSourceContract, chat_request

ANSWERED = Say(ANSWER, calls=(Call("read_file", json.loads(CALL_ARGUMENTS)),))


@contextlib.contextmanager
def open_upstream(directory: Path):
    script = {"F07": [ANSWERED], "F99": [Fail(400)]}
    with ScriptedModelServer(script) as server, Ledger(directory / "spend.db") as ledger:
        provider = ProviderConfig(
            name="scripted", base_url=server.base_url, models={"scripted": "real-name"}
        )
        connection = Connection(
            Provider(provider, None), redactor=Redactor(), max_response_bytes=10**6
        )
        timing = Timing()
        meter = Meter(ledger, run="r", budgets=Budgets(), task_limits={}, timing=timing)
        yield Upstream([connection], meter=meter, retry=RetryPolicy(), timing=timing)


class TestUpstream(ModelSourceContract):
    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path

    def open_source(self):
        return open_upstream(self.directory)


class TestRecorded(TestUpstream):
    @contextlib.contextmanager
    def open_source(self):
        with open_upstream(self.directory) as upstream:
            recorder = Recorder(self.directory / "run.jsonl", redactor=Redactor())
            yield Recorded(upstream, recorder)

    def test_a_stream_left_in_the_middle_is_not_recorded(self):
        self.test_an_answer_can_be_left_in_the_middle()
        assert load_recording(self.directory / "run.jsonl").turns == {}


class TestReplay(ModelSourceContract):
    """Of what was recorded: so a round trip as well."""

    @pytest.fixture(autouse=True)
    def _directory(self, tmp_path):
        self.directory = tmp_path

    @contextlib.contextmanager
    def open_source(self):
        contract = TestRecorded()
        contract.directory = self.directory
        contract._ask(chat_request(stream=True))
        yield Replay(load_recording(self.directory / "run.jsonl"))
