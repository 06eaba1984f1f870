"""Judges A2A 0.3 requests as the official SDK 0.3 does; run in .venvs/a2a03.

Reads a JSON list of request bodies on stdin; writes a list of verdicts, null or what is wrong.
"""
# mypy: ignore-errors
# (the SDK 0.3 that it stands on cannot be installed beside the 1.x that is checked against)

import json
import sys
from typing import Any

from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    SendMessageRequest,
    SendStreamingMessageRequest,
    TaskResubscriptionRequest,
)

REQUESTS = {
    "message/send": SendMessageRequest,
    "message/stream": SendStreamingMessageRequest,
    "tasks/get": GetTaskRequest,
    "tasks/cancel": CancelTaskRequest,
    "tasks/resubscribe": TaskResubscriptionRequest,
}


def verdict(body: dict[str, Any]) -> str | None:
    try:
        REQUESTS[body["method"]].model_validate(body)
    except Exception as wrong:  # noqa: BLE001 - whatever the SDK says is the verdict
        return repr(wrong)
    return None


json.dump([verdict(body) for body in json.load(sys.stdin)], sys.stdout)
