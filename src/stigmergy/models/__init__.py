"""Language models: the gateway, its providers, budgets, recordings and replay."""

from stigmergy.models.budget import Amount, Scope, Spend
from stigmergy.models.chat import ChatError, ChatRequest, TokenUsage
from stigmergy.models.config import (
    BudgetLimits,
    Budgets,
    GatewayConfig,
    ProviderConfig,
    RetryPolicy,
    TokenPrice,
)
from stigmergy.models.conversations import read_conversation
from stigmergy.models.gateway import Gateway, RunSpend
from stigmergy.models.ledger import Ledger, default_ledger_path
from stigmergy.models.providers import (
    PRESETS,
    LiveModel,
    ReplayModel,
    gateway_config,
    parse_model,
    preset,
)
from stigmergy.models.recording import Recorder, Recording, load_recording
from stigmergy.models.source import CallNotes, ModelCall, ModelSource
from stigmergy.models.timing import Timing

__all__ = [
    "PRESETS",
    "Amount",
    "BudgetLimits",
    "Budgets",
    "CallNotes",
    "ChatError",
    "ChatRequest",
    "Gateway",
    "GatewayConfig",
    "Ledger",
    "LiveModel",
    "ModelCall",
    "ModelSource",
    "ProviderConfig",
    "Recorder",
    "Recording",
    "ReplayModel",
    "RetryPolicy",
    "RunSpend",
    "Scope",
    "Spend",
    "Timing",
    "TokenPrice",
    "TokenUsage",
    "default_ledger_path",
    "gateway_config",
    "load_recording",
    "parse_model",
    "preset",
    "read_conversation",
]
