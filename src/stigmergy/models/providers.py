"""From what the user writes to providers that can be called.

`presets` know the usual places by a short name; `model_source` reads specifiers such as
`openrouter:qwen/qwen3-coder`, `http://127.0.0.1:8000/v1#my-model` and `replay:run.jsonl`;
`open_provider` reads the key, once, from the environment or from a file. The text of a key
appears in no message.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from stigmergy.addresses import is_loopback
from stigmergy.errors import UsageError
from stigmergy.models.config import Budgets, GatewayConfig, ProviderConfig, RetryPolicy

__all__ = [
    "PRESETS",
    "LiveModel",
    "Provider",
    "ReplayModel",
    "gateway_config",
    "open_provider",
    "parse_model",
    "preset",
]


class _Preset(NamedTuple):
    base_url: str | None
    base_url_env: str
    key_env: str
    key_required: bool = True
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    price_id: str | None = None


PRESETS: Mapping[str, _Preset] = {
    "openai": _Preset(
        "https://api.openai.com/v1",
        "OPENAI_BASE_URL",
        "OPENAI_API_KEY",
        max_tokens_field="max_completion_tokens",
    ),
    # Anthropic's own OpenAI-compatible endpoint.
    "anthropic": _Preset("https://api.anthropic.com/v1", "ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY"),
    "openrouter": _Preset(
        "https://openrouter.ai/api/v1",
        "OPENROUTER_BASE_URL",
        "OPENROUTER_API_KEY",
        price_id="openrouter",
    ),
    "ollama": _Preset(
        "http://127.0.0.1:11434/v1", "OLLAMA_BASE_URL", "OLLAMA_API_KEY", key_required=False
    ),
    "vllm": _Preset(
        "http://127.0.0.1:8000/v1", "VLLM_BASE_URL", "VLLM_API_KEY", key_required=False
    ),
    "sglang": _Preset(
        "http://127.0.0.1:30000/v1", "SGLANG_BASE_URL", "SGLANG_API_KEY", key_required=False
    ),
    # These two have an address for each deployment, so there is none to preset.
    "runpod": _Preset(None, "RUNPOD_BASE_URL", "RUNPOD_API_KEY"),
    "modal": _Preset(None, "MODAL_BASE_URL", "MODAL_API_KEY", key_required=False),
}


@dataclass(frozen=True, slots=True)
class LiveModel:
    """A model of a provider."""

    provider: ProviderConfig
    model: str


@dataclass(frozen=True, slots=True)
class ReplayModel:
    """A recording."""

    path: Path


@dataclass(frozen=True, slots=True)
class Provider:
    """A provider with its key at hand."""

    config: ProviderConfig
    key: SecretStr | None = field(default=None, repr=False)


def gateway_config(
    specifier: str,
    *,
    environ: Mapping[str, str],
    spillover: Sequence[str] = (),
    budgets: Budgets | None = None,
    retry: RetryPolicy | None = None,
    record: Path | None = None,
    record_label: str = "",
) -> GatewayConfig:
    """The configuration of a gateway for one model, named as on the command line.

    Models in `spillover` answer under the first one's name when it cannot.
    """
    first = parse_model(specifier, environ=environ)
    if isinstance(first, ReplayModel):
        if spillover or record is not None:
            raise UsageError(f"{specifier!r} is a recording: give it no spillover, and no record")
        return GatewayConfig(replay=first.path, budgets=budgets or Budgets())
    providers = [first.provider]
    for number, text in enumerate(spillover, start=1):
        choice = parse_model(text, environ=environ)
        if isinstance(choice, ReplayModel):
            raise UsageError(f"{text!r} is a recording: it cannot stand in for {specifier!r}")
        changes = {
            "name": f"{choice.provider.name}-spillover{number}",
            "role": "spillover",
            "models": {first.model: choice.model},
        }
        providers.append(choice.provider.model_copy(update=changes))
    return GatewayConfig(
        providers=tuple(providers),
        default_model=first.model,
        budgets=budgets or Budgets(),
        retry=retry or RetryPolicy(),
        record=record,
        record_label=record_label,
    )


def parse_model(specifier: str, *, environ: Mapping[str, str]) -> LiveModel | ReplayModel:
    """The model that `specifier` names.

    `replay:PATH`, `PRESET:MODEL`, or `URL#MODEL` for any other OpenAI-compatible server (its key,
    if it wants one, is read from `STIG_MODEL_KEY`). The provider offers that one model only.

    Raises:
        UsageError: it is none of these, or the preset lacks its address.
    """
    if specifier.startswith(("http://", "https://")):
        return _from_url(specifier)
    kind, colon, rest = specifier.partition(":")
    if not colon or not rest:
        raise UsageError(
            f"{specifier!r} does not name a model: write PRESET:MODEL (presets: "
            f"{', '.join(PRESETS)}), URL#MODEL, or replay:FILE"
        )
    if kind == "replay":
        return ReplayModel(Path(rest))
    return LiveModel(preset(kind, environ=environ, models={rest: rest}), rest)


def preset(
    name: str, *, environ: Mapping[str, str], models: Mapping[str, str] | None = None
) -> ProviderConfig:
    """The provider known as `name`; its address can be replaced by an environment variable."""
    known = PRESETS.get(name)
    if known is None:
        raise UsageError(f"there is no provider {name!r}: known are {', '.join(PRESETS)}")
    base_url = environ.get(known.base_url_env) or known.base_url
    if base_url is None:
        raise UsageError(
            f"{name} gives every deployment its own address: set {known.base_url_env} to it, "
            "up to and with /v1"
        )
    # A key that is not needed and not there is not named, so that plain http stays allowed.
    has_key = known.key_required or bool(environ.get(known.key_env))
    return _provider(
        name=name,
        base_url=base_url,
        key_env=known.key_env if has_key else None,
        key_required=known.key_required,
        models=dict(models) if models is not None else None,
        max_tokens_field=known.max_tokens_field,
        price_id=known.price_id,
    )


def open_provider(config: ProviderConfig, *, environ: Mapping[str, str]) -> Provider:
    """The provider with its key.

    Raises:
        UsageError: the key is required and not there, or its file is open to others.
    """
    key = _key(config, environ)
    if key is not None and not (key.isascii() and key.isprintable() and " " not in key):
        raise UsageError(
            f"the key of provider {config.name!r} holds characters that no key has: "
            "is it pasted whole, on one line?"
        )
    return Provider(config, SecretStr(key) if key else None)


def _from_url(specifier: str) -> LiveModel:
    url, _, model = specifier.partition("#")
    if not model:
        raise UsageError(f"{specifier!r} names no model: write {url}#MODEL")
    safe = url.startswith("https://") or is_loopback(urlsplit(url).hostname)
    provider = _provider(
        name="custom",
        base_url=url,
        key_env="STIG_MODEL_KEY" if safe else None,
        key_required=False,
        models={model: model},
    )
    return LiveModel(provider, model)


def _provider(**fields: Any) -> ProviderConfig:
    try:
        return ProviderConfig(**fields)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"provider {fields['name']!r}: {fault['msg']}") from None


def _key(config: ProviderConfig, environ: Mapping[str, str]) -> str | None:
    if config.key_file is not None:
        return _key_from_file(config.name, config.key_file)
    if config.key_env is None:
        return None
    key = environ.get(config.key_env, "").strip()
    if not key and config.key_required:
        raise UsageError(
            f"provider {config.name!r} needs its key in the environment variable "
            f"{config.key_env}, which is not set"
        )
    return key or None


def _key_from_file(name: str, path: Path) -> str:
    try:
        mode = path.stat().st_mode
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            raise UsageError(
                f"the key file {path} of provider {name!r} is open to every user of this "
                f"machine: run `chmod 600 {path}`"
            )
        key = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(
            f"the key file {path} of provider {name!r} cannot be read: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(f"the key file {path} of provider {name!r} is not text") from None
    if not key:
        raise UsageError(f"the key file {path} of provider {name!r} is empty")
    return key
