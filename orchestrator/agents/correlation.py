"""The headers that tie a call to its run: Idempotency-Key, and the W3C trace context."""

import hashlib
from urllib.parse import quote
from uuid import UUID

from orchestrator.domain.agent import Call


def headers(call: Call) -> dict[str, str]:
    """Return the same for the same attempt, also when it is made again."""
    return {"Idempotency-Key": _header(call.message_id), "traceparent": _traceparent(call)}


def _header(text: str) -> str:
    """Return `text` as a header may carry it; step ids may hold anything."""
    return text if text.isascii() and text.isprintable() else quote(text)


def _traceparent(call: Call) -> str:
    """Return the W3C trace context: one trace a run, one span an attempt."""
    digest = hashlib.blake2b(f"{call.message_id}/{call.attempt}".encode(), digest_size=8)
    return f"00-{_trace_id(call.run)}-{digest.hexdigest()}-01"


def _trace_id(run: str) -> str:
    try:
        trace_id = UUID(run.removeprefix("run-")).hex
    except ValueError:
        trace_id = ""
    if not trace_id.strip("0"):  # all zeros would be an invalid trace
        return hashlib.blake2b(run.encode(), digest_size=16).hexdigest()
    return trace_id
