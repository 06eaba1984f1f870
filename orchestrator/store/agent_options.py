"""An agent's options as JSON: only what differs from the defaults."""

from dataclasses import fields
from typing import Any

from orchestrator import json_text
from orchestrator.domain.agent import CallMode, Options, Protocol

_DEFAULTS = Options()


def text(options: Options) -> str:
    """Write the options."""
    values = {field.name: getattr(options, field.name) for field in fields(options)}
    return json_text.dumps({k: v for k, v in values.items() if v != getattr(_DEFAULTS, k)})


def read(stored: str) -> Options:
    """Read what `text` wrote."""
    values: dict[str, Any] = json_text.loads(stored)
    if "protocol" in values:
        values["protocol"] = Protocol(values["protocol"])
    if "call_mode" in values:
        values["call_mode"] = CallMode(values["call_mode"])
    return Options(**values)
