"""Cursors: what was written is read; whatever else is refused, as a fault of the query."""

import base64
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.api import cursors
from orchestrator.api.schemas import RunsQuery
from orchestrator.domain.errors import Malformed
from orchestrator.domain.run import RunId, RunStatus
from orchestrator.store.run_segments import Place

PLACES = st.builds(
    Place,
    st.sampled_from(RunStatus),
    st.none() | st.datetimes(timezones=st.just(UTC)),
    st.uuids().map(RunId),
)
PLACE = Place(RunStatus.FAILED, datetime(2026, 1, 1, tzinfo=UTC), RunId(UUID(int=7)))


@given(PLACES, st.integers(1, 2**40))
def test_what_was_written_is_read(place: Place, page: int) -> None:
    text = cursors.write(RunsQuery(), place, page)

    read = cursors.read(RunsQuery(cursor=text, page=9, page_size=7))

    assert read is not None
    assert read.place == place
    assert read.page == min(page, 2**31 - 1)
    assert text.isascii()
    assert "=" not in text


def test_no_cursor_is_none() -> None:
    assert cursors.read(RunsQuery()) is None


def test_the_same_moment_in_another_zone_is_the_same_list() -> None:
    def at(moment: str) -> RunsQuery:
        return RunsQuery.model_validate({"created_after": moment})

    text = cursors.write(at("2026-01-01T12:00:00Z"), PLACE, 2)

    there = at("2026-01-01T14:00:00+02:00").model_copy(update={"cursor": text})
    assert cursors.read(there) is not None


def _written(**changes: Any) -> str:
    text = cursors.write(RunsQuery(), PLACE, 2)
    raw = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return base64.urlsafe_b64encode(orjson.dumps(raw | changes)).decode().rstrip("=")


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "x"},
        {"id": 7},
        {"status": "DONE"},
        {"at": 2**62},
        {"at": 10**18},
        {"at": -(10**17)},
        {"at": 1.5},
        {"at": "2026"},
        {"page": 0},
        {"page": "2"},
        {"of": None},
        {"more": 1},
    ],
)
def test_a_cursor_that_somebody_changed_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed) as refused:
        cursors.read(RunsQuery(cursor=_written(**changes)))

    (fault,) = refused.value.faults
    assert fault.loc == ("query", "cursor")


@given(st.text())
def test_whatever_else_is_refused_and_never_a_crash(text: str) -> None:
    with pytest.raises(Malformed):
        cursors.read(RunsQuery.model_construct(**RunsQuery().model_dump() | {"cursor": text}))
