"""What a user can set, and where it comes from.

Read once where the program starts and handed down as a value; nothing below asks the environment.
Later sources win: defaults, `stigmergy.toml` in the working folder (or the file that
`STIG_CONFIG` names), `STIG_*` environment variables, flags of the command line.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from stigmergy.errors import UsageError

__all__ = ["CONFIG_FILE", "TOKEN_VARIABLE", "Settings", "load_settings"]

CONFIG_FILE = "stigmergy.toml"
TOKEN_VARIABLE: Final = "STIG_TOKEN"  # noqa: S105 - the name of a variable
"""Where clients of a server, and the server itself, look for a token that is in no file."""

_PREFIX: Final = "STIG_"
_NO_SETTINGS: Final = frozenset(
    {"STIG_CONFIG", "STIG_MODEL_KEY", "STIG_BOARD", TOKEN_VARIABLE}
    # What an agent has around it; its task may be to run `stig`.
    | {"STIG_WORKSPACE", "STIG_SANDBOX_ID"}
    | {"STIG_PATH", "STIG_TASK", "STIG_DESCRIPTION", "STIG_PROMPT"}
)
"""Variables with the settings' prefix that mean something else."""

Seconds = Annotated[float, Field(gt=0, le=366 * 24 * 3600, allow_inf_nan=False)]
"""A length of time; a limit of years is none, and clocks overflow on it."""


class Settings(BaseSettings):
    """All settings of a coding run. `docs/reference/settings.md` explains each."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    agents: int = Field(default=4, ge=1, le=1000)
    """Agents of a run."""
    parallel: bool = True
    """Agents work at the same time; otherwise they take turns, one at a time."""
    agent_command: str | None = None
    """A command line that does the tasks instead of the built-in agent; `{path}`, `{task}` and
    `{description}` in it are replaced. It is split into words and run without a shell."""
    agent_shell: bool = False
    """Give `agent_command` to `/bin/sh -c`; the values then come as `$STIG_PATH` and so on."""
    model: str | None = None
    """`PRESET:MODEL`, `URL#MODEL` or `replay:FILE`."""
    spillover: tuple[str, ...] = ()
    """Models that answer when `model` cannot."""
    record: Path | None = None
    """Append what the model says to this file, to be replayed."""
    gate: str | None = None
    """The command that proves a change; found for common projects if not given, `none` for no
    gate at all."""
    gate_timeout_s: Seconds = 900.0
    strategy: Literal["fast-forward", "rebase", "merge-commit"] = "rebase"
    """How a branch comes onto the target."""
    target: str | None = None
    """The branch to land on; the one that is checked out if not given."""
    allow_empty: bool | None = None
    """Believe an agent that says complete and changed nothing; if not given, only a command over
    each file is believed."""
    approve: Literal["none", "plan", "landings"] = "none"
    """What waits for a person: nothing, each plan before agents begin, or all work before it
    enters the merge queue."""
    max_fixes: int = Field(default=3, ge=0)
    """Rounds of mending that one item gets before it is given up."""
    max_attempts: int = Field(default=3, ge=1)
    """Attempts at a task whose agent crashed, timed out or failed."""
    max_items: int = Field(default=200, ge=1)
    """Items that a planner may make in all."""
    max_sprints: int = Field(default=20, ge=1)
    """Times that a planner may plan."""
    reconcile_s: Seconds = 300.0
    """The target is swept this often; five times as often while it is red."""
    task_timeout_s: Seconds = 1800.0
    max_steps: int = Field(default=60, ge=1)
    """Model calls of the built-in agent in one task."""
    stuck_action: Literal["none", "retry"] = "none"
    """What is done by itself about an agent that is stuck: nothing but an alert, or its attempt
    ends and the task is tried again."""
    stuck_after_s: Seconds = 300.0
    """An agent of which nothing is heard for so long is called stuck."""
    lease_s: Seconds = 60.0
    """An agent that is silent for so long has lost its task."""
    budget_tokens: int | None = Field(default=None, ge=0)
    """Of the run, prompts and completions together."""
    budget_usd: Decimal | None = Field(default=None, ge=0)
    """Of the run."""
    task_tokens: int | None = Field(default=None, ge=0)
    """Of one task."""
    task_usd: Decimal | None = Field(default=None, ge=0)
    """Of one task."""
    fleet_tokens: int | None = Field(default=None, ge=0)
    """Of all runs of this user on this machine."""
    fleet_usd: Decimal | None = Field(default=None, ge=0)
    """Of all runs of this user on this machine."""
    allow_unknown_prices: bool = False
    """Use models whose price is unknown though a budget in dollars is set, which then cannot
    hold them."""
    memory_namespace: tuple[str, ...] = ()
    """What planners and agents are told is looked for in these; the first one is written to."""
    memory: Path | None = None
    """The memory's file; `.stigmergy/memory.db` of the repository if not given."""
    sandbox_view: Literal["auto", "overlay", "worktree"] = "auto"
    sandbox_confine: Literal["auto", "bubblewrap", "none"] = "auto"
    sandbox_network: bool = False
    """Grant agents and gates the host's network."""
    sandbox_share: tuple[Path, ...] = ()
    """Further host paths that are readable inside."""
    sandbox_env: dict[str, str] = Field(default_factory=dict[str, str])
    """Environment variables inside. Not for secrets: agents can read them."""
    sandbox_memory_mb: int | None = Field(default=4096, ge=64)
    sandbox_processes: int | None = Field(default=512, ge=8)
    otel_endpoint: str | None = None
    """Send the run's trace there while it goes on: a collector that takes OTLP over HTTP."""
    log_format: Literal["text", "json"] = "text"
    """How the program's own log is written to stderr."""
    log_level: Literal["debug", "info", "warning", "error"] = "warning"
    """The least that is logged."""
    commit_name: str = "Stigmergy agent"
    commit_email: str = "agent@stigmergy.invalid"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then the environment, then the file; no .env and no secrets folder."""
        del dotenv_settings, file_secret_settings
        file = Path(os.environ.get("STIG_CONFIG", CONFIG_FILE))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, file)


def load_settings(**flags: Any) -> Settings:
    """The settings; flags that are None are not given.

    Raises:
        UsageError: a setting is unknown or has a wrong value; the text names it.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    _check_file()
    _check_names(os.environ)
    try:
        return Settings(**given)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors(include_url=False, include_input=False)
        ]
        raise UsageError(f"settings: {'; '.join(faults)}") from None
    except ValueError as error:
        raise UsageError(f"settings: {error}") from None
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {error.strerror}") from None


def _check_file() -> None:
    """See that the settings' file is one, for what is none would be passed over.

    Raises:
        UsageError: it is not.
    """
    named = os.environ.get("STIG_CONFIG")
    if named is not None and not Path(named).is_file():
        raise UsageError(f"STIG_CONFIG names {named}, which is not a file")
    usual = Path(CONFIG_FILE)
    if named is None and (usual.exists() or usual.is_symlink()) and not usual.is_file():
        raise UsageError(f"{CONFIG_FILE} is not a file; remove it, or name another in STIG_CONFIG")


def _check_names(environ: Iterable[str]) -> None:
    """See that every variable with the settings' prefix is known.

    Raises:
        UsageError: one is not; pydantic would pass over it.
    """
    known = {f"{_PREFIX}{name.upper()}" for name in Settings.model_fields} | _NO_SETTINGS
    for name in sorted(environ):
        if not name.upper().startswith(_PREFIX) or name.upper() in known:
            continue
        # With the prefix, every name would be near another.
        bare = name.upper().removeprefix(_PREFIX).lower()
        near = difflib.get_close_matches(bare, Settings.model_fields, n=1)
        meant = (
            f"did you mean {_PREFIX}{near[0].upper()}?"
            if near
            else "see docs/reference/settings.md"
        )
        raise UsageError(f"settings: the environment has {name}, which is no setting; {meant}")
