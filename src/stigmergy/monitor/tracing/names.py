"""Every name that a trace of a swarm uses, in one place: spans, attributes, services.

`gen_ai.*` and `error.type` are those of OpenTelemetry's semantic conventions for generative AI;
`stigmergy.*` are this program's own. Source: opentelemetry.io, Semantic conventions, "Generative AI
spans" and "Generative AI agent and framework spans".
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "AGENT_ID",
    "AGENT_NAME",
    "ATTEMPT",
    "BATCH_SIZE",
    "COMMIT",
    "COST_USD",
    "ERROR_TYPE",
    "FENCE",
    "GATE_GREEN",
    "GATE_TASKS",
    "INPUT_TOKENS",
    "ITEM",
    "ITEMS",
    "LABEL",
    "OPERATION",
    "OUTCOME",
    "OUTPUT_TOKENS",
    "PARENT_TASK",
    "PRIORITY",
    "PROOF",
    "PROVIDER",
    "REPLAYED",
    "REQUEST_MODEL",
    "RUN_ID",
    "SCOPE",
    "SERVICE",
    "TARGET",
    "TASK_ID",
    "TASK_TITLE",
    "TASK_TYPE",
    "TOOL_NAME",
    "TURN",
    "chat",
    "execute_tool",
    "invoke_agent",
]

SERVICE: Final = "stigmergy"
"""`service.name` of the resource."""
SCOPE: Final = "stigmergy.monitor.tracing"
"""The instrumentation scope."""

# Spans -------------------------------------------------------------------------------------------

RUN: Final = "run"
PLAN: Final = "plan"
TASK: Final = "task"
MERGE: Final = "merge"
GATE: Final = "gate"


def invoke_agent(agent: str) -> str:
    """An agent's attempt at a task."""
    return f"invoke_agent {agent}"


def execute_tool(tool: str) -> str:
    """A tool that an agent used."""
    return f"execute_tool {tool}"


def chat(model: str) -> str:
    """A call of a model."""
    return f"chat {model}"


# Attributes of the conventions -------------------------------------------------------------------

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
TOOL_NAME: Final = "gen_ai.tool.name"
ERROR_TYPE: Final = "error.type"

# Our own -----------------------------------------------------------------------------------------

RUN_ID: Final = "stigmergy.run.id"
LABEL: Final = "stigmergy.run.label"
"""What of the run is replayed or simulated."""
TARGET: Final = "stigmergy.run.target"
TASK_ID: Final = "stigmergy.task.id"
TASK_TYPE: Final = "stigmergy.task.type"
TASK_TITLE: Final = "stigmergy.task.title"
PARENT_TASK: Final = "stigmergy.task.parent_id"
PRIORITY: Final = "stigmergy.task.priority"
ATTEMPT: Final = "stigmergy.task.attempt"
FENCE: Final = "stigmergy.task.fence"
OUTCOME: Final = "stigmergy.outcome"
"""`completed`, `failed`, `retried`, `released`, `expired`, `cancelled`, `unfinished`."""
TURN: Final = "stigmergy.model.turn"
REPLAYED: Final = "stigmergy.model.replayed"
COST_USD: Final = "stigmergy.model.cost_usd"
"""Left out where the price is unknown."""
ITEM: Final = "stigmergy.item.key"
ITEMS: Final = "stigmergy.plan.items"
COMMIT: Final = "stigmergy.merge.commit"
BATCH_SIZE: Final = "stigmergy.merge.batch_size"
PROOF: Final = "stigmergy.merge.proof"
GATE_GREEN: Final = "stigmergy.gate.green"
GATE_TASKS: Final = "stigmergy.gate.tasks"
