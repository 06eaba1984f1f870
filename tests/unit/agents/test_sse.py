"""Events come out whole, however their bytes come in."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.agents.failures import Fault
from orchestrator.agents.sse import Events

STREAM = (
    b": hello\n\ndata: one\n\nevent: error\ndata:two\r\ndata: lines\r\n\r\nid: 7\nretry: 5\n\n"
    b"data\n\r\ndata: \xc3\xa4\r\rdata: last"
)
EVENTS = [b"one", b"two\nlines", b"\xc3\xa4", b"last"]


def _all(chunks: list[bytes], max_event: int = 1000) -> list[bytes]:
    events = Events(max_event)
    found = [data for chunk in chunks for data in events.feed(chunk)]
    return found + events.end()


@given(st.lists(st.integers(0, len(STREAM)), max_size=12))
def test_events_are_the_same_wherever_the_stream_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STREAM)]
    chunks = [STREAM[a:b] for a, b in itertools.pairwise(edges)]

    assert _all(chunks) == EVENTS


@pytest.mark.parametrize("byte", [b"x", b"data: x\n"])
def test_an_event_without_end_is_refused(byte: bytes) -> None:
    with pytest.raises(Fault, match="an event of more than 100 bytes"):
        _all([byte] * 200, max_event=100)


def test_many_small_events_are_no_large_one() -> None:
    assert len(_all([b"data: x\n\n"] * 500, max_event=100)) == 500
