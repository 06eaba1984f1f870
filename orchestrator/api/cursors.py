"""Cursors: where a list of runs goes on, as text that only this program reads.

A cursor belongs to its list: the same filters, sort field and order. It carries no secret and is
not signed; whatever is not one of ours, or is of another list, is refused.
"""

import base64
import binascii
import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from orchestrator.api.schemas import RunsQuery
from orchestrator.domain.errors import Fault, Malformed
from orchestrator.domain.record import record
from orchestrator.domain.run import RunId, RunStatus
from orchestrator.store.run_segments import Place

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_PAGE = 2**31 - 1


@record
class Cursor:
    """The place behind which a list goes on, and the number of the page that comes."""

    place: Place
    page: int


class _Text(BaseModel):
    """What a cursor's text holds; `of` tells its list from others, `at` is in microseconds."""

    model_config = ConfigDict(strict=True, extra="forbid")

    of: str
    page: int = Field(ge=1)
    status: RunStatus = Field(strict=False)
    at: int | None
    id: UUID = Field(strict=False)


def write(query: RunsQuery, place: Place, page: int) -> str:
    """Return the cursor of the page that comes behind a place."""
    at = None if place.at is None else (place.at - _EPOCH) // timedelta(microseconds=1)
    text = _Text(
        of=_list(query), page=min(page, _MAX_PAGE), status=place.status, at=at, id=place.id
    )
    return base64.urlsafe_b64encode(text.model_dump_json().encode()).rstrip(b"=").decode()


def read(query: RunsQuery) -> Cursor | None:
    """Read the query's cursor, if it has one; raise `Malformed`."""
    if query.cursor is None:
        return None
    try:
        padding = "=" * (-len(query.cursor) % 4)
        raw = base64.b64decode(query.cursor + padding, altchars=b"-_", validate=True)
        text = _Text.model_validate_json(raw)
        at = None if text.at is None else _EPOCH + timedelta(microseconds=text.at)
    except (ValidationError, binascii.Error, ValueError, OverflowError):
        raise _refused(query, "is not one that this API gave") from None
    if text.of != _list(query):
        raise _refused(query, "is of a list with other filters or another order")
    return Cursor(Place(text.status, at, RunId(text.id)), text.page)


def _list(query: RunsQuery) -> str:
    """Name a list by its filters and its order."""
    moments = (query.created_after, query.created_before)
    asked = (
        query.status,
        query.workflow_id,
        query.workflow_definition_id,
        *(moment and moment.astimezone(UTC) for moment in moments),
        query.sort_by,
        query.sort_order,
    )
    return hashlib.blake2b(orjson.dumps(asked), digest_size=6).hexdigest()


def _refused(query: RunsQuery, why: str) -> Malformed:
    return Malformed(
        Fault(("query", "cursor"), "value_error", f"Value error, the cursor {why}", query.cursor)
    )
