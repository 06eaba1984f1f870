"""JSON as text: the one place that turns it into Python values and back.

Parsing keeps key order and integers of any size, and refuses what is no JSON (NaN, Infinity, a lone
surrogate) or cannot be kept (a NUL character, a number beyond a double). Writing is compact UTF-8.
"""

import json
import math
import re
from typing import Any

import orjson
import pydantic_core

# What could hide a NUL character or a number that overflows; rare, so that the walk over the
# parsed value is rare too. Several looks instead of one expression: measured, a tenth of its time.
_NUL = b"\\u0000"
# Each begins with one letter, for which `re` looks fast; to its end: UUIDs hold such letters too.
_SMALL_E = re.compile(rb"e\+?[0-9]{3,}(?:[\s,\]}]|$)")
_LARGE_E = re.compile(rb"E\+?[0-9]{3,}(?:[\s,\]}]|$)")
_ENOUGH, _STRIDE = 300, 30  # digits of a double at the least; of them each 30th byte is one
_DIGITS = re.compile(rb"[0-9]{9}")


def loads(text: bytes | str) -> Any:
    """Parse JSON; raise `ValueError`, saying what and where, for what is refused."""
    raw = text.encode() if isinstance(text, str) else text
    value = pydantic_core.from_json(raw, allow_inf_nan=False, cache_strings="keys")
    if _suspect(raw):
        _refuse_unstorable(value)
    return value


def dumps(value: Any) -> str:
    """Write `value` as compact JSON; integers beyond 64 bits are written in full."""
    return dump_bytes(value).decode()


def dump_bytes(value: Any) -> bytes:
    """Write `value` as compact JSON in UTF-8."""
    try:
        return orjson.dumps(value)
    except TypeError:
        # orjson refuses integers of more than 64 bits; the standard library writes them.
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode()


def _suspect(raw: bytes) -> bool:
    if _NUL in raw or _SMALL_E.search(raw) or _LARGE_E.search(raw):
        return True
    return len(raw) >= _ENOUGH and _DIGITS.search(raw[::_STRIDE]) is not None


def _refuse_unstorable(value: Any) -> None:
    """Raise `ValueError` for a NUL character or an infinite number anywhere in `value`."""
    todo = [value]
    while todo:
        match todo.pop():
            case str(text) if "\0" in text:
                raise ValueError("a NUL character (\\u0000) is not allowed")
            case float(number) if math.isinf(number):
                raise ValueError("a number is too large for a double")
            case dict(members):
                todo += members.keys()
                todo += members.values()
            case list(items):
                todo += items
            case _:
                pass
