"""Whether a provider answers at all, asked before a run starts rather than by its first agent."""

from __future__ import annotations

from urllib.parse import urlsplit

import httpx

from stigmergy.addresses import is_loopback
from stigmergy.errors import UsageError
from stigmergy.models.providers import Provider

__all__ = ["check_reachable"]

_TIMEOUT_S = 10.0
_REFUSED = frozenset({401, 403})


def check_reachable(provider: Provider, *, timeout_s: float = _TIMEOUT_S) -> None:
    """Ask for the list of models, which costs nothing. Any answer but a refused key will do.

    Raises:
        UsageError: nothing answers at its address, or it refuses the key.
    """
    config = provider.config
    headers = dict(config.headers)
    if provider.key is not None:
        headers["Authorization"] = f"Bearer {provider.key.get_secret_value()}"
    try:
        # The environment's proxies are the user's way out, but not to this machine; a redirect
        # could carry the key away.
        answer = httpx.get(
            f"{config.base_url}/models",
            headers=headers,
            timeout=timeout_s,
            follow_redirects=False,
            trust_env=not is_loopback(urlsplit(config.base_url).hostname),
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # Only the kind of the error: its text may hold what was sent.
        raise UsageError(
            f"the model's provider {config.name!r} cannot be reached at {config.base_url} "
            f"({type(error).__name__}): is the address right, and is the server running?"
        ) from None
    if answer.status_code in _REFUSED:
        where = config.key_env or config.key_file or "STIG_MODEL_KEY"
        raise UsageError(
            f"the model's provider {config.name!r} refuses the key "
            f"(status {answer.status_code}): look at {where}"
        )
