"""What the gateway makes of providers and agents that misbehave."""

import asyncio
import contextlib
import json
import socket
import threading
import time

import httpx
import pytest

from stigmergy.models import (
    BudgetLimits,
    Budgets,
    Gateway,
    GatewayConfig,
    Ledger,
    ProviderConfig,
    RetryPolicy,
    Timing,
)
from stigmergy.testing.model_server import (
    BreakOff,
    Disconnect,
    Empty,
    Fail,
    Failing,
    Hang,
    Held,
    Raw,
    Say,
    ScriptedModelServer,
    Truncated,
)
from stigmergy.testing.ports import closed_port

GOOD = Say("good")


class JumpingClock:
    """Time that passes only by waiting, and then at once."""

    def __init__(self):
        self.now = 1_000.0
        self.waits = []

    def __call__(self):
        return self.now

    async def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    def timing(self):
        return Timing(clock=self, sleep=self.sleep, draw=lambda: 0.0)


@pytest.fixture
def clock():
    return JumpingClock()


@pytest.fixture
def calls():
    return []


@pytest.fixture
def gateway_over(tmp_path, clock, calls):
    """Opens a gateway over scripted servers: the first is primary, the others are spillover."""
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger(tmp_path / "spend.db"))

        def open_one(*servers, timing=None, budgets=None, attempts=6, **changes):
            providers = tuple(
                ProviderConfig(
                    name=f"p{number}",
                    base_url=getattr(server, "base_url", server),
                    role="spillover" if number else "primary",
                    **changes,
                )
                for number, server in enumerate(servers)
            )
            config = GatewayConfig(
                providers=providers,
                retry=RetryPolicy(max_attempts=attempts, base_s=1.0, max_wait_s=30.0),
                budgets=budgets or Budgets(),
                max_response_bytes=20_000,
            )
            gateway = Gateway(
                config,
                run="r",
                ledger=ledger,
                environ={},
                on_call=calls.append,
                timing=timing or clock.timing(),
            )
            return stack.enter_context(gateway)

        yield open_one


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:
        yield lambda *replies: stack.enter_context(ScriptedModelServer({"F07": [*replies]}))


def ask(gateway, **fields):
    body = {"model": "m", "messages": [{"role": "user", "content": "F07"}], "max_tokens": 50}
    return httpx.post(
        f"{gateway.base_url}/chat/completions",
        json=body | fields,
        headers={"authorization": f"Bearer {gateway.issue_token(task='F07')}"},
        timeout=60,
    )


def request_of(gateway, **fields):
    """The bytes of such a request."""
    content = {"model": "m", "messages": [{"content": "F07"}], "max_tokens": 50}
    body = json.dumps(content | fields).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"host: 127.0.0.1:{gateway.port}",
        f"authorization: Bearer {gateway.issue_token(task='F07')}",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


@pytest.fixture
def nobody():
    """An address where nobody listens."""
    with closed_port() as port:
        yield f"http://127.0.0.1:{port}/v1"


def test_retry_after_is_honoured_to_the_second(gateway_over, serve, clock, calls):
    server = serve(Failing(Fail(429, retry_after="7"), Fail(503, retry_after="3.5"), GOOD))
    assert ask(gateway_over(server)).status_code == 200
    assert clock.waits == [7.0, 3.5]
    assert calls[0].attempts == 3


def test_without_retry_after_the_wait_doubles(gateway_over, serve, clock):
    server = serve(Failing(Fail(500), Fail(500), Fail(500), GOOD))
    assert ask(gateway_over(server)).status_code == 200
    assert clock.waits == [1.0, 2.0, 4.0]


def test_attempts_are_bounded(gateway_over, serve, clock, calls):
    server = serve(Fail(500, message="no disk"))
    answer = ask(gateway_over(server, attempts=3))
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_failed")
    assert "no disk" in answer.json()["error"]["message"]
    assert len(server.requests) == calls[0].attempts == 3


def test_a_wait_longer_than_allowed_is_passed_on_to_the_agent(gateway_over, serve, clock):
    gateway = gateway_over(serve(Fail(429, retry_after="3600")))
    for _ in range(2):  # the second time because the provider is cooling down
        answer = ask(gateway)
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "3600"
    assert clock.waits == []


def test_a_refused_request_is_not_repeated(gateway_over, serve):
    first, second = serve(Fail(400, message="context too long")), serve(GOOD)
    answer = ask(gateway_over(first, second))
    assert answer.status_code == 400
    assert "context too long" in answer.json()["error"]["message"]
    assert len(first.requests) == 1
    assert second.requests == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "fault",
    [
        Fail(500),
        Fail(503),
        Fail(429),
        Fail(401),
        Fail(404),
        Disconnect(),
        Empty(),
        Truncated(),
        Raw(b"[]"),
        Raw(b'{"choices": []}'),
        Raw(b'{"choices": [{"message": null}]}'),
        Raw(b"x" * 30_000),
    ],
    ids=str,
)
def test_any_failure_before_the_answer_spills_over_at_once(
    gateway_over, serve, clock, calls, fault, stream
):
    answer = ask(gateway_over(serve(fault), serve(GOOD)), stream=stream)
    assert answer.status_code == 200
    assert "good" in answer.text
    assert clock.waits == []
    assert (calls[0].provider, calls[0].attempts) == ("p1", 2)


def test_a_provider_that_is_not_there_spills_over(gateway_over, serve, calls, nobody):
    assert ask(gateway_over(nobody, serve(GOOD))).status_code == 200
    assert calls[0].provider == "p1"


@pytest.mark.parametrize("stream", [False, True])
def test_a_provider_that_says_nothing_times_out_and_spills_over(gateway_over, serve, calls, stream):
    silent = serve(Hang())
    gateway = gateway_over(silent, serve(GOOD), timeout_s=0.2, idle_timeout_s=0.2)
    assert ask(gateway, stream=stream).status_code == 200
    assert calls[0].provider == "p1"
    silent.wait_for_hang_up()


def test_a_spillover_rests_while_the_primary_answers(gateway_over, serve):
    primary, spillover = serve(GOOD), serve(GOOD)
    gateway = gateway_over(primary, spillover)
    assert [ask(gateway).status_code for _ in range(3)] == [200] * 3
    assert spillover.requests == []


def test_a_full_primary_spills_over(gateway_over, serve):
    primary, spillover = serve(Held()), serve(GOOD)
    gateway = gateway_over(primary, spillover, max_concurrent=1)
    first = threading.Thread(target=ask, args=(gateway,))
    first.start()
    primary.wait_for_requests(1)
    assert "good" in ask(gateway).text
    primary.release()
    first.join()


def test_a_call_waits_for_room_where_there_is_no_spillover(gateway_over, serve):
    server = serve(Failing(Held(), GOOD))
    gateway = gateway_over(server, max_concurrent=1)
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask(gateway).status_code)) for _ in "ab"
    ]
    for thread in threads:
        thread.start()
    server.wait_for_requests(1)
    server.release()
    for thread in threads:
        thread.join()
    assert answers == [200, 200]


def test_a_busy_provider_is_left_alone_by_every_call(gateway_over, serve, clock):
    primary, spillover = serve(Fail(429, retry_after="20")), serve(GOOD)
    gateway = gateway_over(primary, spillover)
    assert [ask(gateway).status_code for _ in range(3)] == [200] * 3
    assert len(primary.requests) == 1
    clock.now += 21
    assert ask(gateway).status_code == 200
    assert len(primary.requests) == 2


@pytest.mark.parametrize("silent", [False, True])
def test_a_stream_that_breaks_off_is_not_begun_again_elsewhere(gateway_over, serve, calls, silent):
    spillover = serve(GOOD)
    # Enough for a busy machine to begin the answer, which is what is to be broken off.
    gateway = gateway_over(serve(BreakOff(silent=silent)), spillover, idle_timeout_s=2.0)
    answer = ask(gateway, stream=True)
    events = [line for line in answer.text.splitlines() if line]
    assert answer.status_code == 200, "it had begun"
    assert "first" in events[0]
    assert "upstream_broke_off" in events[-1]
    assert "[DONE]" not in answer.text
    assert spillover.requests == []
    assert (calls[0].status, calls[0].error) == (502, "upstream_broke_off")


@pytest.mark.parametrize("stream", [False, True])
def test_an_agent_that_hangs_up_ends_the_call_at_the_provider(
    gateway_over, serve, calls, tmp_path, stream
):
    server = serve(BreakOff(silent=True) if stream else Hang())
    gateway = gateway_over(server, timing=Timing())
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=60) as agent:
        agent.sendall(request_of(gateway, stream=stream))
        server.wait_for_requests(1)
        heard = b""
        while stream and b"first" not in heard:
            heard += agent.recv(4096)
    server.wait_for_hang_up()
    wait_until(lambda: calls)
    assert (calls[0].status, calls[0].error) == (499, "client_hung_up")
    spent = gateway.task_spend("F07")
    assert spent.tokens == spent.estimated_tokens > 50, "the provider may bill it"


def test_what_never_reached_a_provider_costs_nothing(gateway_over, serve, nobody):
    gateway = gateway_over(nobody, serve(Fail(500)), attempts=4)
    assert ask(gateway).status_code == 502
    assert gateway.spend().run.tokens == 0


def test_an_attempt_of_unknown_outcome_counts_in_full(gateway_over, serve):
    gateway = gateway_over(serve(Truncated()), serve(Say("good", usage=(10, 5))))
    assert ask(gateway).status_code == 200
    spent = gateway.spend().run
    assert spent.estimated_tokens > 50
    assert spent.tokens == spent.estimated_tokens + 15


def test_an_answer_without_usage_counts_in_full_and_is_told_as_unknown(gateway_over, serve, calls):
    gateway = gateway_over(serve(Say("good", usage=None)))
    assert ask(gateway).status_code == 200
    assert (calls[0].prompt_tokens, calls[0].completion_tokens, calls[0].cost) == (None,) * 3
    assert gateway.spend().run.estimated_tokens > 50


def test_retries_stop_when_the_budget_does(gateway_over, serve):
    # Each truncated answer counts as about 65 tokens.
    server = serve(Truncated())
    gateway = gateway_over(server, budgets=Budgets(task=BudgetLimits(tokens=150)))
    answer = ask(gateway)
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "budget_exceeded")
    assert len(server.requests) == 2


def test_a_gateway_that_closes_ends_the_calls_under_way(tmp_path, serve, calls):
    server = serve(Hang())
    config = GatewayConfig(providers=(ProviderConfig(name="p", base_url=server.base_url),))
    outcomes = []

    def call(gateway):
        try:
            outcomes.append(ask(gateway).status_code)
        except httpx.HTTPError as error:
            outcomes.append(type(error))

    with Ledger(tmp_path / "other.db") as ledger:
        with Gateway(config, run="r", ledger=ledger, on_call=calls.append) as gateway:
            caller = threading.Thread(target=call, args=(gateway,))
            caller.start()
            server.wait_for_requests(1)
        caller.join()
        assert gateway.task_spend("F07").estimated_tokens > 50
    assert len(outcomes) == len(calls) == 1
    server.wait_for_hang_up()


def wait_until(condition, *, timeout_s=60.0):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)
