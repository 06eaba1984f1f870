"""The headers that tie a call to its run: Idempotency-Key, and the W3C trace context."""

import functools
import hashlib
import re
from urllib.parse import quote

from orchestrator.domain.agent import Call

_TRACE_ID = re.compile("[0-9a-f]{32}")


def headers(call: Call) -> tuple[tuple[str, str], ...]:
    """Return the same for the same attempt, also when it is made again."""
    return (("Idempotency-Key", _header(call.message_id)), ("traceparent", _traceparent(call)))


def _header(text: str) -> str:
    """Return `text` as a header may carry it; step ids may hold anything."""
    return text if text.isascii() and text.isprintable() else quote(text)


def _traceparent(call: Call) -> str:
    """Return the W3C trace context: one trace a run, one span an attempt."""
    digest = hashlib.blake2b(f"{call.message_id}/{call.attempt}".encode(), digest_size=8)
    return f"00-{_trace_id(call.run)}-{digest.hexdigest()}-01"


@functools.lru_cache(maxsize=512)  # a run's calls follow each other
def _trace_id(run: str) -> str:
    trace_id = run[4:].replace("-", "")  # of run-<uuid>
    if _TRACE_ID.fullmatch(trace_id) and trace_id.strip("0"):  # all zeros would be invalid
        return trace_id
    return hashlib.blake2b(run.encode(), digest_size=16).hexdigest()
