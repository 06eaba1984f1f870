"""Hints on the wire: what comes back, and what is skipped for which reason."""

import json
from uuid import UUID

import pytest

from orchestrator.domain.run import RunId
from orchestrator.feed.hints import Hint, Kind, Skip, decode, encode

OURS, THEIRS = UUID(int=1), UUID(int=2)
RUN = RunId(UUID("01900000-0000-7000-8000-000000000001"))


def record(**changes: object) -> bytes:
    _, value = encode(OURS, Hint(Kind.RUN_REQUESTED, RUN))
    return json.dumps(json.loads(value) | changes).encode()


@pytest.mark.parametrize("kind", Kind)
def test_a_hint_comes_back_as_it_went(kind: Kind) -> None:
    key, value = encode(OURS, Hint(kind, RUN))

    assert decode(OURS, value) == Hint(kind, RUN)
    assert key == f"run-{RUN}".encode()
    assert len(value) < 200


def test_anothers_record_is_foreign_whatever_its_version() -> None:
    assert decode(THEIRS, record()) is Skip.FOREIGN
    assert decode(THEIRS, record(v=99)) is Skip.FOREIGN


@pytest.mark.parametrize("changes", [{"v": 2}, {"kind": "RunPaused"}])
def test_what_a_newer_version_says_is_unknown(changes: dict[str, object]) -> None:
    assert decode(OURS, record(**changes)) is Skip.UNKNOWN


def test_fields_that_a_newer_version_added_do_no_harm() -> None:
    assert decode(OURS, record(priority=7)) == Hint(Kind.RUN_REQUESTED, RUN)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff\xfe\x00",
        b"null",
        b"[1]",
        b"{}",
        b'{"v": 1',
        record(v="one"),
        record(deployment=7),
        record(kind=None),
        record(run_id="no run"),
        record(run_id={"$": 1}),
        b"[" * 4000,
        b" " * 5_000_000,
        record(run_id="x" * 10_000),
    ],
    ids=range(15),
)
def test_poison_is_skipped(value: bytes | None) -> None:
    assert decode(OURS, value) is Skip.POISON
