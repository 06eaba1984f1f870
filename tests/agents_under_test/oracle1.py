"""Judges A2A 1.0 requests as the official SDK 1.x does, strictly; run in .venvs/a2a1.

Reads a JSON list of request bodies on stdin; writes a list of verdicts, null or what is wrong.
"""

import json
import sys
from typing import Any

from a2a.types import (
    CancelTaskRequest,
    GetTaskRequest,
    ListTasksRequest,
    SendMessageRequest,
    SubscribeToTaskRequest,
)
from a2a.utils.proto_utils import validate_proto_required_fields
from google.protobuf import json_format  # type: ignore[import-untyped]

REQUESTS: dict[str, Any] = {
    "SendMessage": SendMessageRequest,
    "SendStreamingMessage": SendMessageRequest,
    "GetTask": GetTaskRequest,
    "CancelTask": CancelTaskRequest,
    "SubscribeToTask": SubscribeToTaskRequest,
    "ListTasks": ListTasksRequest,
}


def verdict(body: dict[str, Any]) -> str | None:
    try:
        request = json_format.ParseDict(body["params"], REQUESTS[body["method"]]())
        validate_proto_required_fields(request)
    except Exception as wrong:  # noqa: BLE001 - whatever the SDK says is the verdict
        return repr(wrong)
    return None


json.dump([verdict(body) for body in json.load(sys.stdin)], sys.stdout)
