"""What comes in by HTTP becomes a checked value here, or is refused with the field's name."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Generic, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import BaseModel, TypeAdapter, ValidationError

from orchestrator import json_text
from orchestrator.api.schemas import Body, unknown_fields
from orchestrator.domain.errors import Fault, Malformed
from orchestrator.domain.record import record
from orchestrator.store.page import Page

_Q = TypeVar("_Q", bound=BaseModel)
_B = TypeVar("_B", bound=Body)

_UUID = TypeAdapter(UUID)
_SURROGATE = re.compile("[\ud800-\udfff]")
_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")  # visible ASCII, 1..255


@record
class Parsed(Generic[_B]):
    """A request body: checked, as it was sent, and what in it meant nothing."""

    value: _B
    raw: dict[str, Any]
    warnings: list[str]


async def body(request: web.Request, model: type[_B], *, optional: bool = False) -> Parsed[_B]:
    """Read the JSON body; raise `Malformed`. An optional body may be missing or null."""
    raw = await _read(request)
    given = bool(raw.strip())
    if not given and not optional:
        raise Malformed(Fault(("body",), "missing", "Field required"))
    value = loads(raw) if given else {}
    if value is None and optional:
        value = {}
    if not isinstance(value, dict):
        raise Malformed(Fault(("body",), "dict_type", "Input should be a valid dictionary", value))
    return Parsed(_validated(model, value, "body"), value, unknown_fields(model, value))


def query(request: web.Request, model: type[_Q]) -> _Q:
    """Read the query string; raise `Malformed`. Parameters that nobody documented are ignored."""
    return _validated(model, dict(request.query), "query")


def uuid(request: web.Request, name: str) -> UUID:
    """Read a path id; raise `Malformed` if it is no UUID."""
    try:
        return _UUID.validate_python(request.match_info[name])
    except ValidationError as wrong:
        raise Malformed(*_faults(wrong, "path", name)) from None


def page(given: Any) -> Page:
    """Make the store's page of a query that has one."""
    return Page(given.page, given.page_size)


def idempotency_key(request: web.Request) -> str | None:
    """Read the header `Idempotency-Key`; raise `Malformed` unless it is 1 to 255 visible ASCII."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not _KEY.fullmatch(key):
        raise Malformed(
            Fault(
                ("header", "Idempotency-Key"),
                "string_pattern_mismatch",
                "Input should be 1 to 255 visible ASCII characters",
                key,
            )
        )
    return key


def loads(raw: bytes) -> Any:
    """Parse a body; raise `Malformed`, naming the field of what JSON text cannot carry."""
    try:
        return json_text.loads(raw)
    except ValueError as wrong:
        named = list(_unstorable(raw))
        # What was sent is not echoed: it may hold a secret, and nobody can tell where.
        fault = Fault(("body",), "json_invalid", f"Invalid JSON: {wrong}", {})
        raise Malformed(*named or (fault,)) from None


async def _read(request: web.Request) -> bytes:
    """Read the body; what says itself that it is too large is refused before it is sent."""
    size = request.content_length or 0
    if size > request.client_max_size:
        raise web.HTTPRequestEntityTooLarge(request.client_max_size, size)
    try:
        return await request.read()
    except ConnectionError as lost:  # the client left: nothing of ours crashed
        raise web.RequestPayloadError("The connection was lost") from lost


def _validated(model: type[_Q], value: dict[str, Any], where: str) -> _Q:
    try:
        return model.model_validate(value)
    except ValidationError as wrong:
        raise Malformed(*_faults(wrong, where)) from None


def _faults(wrong: ValidationError, *where: str) -> Iterator[Fault]:
    for error in wrong.errors(include_url=False, include_context=False):
        yield Fault((*where, *error["loc"]), error["type"], error["msg"], error["input"])


def _unstorable(raw: bytes) -> Iterator[Fault]:
    """Find, in text that was refused, the fields that a laxer parser can name the fault of."""
    try:
        todo: list[tuple[tuple[str | int, ...], Any]] = [(("body",), json.loads(raw, strict=False))]
    except (ValueError, RecursionError):
        return
    while todo:
        loc, value = todo.pop()
        match value:
            case float() if not math.isfinite(value):
                yield Fault(loc, "finite_number", "Input should be a finite number", str(value))
            case str():
                yield from _bad_text(loc, value)
            case dict():
                for name, item in value.items():
                    yield from _bad_text((*loc, name), name)
                    todo.append(((*loc, name), item))
            case list():
                todo += (((*loc, number), item) for number, item in enumerate(value))
            case _:
                pass


def _bad_text(loc: tuple[str | int, ...], text: str) -> Iterator[Fault]:
    if "\0" in text:
        yield Fault(loc, "value_error", "Value error, a NUL character is not allowed", text)
    elif _SURROGATE.search(text):
        yield Fault(
            loc,
            "string_unicode",
            "Input should be a valid string, unable to parse raw data as a unicode string",
            text,
        )
