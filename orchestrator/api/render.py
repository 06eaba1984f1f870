"""Values of the program as the JSON that users see."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from aiohttp import web

JSON = "application/json"
_UTC = "+00:00"


def utc(moment: datetime) -> str:
    """Write an aware UTC time as ISO 8601 with milliseconds and `Z`."""
    return moment.isoformat(timespec="milliseconds").removesuffix(_UTC) + "Z"


def maybe_utc(moment: datetime | None) -> str | None:
    return None if moment is None else utc(moment)


def fragment(text: str | None) -> orjson.Fragment | None:
    """Pass stored JSON text through as it is: key order and numbers stay the user's."""
    return None if text is None else orjson.Fragment(text)


def answer(value: Any, status: int = 200, warnings: Sequence[str] = ()) -> web.Response:
    """Make a JSON answer; `warnings` tell the client which of its fields meant nothing."""
    if warnings:
        value = {**value, "warnings": list(warnings)}
    return web.Response(body=orjson.dumps(value), status=status, content_type=JSON)


def page(
    items: Sequence[Mapping[str, Any]], total: int, number: int, size: int, **more: Any
) -> web.Response:
    """Make the answer of a list; `more` are fields that not every list has."""
    return answer(
        {
            "items": list(items),
            "total": total,
            "page": number,
            "page_size": size,
            "total_pages": -(-total // size),
            **more,
        }
    )
