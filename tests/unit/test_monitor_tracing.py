"""A journal as a trace: what becomes a span, under which, and how it reaches a collector."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv.attributes import error_attributes
from opentelemetry.trace import SpanKind
from opentelemetry.trace.status import StatusCode

from stigmergy.board import Event, Task, TaskBoard
from stigmergy.errors import TransientError, UsageError
from stigmergy.monitor.tracing import Tracer, TraceSpan, names, spans_of
from stigmergy.monitor.tracing.export import open_exporter, send
from stigmergy.monitor.tracing.live import LiveTraces, live_traces
from stigmergy.testing.otlp import Collector

Told = tuple[str, str, str, dict[str, object]]


def journal(*told: Told) -> list[Event]:
    """A second between two."""
    return [
        Event(seq=n, at=1000.0 + n, kind=kind, task_id=task, agent_id=agent, data=data)
        for n, (kind, task, agent, data) in enumerate(told, 1)
    ]


RUN: Told = ("run_started", "", "", {"run_id": "r1", "target": "refs/heads/main"})
POSTED: Told = ("posted", "F1", "", {"task_type": "code", "parent_id": "r1", "priority": 5})
LAND: Told = ("posted", "F1.land", "", {"task_type": "land", "parent_id": "r1"})
CLAIMED: Told = ("claimed", "F1", "r1/agent-1", {"attempt": 1, "fence": 1})
CALL: Told = (
    "model_call",
    "F1",
    "",
    {
        "model": "qwen",
        "provider": "vllm",
        "prompt_tokens": 10,
        "completion_tokens": 3,
        "cost_usd": 0.5,
        "duration_ms": 500,
        "turn": 1,
    },
)
TOOL: Told = ("progress", "F1", "r1/agent-1", {"kind": "tool", "name": "edit", "brief": "a.txt"})
DONE: Told = ("progress", "F1", "r1/agent-1", {"kind": "done", "name": "edit", "ok": True})
COMPLETED: Told = ("completed", "F1", "r1/agent-1", {"status": "completed", "attempt": 1})
MERGING: Told = ("claimed", "F1.land", "r1/queue", {"attempt": 1, "fence": 1})
GATE: Told = ("gate_started", "", "r1/queue", {"task_ids": ["F1.land"]})
GREEN: Told = ("gate_ended", "", "r1/queue", {"green": True, "duration_s": 1.0})
LANDED: Told = (
    "completed",
    "F1.land",
    "r1/queue",
    {"status": "completed", "commit": "c" * 40, "batch_size": 2, "proof": "tree"},
)
ENDED: Told = ("run_ended", "", "", {"exit_code": 0, "verdict": "all landed"})
WHOLE = journal(
    *(RUN, POSTED, LAND, CLAIMED, TOOL, DONE, CALL, COMPLETED),
    *(MERGING, GATE, GREEN, LANDED, ENDED),
)


def by_name(spans: list[TraceSpan]) -> dict[str, TraceSpan]:
    found = {span.name: span for span in spans}
    assert len(found) == len(spans)
    return found


def parents(spans: list[TraceSpan]) -> dict[str, str | None]:
    known = {span.span_id: span.name for span in spans}
    return {span.name: None if span.parent_id is None else known[span.parent_id] for span in spans}


# What becomes a span -----------------------------------------------------------------------------


def test_a_run_is_a_tree_of_tasks_agents_tools_models_gates_and_merges() -> None:
    spans = spans_of(WHOLE)
    assert parents(spans) == {
        "run": None,
        "task code": "run",
        "task land": "run",
        "invoke_agent agent-1": "task code",
        "execute_tool edit": "invoke_agent agent-1",
        "chat qwen": "invoke_agent agent-1",
        "merge F1": "task land",
        "gate": "run",
    }
    assert len({span.trace_id for span in spans}) == 1
    assert {span.status for span in spans} <= {"ok", "unset"}


def test_what_comes_before_a_run_has_started_belongs_to_it() -> None:
    spans = spans_of(journal(GATE, GREEN, RUN, ENDED), run="r1")
    assert parents(spans) == {"gate": "run", "run": None}
    assert by_name(spans)["run"].start == 1001.0
    assert len({span.trace_id for span in spans}) == 1
    assert {s.span_id for s in spans_of(WHOLE)} == {s.span_id for s in spans_of(WHOLE, run="r1")}


def test_spans_have_the_times_of_the_journal() -> None:
    spans = by_name(spans_of(WHOLE))
    assert (spans["run"].start, spans["run"].end) == (1001.0, 1013.0)
    assert (spans["task code"].start, spans["task code"].end) == (1002.0, 1008.0)
    assert (spans["invoke_agent agent-1"].start, spans["invoke_agent agent-1"].end) == (
        1004.0,
        1008.0,
    )
    assert (spans["chat qwen"].start, spans["chat qwen"].end) == (1006.5, 1007.0)


def test_attributes_are_those_of_the_conventions_and_unknown_ones_are_left_out() -> None:
    spans = by_name(spans_of(WHOLE))
    assert spans["chat qwen"].attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "qwen",
        "gen_ai.provider.name": "vllm",
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 3,
        "stigmergy.task.id": "F1",
        "stigmergy.model.turn": 1,
        "stigmergy.model.cost_usd": 0.5,
    }
    merge = spans["merge F1"].attributes
    assert (merge[names.COMMIT], merge[names.BATCH_SIZE], merge[names.PROOF]) == (
        "c" * 40,
        2,
        "tree",
    )
    assert spans["gate"].attributes[names.GATE_TASKS] == ("F1.land",)
    kind, task, agent, data = CALL
    unknown = {**data, "prompt_tokens": None, "completion_tokens": None, "cost_usd": None}
    call = by_name(spans_of(journal(RUN, (kind, task, agent, unknown))))["chat qwen"]
    assert not {names.INPUT_TOKENS, names.OUTPUT_TOKENS, names.COST_USD} & call.attributes.keys()


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (names.OPERATION, gen_ai_attributes.GEN_AI_OPERATION_NAME),
        (names.PROVIDER, gen_ai_attributes.GEN_AI_PROVIDER_NAME),
        (names.REQUEST_MODEL, gen_ai_attributes.GEN_AI_REQUEST_MODEL),
        (names.INPUT_TOKENS, gen_ai_attributes.GEN_AI_USAGE_INPUT_TOKENS),
        (names.OUTPUT_TOKENS, gen_ai_attributes.GEN_AI_USAGE_OUTPUT_TOKENS),
        (names.AGENT_ID, gen_ai_attributes.GEN_AI_AGENT_ID),
        (names.AGENT_NAME, gen_ai_attributes.GEN_AI_AGENT_NAME),
        (names.TOOL_NAME, gen_ai_attributes.GEN_AI_TOOL_NAME),
        (names.ERROR_TYPE, error_attributes.ERROR_TYPE),
    ],
)
def test_names_are_those_that_opentelemetry_publishes(ours: str, theirs: str) -> None:
    assert ours == theirs


def test_the_same_events_give_the_same_spans_and_another_run_has_other_ids() -> None:
    tracer = Tracer()
    live = [span for event in WHOLE for span in tracer.take(event)]
    assert {s.span_id: s.to_json() for s in live} == {
        s.span_id: s.to_json() for s in spans_of(WHOLE)
    }
    other = spans_of(journal(("run_started", "", "", {"run_id": "r2"}), POSTED, CLAIMED, COMPLETED))
    assert not {s.span_id for s in live} & {s.span_id for s in other}
    assert {s.trace_id for s in live}.isdisjoint(s.trace_id for s in other)


def test_a_failed_attempt_is_an_error_and_the_task_goes_on_until_it_ends() -> None:
    again: Told = ("failed", "F1", "r1/agent-1", {"status": "pending", "error": "boom\nmore"})
    claimed: Told = ("claimed", "F1", "r1/agent-2", {"attempt": 2, "fence": 2})
    dead: Told = ("failed", "F1", "r1/agent-2", {"status": "failed", "error": "boom"})
    spans = by_name(spans_of(journal(RUN, POSTED, CLAIMED, again, claimed, dead)))
    first, second = spans["invoke_agent agent-1"], spans["invoke_agent agent-2"]
    assert (first.status, first.message) == ("error", "boom")
    assert first.attributes[names.OUTCOME] == "retried"
    assert second.attributes[names.OUTCOME] == "failed"
    assert spans["task code"].attributes[names.OUTCOME] == "failed"
    assert spans["task code"].end == 1006.0


def test_what_has_not_ended_is_called_unfinished() -> None:
    spans = by_name(spans_of(journal(RUN, POSTED, CLAIMED, TOOL)))
    assert {span.attributes[names.OUTCOME] for span in spans.values()} == {"unfinished"}
    assert {span.end for span in spans.values()} == {1004.0}


def test_tools_that_an_attempt_left_open_end_with_it_and_strangers_are_not_believed() -> None:
    stranger: Told = ("progress", "F1", "r1/agent-9", {"kind": "tool", "name": "rm"})
    many = [TOOL] * 150
    spans = spans_of(journal(RUN, POSTED, CLAIMED, stranger, *many, COMPLETED))
    tools = [span for span in spans if span.name.startswith("execute_tool")]
    assert len(tools) == 100
    assert {span.name for span in tools} == {"execute_tool edit"}


def test_a_planners_calls_belong_to_what_it_planned() -> None:
    kind, _, agent, data = CALL
    planning: Told = ("planning", "", "", {"items": 3})
    spans = spans_of(journal(RUN, (kind, "plan-1", agent, data), planning))
    assert parents(spans) == {"run": None, "plan": "run", "chat qwen": "plan"}
    plan = by_name(spans)["plan"]
    assert (plan.start, plan.end, plan.attributes[names.ITEMS]) == (1001.5, 1003.0, 3)


def test_a_run_that_was_resumed_is_one_span_to_its_last_end() -> None:
    stopped: Told = ("run_ended", "", "", {"exit_code": 130, "verdict": "stopped"})
    (run,) = spans_of(journal(RUN, stopped, RUN, ENDED))
    assert (run.start, run.end, run.status) == (1001.0, 1004.0, "ok")


def test_a_board_without_a_run_is_a_trace_of_its_own() -> None:
    (task,) = [s for s in spans_of(journal(POSTED), board="x") if s.name == "task code"]
    assert task.parent_id is None
    (other,) = spans_of(journal(POSTED), board="y")
    assert task.trace_id != other.trace_id


# To OpenTelemetry --------------------------------------------------------------------------------


def test_the_sdk_gets_the_same_spans() -> None:
    exporter = InMemorySpanExporter()
    red: Told = ("gate_ended", "", "", {"green": False, "reason": "2 tests failed"})
    spans = spans_of([*WHOLE[:10], *journal(*([RUN] * 10), red)[10:]])
    assert send(exporter, spans) == len(spans)
    got = {span.name: span for span in exporter.get_finished_spans()}
    assert set(got) == {span.name for span in spans}
    call, gate = got["chat qwen"], got["gate"]
    assert call.kind is SpanKind.CLIENT
    assert call.attributes is not None
    assert call.attributes["gen_ai.usage.input_tokens"] == 10
    assert call.start_time == 1006_500_000_000
    assert call.parent is not None
    assert got["invoke_agent agent-1"].context is not None
    assert call.parent.span_id == got["invoke_agent agent-1"].context.span_id
    assert gate.status.status_code is StatusCode.ERROR
    assert gate.status.description == "2 tests failed"
    assert call.resource.attributes["service.name"] == "stigmergy"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def sent(collector: Collector) -> dict[int, str]:
    """Of all spans that came, the names by id."""
    return {int.from_bytes(span.span_id): span.name for span in collector.spans}


def test_a_collector_gets_all_of_it_over_http(collector: Collector) -> None:
    exporter = open_exporter(collector.url)
    spans = spans_of(WHOLE)
    send(exporter, spans)
    exporter.shutdown()
    assert sent(collector) == {span.span_id: span.name for span in spans}


def test_an_endpoint_that_is_none_and_a_collector_that_refuses_are_told(
    collector: Collector,
) -> None:
    for wrong in ("", "localhost:4318", "ftp://x", "http://"):
        with pytest.raises(UsageError, match="otel_endpoint"):
            open_exporter(wrong)
    collector.refuses = True
    exporter = open_exporter(collector.url)
    with pytest.raises(TransientError, match="did not arrive"):
        send(exporter, spans_of(WHOLE))
    exporter.shutdown()


@pytest.fixture
def board(tmp_path: Path) -> Iterator[TaskBoard]:
    with TaskBoard(tmp_path / "board.db") as opened:
        yield opened


def work(board: TaskBoard, name: str) -> None:
    board.post(Task(task_type="work", task_id=name))
    held = board.claim("agent-1")
    assert held is not None
    board.complete(held, {})


def test_spans_are_sent_as_they_end_and_once_each(board: TaskBoard, collector: Collector) -> None:
    work(board, "before")
    with live_traces(board, collector.url):
        work(board, "first")
        collector.wait_for("task work", "invoke_agent agent-1")
        work(board, "second")
    again = {span.span_id: span for span in spans_of(board.events(), board=board.url)}
    came = [int.from_bytes(span.span_id) for span in collector.spans]
    assert len(came) == len(set(came)) == 4
    told = {again[span_id].attributes[names.TASK_ID] for span_id in came}
    assert told == {"first", "second"}, "what ended before was sent by whoever was there before"


def test_what_a_collector_does_not_take_is_counted_and_told_once(
    board: TaskBoard, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refuses = True
    exporter = open_exporter(collector.url)
    traces = LiveTraces(board, exporter)
    work(board, "a")
    work(board, "b")
    traces.stop()
    traces.follow()
    exporter.shutdown()
    assert traces.dropped == 4
    assert caplog.text.count("did not arrive") == 1
    assert "4 spans were not sent; `stig trace export` sends all" in caplog.text
