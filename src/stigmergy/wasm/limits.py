"""What a user says that the agents of a swarm may use, checked."""

from typing import get_args

from stigmergy.errors import UsageError
from stigmergy.wasm.engine import CohortSettings, FloatMode
from stigmergy.wasm.given import whole
from stigmergy.wasm.hostcalls import Imports

__all__ = ["settings_of"]


def settings_of(
    *,
    memory: int,
    output: int,
    mailbox_messages: int,
    message_bytes: int,
    call_stack_bytes: int,
    floats: FloatMode,
    seed: int,
    clock_start_ns: int,
    imports: Imports | None,
) -> CohortSettings:
    """Return the settings of each agent.

    Raises:
        UsageError: One of them is not what it should be; it is named.
    """
    if floats not in get_args(FloatMode):
        message = f"floats is {floats!r}; it is strict or fast"
        raise UsageError(message)
    return CohortSettings(
        memory_bytes=whole("agent_memory_size", memory, 1),
        output_bytes=whole("output_size", output, 0),
        mailbox_messages=whole("mailbox_messages", mailbox_messages, 1),
        message_bytes=whole("message_bytes", message_bytes, 1),
        call_stack_bytes=whole("call_stack_bytes", call_stack_bytes, 1),
        floats=floats,
        seed=seed,
        clock_start_ns=clock_start_ns,
        imports=imports or Imports(),
    )
