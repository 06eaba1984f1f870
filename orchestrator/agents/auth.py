"""The credentials of an agent: the headers that carry them, and their removal from texts."""

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any
from urllib.parse import quote

from yarl import URL

from orchestrator.domain.agent import Agent, AuthType
from orchestrator.domain.record import record

DEFAULT_KEY_HEADER = "X-API-Key"
HIDDEN = "***"

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_HEADER_VALUE = re.compile(r"[^\x00-\x1f\x7f]+")
# Headers that say how the message itself is to be read; no credential belongs there.
_FRAMING = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "expect", "host"}
    | {"keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "accept-encoding"}
    | {"a2a-version", "idempotency-key", "traceparent"}
)
_MIN_SCRUBBED_IN_DATA = 8  # shorter secrets are words that data may hold by chance


@record
class Credentials:
    """What proves to an agent who calls it; never shown."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def scrub(self, text: str) -> str:
        """Return `text` with every secret replaced, also where it is escaped."""
        for secret in self._spellings():
            text = text.replace(secret, HIDDEN)
        return text

    def without_secrets(self, value: Any) -> Any:
        """Return a JSON value without secrets, for whoever may see it."""
        return self._scrubbed(value) if self.secrets else value

    def scrub_value(self, value: Any, raw: bytes) -> Any:
        """Return `value` (JSON parsed from `raw`) without secrets an agent echoed in it."""
        if not self.secrets:
            return value
        long = [s for s in self._spellings() if len(s) >= _MIN_SCRUBBED_IN_DATA]
        if not any(secret.encode() in raw for secret in long):
            return value
        return self._scrubbed(value)

    def _scrubbed(self, value: Any) -> Any:
        match value:
            case str(text):
                return self.scrub(text)
            case dict(members):
                return {self.scrub(k): self._scrubbed(v) for k, v in members.items()}
            case list(items):
                return [self._scrubbed(item) for item in items]
            case _:
                return value

    def _spellings(self) -> list[str]:
        forms = {form for s in self.secrets for form in (s, quote(s, safe=""), json.dumps(s)[1:-1])}
        return sorted(forms, key=len, reverse=True)


NONE = Credentials()


class Unusable(ValueError):
    """The credentials cannot be sent; the message says why, without showing them."""


def credentials(agent: Agent) -> Credentials:
    """Return the agent's credentials; raise `Unusable` when no header can carry them."""
    match agent.auth_type:
        case AuthType.BEARER:
            token = _secret(agent.auth_config, "token")
            return Credentials({"Authorization": f"Bearer {token}"}, (token,))
        case AuthType.APIKEY:
            key = _secret(agent.auth_config, "key")
            return Credentials({_key_header(agent.auth_config): key}, (key,))
        case AuthType.NONE:
            return _from_url(agent.url)


def _from_url(text: str) -> Credentials:
    """Return what stands as user:password@ in the agent's url, as HTTP Basic."""
    if "@" not in text:
        return NONE
    try:
        url = URL(text)
    except ValueError:
        return NONE  # nobody will be called there
    if url.user is None and url.password is None:
        return NONE
    pair = f"{url.user or ''}:{url.password or ''}"
    basic = base64.b64encode(pair.encode()).decode()
    secrets = (basic, url.password) if url.password else (basic,)
    return Credentials({"Authorization": f"Basic {basic}"}, secrets)


def _secret(config: Mapping[str, Any], name: str) -> str:
    value = config.get(name)
    if not isinstance(value, str) or not value:
        raise Unusable(f"has no auth_config.{name}")
    if not _HEADER_VALUE.fullmatch(value):
        raise Unusable(f"has an auth_config.{name} with characters that no header may carry")
    return value


def _key_header(config: Mapping[str, Any]) -> str:
    name = config.get("header") or DEFAULT_KEY_HEADER
    if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
        raise Unusable("has an auth_config.header that is no header name")
    if name.lower() in _FRAMING:
        raise Unusable(f"has {name} as auth_config.header, which means something else in HTTP")
    return name
