"""What can go wrong in a call to an agent, which of it may work another time, and how to say it.

Everything in this package raises `Fault`; only the client turns it into a `CallFailed`, since only
there the agent's name is put in front and its secrets are taken out of the sentence.
"""

import math
import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Self

from multidict import CIMultiDictProxy

from orchestrator import json_text
from orchestrator.agents.auth import Credentials
from orchestrator.domain.agent import Agent, Failure, Outcome

MAX_CAUSE = 1_000  # characters of a sentence that goes into error_message

TASK_NOT_FOUND = -32001
TASK_NOT_CANCELABLE = -32002
UNSUPPORTED_OPERATION = -32004
INVALID_AGENT_RESPONSE = -32006
VERSION_NOT_SUPPORTED = -32009
METHOD_NOT_FOUND = -32601
INTERNAL_ERROR = -32603

_REASONS = {
    "TASK_NOT_FOUND": TASK_NOT_FOUND,
    "TASK_NOT_CANCELABLE": TASK_NOT_CANCELABLE,
    "PUSH_NOTIFICATION_NOT_SUPPORTED": -32003,
    "UNSUPPORTED_OPERATION": UNSUPPORTED_OPERATION,
    "CONTENT_TYPE_NOT_SUPPORTED": -32005,
    "INVALID_AGENT_RESPONSE": INVALID_AGENT_RESPONSE,
    "EXTENDED_AGENT_CARD_NOT_CONFIGURED": -32007,
    "EXTENSION_SUPPORT_REQUIRED": -32008,
    "VERSION_NOT_SUPPORTED": VERSION_NOT_SUPPORTED,
}

SUCCESS = range(200, 300)
REDIRECT = range(300, 400)
CLIENT_ERROR = range(400, 500)
SERVER_ERROR = range(500, 1000)

_A2A_CODES = range(-32009, -32000)  # -32009 … -32001: what the protocol itself defines
_SERVER_CODES = range(-32099, -31999)  # -32099 … -32000: JSON-RPC leaves them to the server
_TRANSIENT_STATUS = frozenset({408, 425, 429})
_MAX_RETRY_AFTER = timedelta(days=1)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")


class Fault(Exception):
    """A call brought no result; `said` goes on after "Agent 'x' ", in full and unscrubbed."""

    def __init__(
        self,
        said: str,
        outcome: Outcome,
        *,
        retry_after: timedelta | None = None,
        code: int | None = None,
        status: int | None = None,
        unreached: bool = False,
    ) -> None:
        super().__init__(said)
        self.said = said
        self.outcome = outcome
        self.retry_after = retry_after
        self.code = code  # of a JSON-RPC error
        self.status = status  # of an HTTP answer that was not 2xx
        self.unreached = unreached  # there is nobody at the address: the card may know a new one

    def sentence(self, agent: str) -> str:
        return f"Agent '{agent}' {self.said}"

    def again(self) -> Self:
        """Return the same fault for somebody else who waited for the same thing."""
        return type(self)(
            self.said,
            self.outcome,
            retry_after=self.retry_after,
            code=self.code,
            status=self.status,
            unreached=self.unreached,
        )


class TimedOut(Fault):
    """The exchange took longer than the agent's timeout; worded as the guide words it."""

    def sentence(self, agent: str) -> str:
        return f"{self.said} (agent '{agent}')"


def malformed(said: str) -> Fault:
    """Return the fault of an agent that answers what no agent should."""
    return Fault(said, Outcome.FINAL)


def of_status(status: int, headers: CIMultiDictProxy[str], excerpt: str) -> Fault:
    """Return the fault of an HTTP answer that is not 2xx; `excerpt` is what its body says."""
    if status in REDIRECT:
        target = headers.get("Location", "nowhere")
        return Fault(
            f"answered HTTP {status}, a redirect to {target}; redirects are not followed",
            Outcome.FINAL,
            status=status,
        )
    transient = status in SERVER_ERROR or status in _TRANSIENT_STATUS
    return Fault(
        f"answered HTTP {status}" + (f": {excerpt}" if excerpt else ""),
        Outcome.TRANSIENT if transient else Outcome.FINAL,
        retry_after=retry_after(headers) if transient else None,
        status=status,
    )


def of_error(error: dict[str, Any], status: int, headers: CIMultiDictProxy[str]) -> Fault:
    """Return the fault of a JSON-RPC error object; its own message stands in the sentence."""
    code = _reason(error) or _code(error.get("code"))
    said = error.get("message")
    text = said if isinstance(said, str) and said else "no message"
    data = error.get("data")
    if isinstance(data, str) and data and data not in text:
        text = f"{text}: {data}"
    elif isinstance(data, list | dict) and data:
        text = f"{text}: {json_text.dumps(data)}"
    transient = _may_pass(code, status)
    return Fault(
        f"answered with error {'without a code' if code is None else code}: {text}",
        Outcome.TRANSIENT if transient else Outcome.FINAL,
        retry_after=retry_after(headers) if transient else None,
        code=code,
        status=None if status in SUCCESS else status,
    )


def _reason(error: dict[str, Any]) -> int | None:
    """Return the code that an error of HTTP+JSON stands for; its own is the HTTP status."""
    details = error.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict) and (code := _REASONS.get(str(detail.get("reason")))):
            return code
    return None


def _code(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _may_pass(code: int | None, status: int) -> bool:
    """Whether the same request may work another time."""
    if status in _TRANSIENT_STATUS:
        return True
    if status in CLIENT_ERROR:
        return False
    if code is None:
        return status in SERVER_ERROR
    if code in (INTERNAL_ERROR, INVALID_AGENT_RESPONSE):
        return True
    return code in _SERVER_CODES and code not in _A2A_CODES


def retry_after(headers: CIMultiDictProxy[str]) -> timedelta | None:
    """Read `Retry-After`, seconds or a date; a date counts from the answer's own `Date`."""
    text = headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        until, now = _date(text), _date(headers.get("Date", "")) or datetime.now(UTC)
        if until is None:
            return None
        return min(max(until - now, timedelta(0)), _MAX_RETRY_AFTER)
    if math.isnan(seconds) or seconds < 0:
        return None
    return timedelta(seconds=min(seconds, _MAX_RETRY_AFTER.total_seconds()))


def _date(text: str) -> datetime | None:
    try:
        when = parsedate_to_datetime(text)
    except ValueError:
        return None
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def failure(agent: Agent, credentials: Credentials, fault: Fault) -> Failure:
    """Turn a fault into what the run's machine understands, safe to store and to show."""
    return Failure(
        presentable(fault.sentence(agent.name), credentials), fault.outcome, fault.retry_after
    )


def presentable(text: str, credentials: Credentials) -> str:
    """Return `text` without secrets, control characters and lone surrogates, cut to a length.

    Secrets go first, from the whole text: cutting first could leave a part of one.
    """
    clean = credentials.scrub(text).encode("utf-8", "replace").decode()
    clean = _CONTROL.sub(" ", clean).strip()
    return clean if len(clean) <= MAX_CAUSE else clean[: MAX_CAUSE - 1] + "…"
