"""The gateway over real HTTP, in front of a scripted provider."""

import contextlib
import json
import logging
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from decimal import Decimal

import httpx
import openai
import pytest

from stigmergy.errors import UsageError
from stigmergy.models import (
    BudgetLimits,
    Budgets,
    Gateway,
    GatewayConfig,
    Ledger,
    ProviderConfig,
    TokenPrice,
    load_recording,
    metering,
)
from stigmergy.testing.model_server import Call, Fail, Held, Say, ScriptedModelServer

KEY = "sk-provider-0123456789"
PRICE = TokenPrice(input_mtok=Decimal(1), output_mtok=Decimal(10))
FILLER = "x" * 270  # with it a prompt is estimated at a little more than the 100 tokens counted
SAY = Say("two words", calls=(Call("read_file", {"path": "a"}),))


def provider(server, **changes):
    values = {"name": "scripted", "key_env": "KEY", "models": {"small": "small-v1"}}
    return ProviderConfig(base_url=server.base_url, **(values | changes))


@pytest.fixture
def calls():
    return []


@pytest.fixture
def open_gateway(tmp_path, calls):
    """Opens gateways that share a ledger, as the runs of a machine do."""
    with contextlib.ExitStack() as stack:
        ledger = stack.enter_context(Ledger(tmp_path / "spend.db"))

        def open_one(config, *, run="r", **options):
            gateway = Gateway(
                config,
                run=run,
                ledger=ledger,
                environ={"KEY": KEY},
                on_call=calls.append,
                **options,
            )
            return stack.enter_context(gateway)

        yield open_one


@pytest.fixture
def serve():
    with contextlib.ExitStack() as stack:
        yield lambda script: stack.enter_context(ScriptedModelServer(script))


def ask(gateway, *, task="F07", token=None, turn=0, model="small", client=None, **fields):
    said = [{"role": "assistant", "content": "x"}] * turn
    body = {
        "model": model,
        "messages": [{"role": "user", "content": f"do {task} {FILLER}"}, *said],
        "max_tokens": 50,
        **fields,
    }
    headers = {"authorization": f"Bearer {token or gateway.issue_token(task=task)}"}
    post = client.post if client is not None else httpx.post
    url = f"{gateway.base_url}/chat/completions"
    return post(url, json=body, headers=headers, timeout=60)


def test_a_call_goes_through_with_the_providers_key_and_name(open_gateway, serve, calls):
    server = serve({"F07": [SAY]})
    gateway = open_gateway(
        GatewayConfig(providers=(provider(server, prices={"small": PRICE}),)), run="run-1"
    )
    answer = ask(gateway)
    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "two words"
    (seen,) = server.requests
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert (seen.body["model"], seen.body["max_tokens"]) == ("small-v1", 50)
    (call,) = calls
    told = asdict(call)
    assert told.pop("duration_ms") >= 0
    assert told == {
        "task": "F07",
        "turn": 0,
        "model": "small",
        "provider": "scripted",
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cost": Decimal("0.0003"),
        "status": 200,
        "error": None,
        "attempts": 1,
        "replayed": False,
        "budget_scope": None,
    }
    spent = gateway.task_spend("F07")
    assert (spent.tokens, spent.cost) == (120, Decimal("0.0003"))
    assert gateway.spend().run == gateway.spend().fleet == spent


def test_openais_own_client_is_served_whole_and_streamed(open_gateway, serve, calls):
    gateway = open_gateway(GatewayConfig(providers=(provider(serve({"F07": [SAY]})),)))
    with openai.OpenAI(
        base_url=gateway.base_url, api_key=gateway.issue_token(task="F07")
    ) as client:
        assert [model.id for model in client.models.list()] == ["small"]
        messages = [{"role": "user", "content": "do F07"}]
        whole = client.chat.completions.create(model="small", messages=messages)
        assert whole.choices[0].message.tool_calls[0].function.arguments == '{"path": "a"}'
        with client.chat.completions.create(
            model="small", messages=messages, stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
    texts = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert [text for text in texts if text] == ["two ", "words"]
    assert chunks[-1].usage.total_tokens == 120
    assert [(call.prompt_tokens, call.completion_tokens) for call in calls] == [(100, 20)] * 2


def test_a_stream_is_counted_though_the_agent_did_not_ask(open_gateway, serve, calls):
    server = serve({"F07": [SAY]})
    gateway = open_gateway(GatewayConfig(providers=(provider(server),)))
    answer = ask(gateway, stream=True)
    events = [line for line in answer.text.splitlines() if line]
    assert events[-1] == "data: [DONE]"
    assert not any("usage" in event for event in events)
    assert server.requests[0].body["stream_options"] == {"include_usage": True}
    assert gateway.task_spend("F07").tokens == 120
    assert gateway.task_spend("F07").unpriced_tokens == 120
    assert calls[0].cost is None, "unknown is not 0"


def test_text_that_is_no_utf8_passes(open_gateway, serve):
    server = serve({"F07": [Say("\ud800")]})
    gateway = open_gateway(GatewayConfig(providers=(provider(server),)))
    answer = httpx.post(
        f"{gateway.base_url}/chat/completions",
        content=b'{"model": "small", "messages": [{"content": "F07 \\ud800"}]}',
        headers={"authorization": f"Bearer {gateway.issue_token(task='F07')}"},
    )
    assert answer.json()["choices"][0]["message"]["content"] == "\ud800"
    assert server.requests[0].body["messages"][0]["content"] == "F07 \ud800"


def test_the_default_model_has_a_name_of_its_own(open_gateway, serve):
    server = serve({"F07": [SAY]})
    gateway = open_gateway(GatewayConfig(providers=(provider(server),), default_model="small"))
    assert ask(gateway, model="default").status_code == 200
    assert server.requests[0].body["model"] == "small-v1"


def test_an_unknown_model_is_told_which_there_are(open_gateway, serve, calls):
    gateway = open_gateway(GatewayConfig(providers=(provider(serve({})),)))
    answer = ask(gateway, model="huge")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "model_not_found")
    assert "'huge'" in error["message"]
    assert "small" in error["message"]
    assert (calls[0].status, calls[0].error, calls[0].attempts) == (404, "model_not_found", 0)


def test_only_a_good_token_is_served(open_gateway, serve, calls):
    server = serve({"F07": [SAY]})
    gateway = open_gateway(GatewayConfig(providers=(provider(server),)))
    token = gateway.issue_token(task="F07")
    for wrong in (token[:-1], token + "x", "x", KEY):
        answer = ask(gateway, token=wrong)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert httpx.get(f"{gateway.base_url}/models").status_code == 401
    gateway.revoke(token)
    gateway.revoke(token)
    assert ask(gateway, token=token).status_code == 401
    assert server.requests == calls == []


def test_a_web_page_under_another_name_is_turned_away(open_gateway, serve):
    gateway = open_gateway(GatewayConfig(providers=(provider(serve({"F07": [SAY]})),)))
    url = f"{gateway.base_url}/models"
    headers = {"authorization": f"Bearer {gateway.issue_token(task='F07')}"}
    statuses = {
        host: httpx.get(url, headers={**headers, "host": host}).status_code
        for host in (
            f"127.0.0.1:{gateway.port}",
            f"localhost:{gateway.port}",
            "evil.example",
            f"evil.example:{gateway.port}",
            "127.0.0.1:1",
            "",
        )
    }
    assert list(statuses.values()) == [200, 200, 421, 421, 421, 421]


def test_the_unix_socket_serves_the_same_and_only_this_user(open_gateway, serve, tmp_path):
    path = tmp_path / "gw.sock"
    gateway = open_gateway(
        GatewayConfig(providers=(provider(serve({"F07": [SAY]})),)), socket_path=path
    )
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as client:
        assert ask(gateway, client=client).status_code == 200


def test_a_socket_path_is_checked_before_anything_serves(serve, open_gateway, tmp_path):
    config = GatewayConfig(providers=(provider(serve({})),))
    with pytest.raises(UsageError, match="107"):
        open_gateway(config, socket_path=tmp_path / ("x" * 120))
    file = tmp_path / "notes.txt"
    file.write_text("keep me")
    with pytest.raises(UsageError, match="no socket"):
        open_gateway(config, socket_path=file)
    assert file.read_text() == "keep me"


def test_the_socket_of_a_killed_gateway_is_replaced_and_a_live_one_is_not(
    serve, open_gateway, tmp_path
):
    path = tmp_path / "gw.sock"
    config = GatewayConfig(providers=(provider(serve({})),))
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    open_gateway(config, socket_path=path)
    with pytest.raises(UsageError, match="another gateway"):
        open_gateway(config, socket_path=path)
    assert path.exists()


def test_a_request_that_is_too_long_is_not_read_to_its_end(open_gateway, serve):
    config = GatewayConfig(providers=(provider(serve({})),), max_request_bytes=2000)
    gateway = open_gateway(config)
    answer = ask(gateway, user="x" * 3000)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.parametrize("path", ["/", "/v1/embeddings", "/v1/chat/completions"])
def test_every_error_has_openais_form(open_gateway, serve, path):
    gateway = open_gateway(GatewayConfig(providers=(provider(serve({})),)))
    answer = httpx.get(f"http://127.0.0.1:{gateway.port}{path}")
    assert answer.status_code in {404, 405}
    assert answer.json()["error"]["message"]


def test_twenty_calls_at_once_do_not_overspend(open_gateway, serve, monkeypatch):
    # Waiting calls are woken by those that end, not by looking again now and then.
    monkeypatch.setattr(metering, "_POLL_S", 60.0)
    # Each call may need about 155 tokens, and spends 120.
    server = serve({"F07": [Held(SAY)]})
    budgets = Budgets(run=BudgetLimits(tokens=1_000), wait_s=20)
    gateway = open_gateway(GatewayConfig(providers=(provider(server),), budgets=budgets))
    token = gateway.issue_token(task="F07")
    with ThreadPoolExecutor(20) as pool:
        jobs = [pool.submit(ask, gateway, token=token) for _ in range(20)]
        server.wait_for_requests(5)
        server.release()
        statuses = sorted(job.result().status_code for job in jobs)
    served = statuses.count(200)
    assert set(statuses) == {200, 402}
    assert gateway.spend().run.tokens == 120 * served <= 1_000
    # All that fits is served: waiting calls were not turned away for mere reservations.
    assert served == 8
    assert len(server.requests) == served


def test_a_call_does_not_wait_for_ever_for_what_others_reserved(open_gateway, serve):
    server = serve({"F07": [Held(SAY)]})
    budgets = Budgets(run=BudgetLimits(tokens=200), wait_s=0)
    gateway = open_gateway(GatewayConfig(providers=(provider(server),), budgets=budgets))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, gateway)
        server.wait_for_requests(1)
        answer = ask(gateway)
        server.release()
        assert first.result().status_code == 200
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "budget_reserved")
    assert "retry-after" in answer.headers


@pytest.mark.parametrize("scope", ["task", "run", "fleet"])
def test_a_scope_at_its_limit_refuses_at_once_and_names_it(open_gateway, serve, calls, scope):
    server = serve({"F07": [SAY]})
    budgets = Budgets(**{scope: BudgetLimits(tokens=200)})
    gateway = open_gateway(GatewayConfig(providers=(provider(server),), budgets=budgets))
    assert ask(gateway).status_code == 200
    answer = ask(gateway)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (402, "budget_exceeded")
    assert "200 tokens" in error["message"]
    assert "120 are spent" in error["message"]
    assert scope in error["message"]
    assert (calls[-1].status, calls[-1].error) == (402, "budget_exceeded")
    assert calls[-1].budget_scope == error["scope"] == scope
    assert len(server.requests) == 1


def test_one_tasks_limit_is_not_anothers(open_gateway, serve):
    server = serve({"F07": [SAY], "F08": [SAY]})
    gateway = open_gateway(GatewayConfig(providers=(provider(server),)))
    token = gateway.issue_token(task="F07", limits=BudgetLimits(tokens=10))
    assert ask(gateway, token=token).status_code == 402
    assert ask(gateway, task="F08").status_code == 200


def test_the_fleets_spend_is_shared_by_runs_and_a_runs_is_not(open_gateway, serve):
    server = serve({"F07": [SAY]})
    budgets = Budgets(run=BudgetLimits(tokens=300), fleet=BudgetLimits(tokens=400))
    config = GatewayConfig(providers=(provider(server),), budgets=budgets)
    first, second = open_gateway(config, run="a"), open_gateway(config, run="b")
    assert [ask(first).status_code for _ in range(3)] == [200, 200, 402]
    assert [ask(second).status_code for _ in range(2)] == [200, 402]


def test_a_limit_on_cost_needs_a_price(open_gateway, serve):
    server = serve({"F07": [SAY]})
    budgets = Budgets(run=BudgetLimits(cost_usd=Decimal(1)))
    answer = ask(open_gateway(GatewayConfig(providers=(provider(server),), budgets=budgets)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (402, "unknown_price")
    assert "'small'" in answer.json()["error"]["message"]
    allowed = budgets.model_copy(update={"allow_unknown_prices": True})
    gateway = open_gateway(GatewayConfig(providers=(provider(server),), budgets=allowed))
    assert ask(gateway).status_code == 200


def test_a_limit_on_cost_holds(open_gateway, serve):
    server = serve({"F07": [SAY]})
    priced = provider(server, prices={"small": PRICE})
    budgets = Budgets(run=BudgetLimits(cost_usd=Decimal("0.001")))
    gateway = open_gateway(GatewayConfig(providers=(priced,), budgets=budgets))
    statuses = [ask(gateway).status_code for _ in range(4)]
    assert statuses == [200, 200, 402, 402]
    assert gateway.spend().run.cost == Decimal("0.0006")


def test_where_a_limit_holds_every_request_has_a_maximum(open_gateway, serve):
    server = serve({"F07": [SAY]})
    budgets = Budgets(run=BudgetLimits(tokens=9_000), default_max_tokens=777)
    config = GatewayConfig(
        providers=(provider(server, max_tokens_field="max_completion_tokens"),), budgets=budgets
    )
    assert ask(open_gateway(config), max_tokens=None).status_code == 200
    assert server.requests[0].body["max_completion_tokens"] == 777
    assert "max_tokens" not in server.requests[0].body


def test_recorded_calls_replay_in_any_order_without_the_provider(
    open_gateway, serve, calls, tmp_path
):
    path = tmp_path / "run.jsonl"
    script = {
        task: [Say(f"{task} turn {turn}") for turn in range(3)] for task in ("F07", "F07.fix1")
    }
    # The longer id first: both stand in messages about the longer.
    server = serve({task: script[task] for task in sorted(script, reverse=True)})
    live = open_gateway(GatewayConfig(providers=(provider(server),), record=path))
    keys = [(task, turn) for task in script for turn in range(3)]
    said = {key: ask(live, task=key[0], turn=key[1], stream=key[1] == 1) for key in keys}
    assert all(answer.status_code == 200 for answer in said.values())
    calls.clear()
    replaying = open_gateway(GatewayConfig(replay=path), run="other")
    for task, turn in reversed(keys):
        answer = ask(replaying, task=task, turn=turn, model="any")
        assert answer.json()["choices"][0]["message"]["content"] == f"{task} turn {turn}"
    assert len(server.requests) == len(keys)
    assert {(call.replayed, call.cost, call.attempts) for call in calls} == {(True, 0, 0)}
    assert {call.prompt_tokens for call in calls} == {100}
    assert replaying.spend().run.tokens == 0, "nothing was spent"


def test_a_turn_that_was_not_recorded_is_a_clear_error(open_gateway, tmp_path, calls):
    path = tmp_path / "run.jsonl"
    message = {"role": "assistant", "content": "x"}
    response = {"message": message, "usage": None, "finish_reason": "stop"}
    path.write_text(
        json.dumps({"task": "F07", "turn": 2, "model": "m", "response": response}) + "\n"
    )
    gateway = open_gateway(GatewayConfig(replay=path))
    answer = ask(gateway, turn=5, stream=True)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (404, "replay_miss")
    assert (error["task"], error["turn"], error["turns"]) == ("F07", 5, [2])
    assert str(path) in error["message"]
    assert ask(gateway, turn=2).status_code == 200
    assert calls[-1].prompt_tokens is None, "unknown is not 0"


def test_no_key_and_no_token_is_in_any_event_error_log_or_recording(
    open_gateway, serve, calls, caplog, tmp_path
):
    caplog.set_level(logging.DEBUG)
    path = tmp_path / "run.jsonl"
    server = serve(
        {
            "echo": [Say(f"the key is {KEY}")],
            "bad": [Fail(400, message=f"wrong: {KEY}")],
            "denied": [Fail(401, message=f"Incorrect API key provided: {KEY[:9]}***")],
        }
    )
    gateway = open_gateway(GatewayConfig(providers=(provider(server),), record=path))
    token = gateway.issue_token(task="echo")
    answers = [
        ask(gateway, token=token, task="echo"),
        ask(gateway, token=token, task="echo", stream=True),
        ask(gateway, task="bad"),
        ask(gateway, task="denied"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 400, 502]
    seen = [answer.text + str(answer.headers) for answer in answers]
    seen += [repr(call) for call in calls] + [caplog.text, path.read_text(), repr(gateway)]
    assert caplog.text, "the log was captured"
    assert all(request.headers["authorization"] == f"Bearer {KEY}" for request in server.requests)
    for text in seen:
        assert KEY not in text
        assert KEY[:9] not in text
        assert token not in text
    assert "[redacted]" in load_recording(path).turns["echo", 0].response.message.content


def test_a_missing_key_stops_the_gateway_before_it_starts(serve, tmp_path):
    config = GatewayConfig(providers=(provider(serve({})),))
    with Ledger(tmp_path / "spend.db") as ledger, pytest.raises(UsageError, match="KEY"):
        Gateway(config, run="r", ledger=ledger, environ={})


def test_the_gateway_is_imported_only_where_it_is_used():
    code = "import sys, stigmergy; print([m for m in sys.modules if m.startswith('stigmergy.m')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n"
