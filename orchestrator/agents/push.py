"""Push notifications: where agents send news of their tasks, and who is believed.

A push is a hint: it wakes whoever follows the task, and the truth is asked for. It comes to the
process that follows the task (`public_url` is its own), so that secrets live no longer than that.
"""

import hashlib
import hmac
import secrets
from collections.abc import Iterator
from typing import Any

from orchestrator.agents.dialect import PushTarget
from orchestrator.domain.agent import Call

PATH = "/api/v1/push"


class Push:
    """Makes one address and one secret an attempt; knows its own again without keeping any."""

    def __init__(self, public_url: str) -> None:
        self._base = public_url.rstrip("/") + PATH
        self._key = secrets.token_bytes(32)

    def target(self, _call: Call) -> PushTarget:
        """Return where news of a call may be sent, and with which secret."""
        name = secrets.token_urlsafe(16)
        return PushTarget(f"{self._base}/{name}", self._secret(name))

    def accepts(self, name: str, token: str | None, authorization: str | None) -> bool:
        """Whether one of the two headers carries the secret of this address."""
        secret = self._secret(name).encode()
        _, _, credentials = (authorization or "").partition(" ")
        by_token = hmac.compare_digest(secret, (token or "").encode())
        return hmac.compare_digest(secret, credentials.strip().encode()) or by_token

    def _secret(self, name: str) -> str:
        return hmac.new(self._key, name.encode(), hashlib.sha256).hexdigest()


def task_ids(body: Any) -> Iterator[str]:
    """Yield the tasks that a notification of any version is about."""
    if not isinstance(body, dict):
        return
    for value in (body, *body.values()):  # a bare task or update, or a wrapped one
        if isinstance(value, dict):
            named = value.get("taskId") or (value.get("id") if "status" in value else None)
            if isinstance(named, str) and named:
                yield named
