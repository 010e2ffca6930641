"""Secrets taken out of what is to be remembered, by the look of them.

Keys and tokens of the providers that developers meet have forms of their own. What has none, such
as a password in plain words, cannot be known: nobody should hand one to an agent. Pure.
"""

from __future__ import annotations

import re
from typing import Final, cast

from stigmergy.board.task import Json

__all__ = ["looks_secret", "redact", "redact_json"]

_REDACTED: Final = "[redacted]"

_WHOLE: Final = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)"
    r"|\b(?:"
    r"sk-[A-Za-z0-9_-]{20,}"  # OpenAI, Anthropic, OpenRouter
    r"|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{22,}|glpat-[A-Za-z0-9_-]{20,}"
    r"|(?:AKIA|ASIA)[0-9A-Z]{16}\b|AIza[0-9A-Za-z_-]{35}"
    r"|xox[abeoprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{30,}|npm_[A-Za-z0-9]{36,}"
    r"|pypi-[A-Za-z0-9_-]{50,}|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}"
    # JSON web tokens. Bounded: a text of their beginnings alone must not be searched for ever.
    r"|eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10,8000}\.[A-Za-z0-9_-]{10,}"
    r")",
    re.DOTALL,
)
_AFTER: Final = re.compile(
    r"(\b[Bb]earer |://[^/\s:@\"']{0,100}:)"  # a header's token, a password in an address
    r"(?:(?<= )[A-Za-z0-9._~+/=-]{20,}|(?<=:)[^@\s/\"']{1,200}(?=@))"
)


def redact(text: str) -> str:
    """`text` with what looks like a secret replaced by `[redacted]`. Idempotent."""
    return _AFTER.sub(rf"\1{_REDACTED}", _WHOLE.sub(_REDACTED, text))


def looks_secret(text: str) -> bool:
    """There is something in it that `redact` would take out."""
    return redact(text) != text


def redact_json(value: Json) -> Json:
    """A JSON value with the secrets taken out of all its texts, names of members too."""
    match value:
        case str():
            return redact(value)
        case list():
            return [redact_json(item) for item in cast("list[Json]", value)]
        case dict():
            members = cast("dict[str, Json]", value).items()
            return {redact(name): redact_json(item) for name, item in members}
        case _:
            return value
