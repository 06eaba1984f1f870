"""Hints on the wire: what comes back, and what is skipped for which reason."""

import json
from dataclasses import replace
from uuid import UUID

import pytest

from orchestrator.domain.hint import Hint, HintKind
from orchestrator.domain.run import RunId
from orchestrator.domain.term import Partition
from orchestrator.feed.hints import Skip, decode, encode

OURS, THEIRS = UUID(int=1), UUID(int=2)
P3 = Partition(3)
RUN = RunId(UUID("01900000-0000-7000-8000-000000000001"))
HINT = Hint(HintKind.RUN_REQUESTED, RUN, P3, 7)


def record(**changes: object) -> bytes:
    _, value = encode(OURS, HINT)
    return json.dumps(json.loads(value) | changes).encode()


@pytest.mark.parametrize("kind", HintKind)
def test_a_hint_comes_back_as_it_went(kind: HintKind) -> None:
    key, value = encode(OURS, replace(HINT, kind=kind))

    assert decode(OURS, P3, value) == replace(HINT, kind=kind)
    assert key == f"run-{RUN}".encode()
    assert len(value) < 250


def test_anothers_record_is_foreign_whatever_its_version() -> None:
    assert decode(THEIRS, P3, record()) is Skip.FOREIGN
    assert decode(THEIRS, P3, record(v=99)) is Skip.FOREIGN


@pytest.mark.parametrize("changes", [{"v": 2}, {"kind": "RunPaused"}])
def test_what_a_newer_version_says_is_unknown(changes: dict[str, object]) -> None:
    assert decode(OURS, P3, record(**changes)) is Skip.UNKNOWN


def test_fields_that_a_newer_version_added_do_no_harm() -> None:
    assert decode(OURS, P3, record(priority=7)) == HINT


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
        record(seq=None),
    ],
    ids=range(16),
)
def test_poison_is_skipped(value: bytes | None) -> None:
    assert decode(OURS, P3, value) is Skip.POISON
