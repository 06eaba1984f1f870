"""What the lean transport refuses to send; what it does with answers is in test_odd_agents."""

import pytest
from yarl import URL

from orchestrator.agents.transport import NotConnected, Sending, Transport

NOBODY = URL("http://127.0.0.1:9/")


async def call(name: str, value: str) -> Sending:
    """Try to send a request with this header to where nobody listens."""
    sending = Sending()
    transport = Transport(keep=1, keep_s=1.0)
    with pytest.raises(NotConnected):
        await transport.call("POST", NOBODY, ((name, value),), b"{}", 10, sending)
    return sending


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "a\r\nX-B: b"),
        ("X-A", "a\nb"),
        ("X-A", "a\0"),
        ("X-A", "\x7f"),
        ("X-A", "\N{SNOWMAN}"),
        ("X-A\r\nX-B", "b"),
        ("X A", "b"),
        ("", "b"),
        ("X-A:", "b"),
    ],
)
async def test_a_header_that_would_be_another_is_not_sent(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="cannot be sent"):
        await call(name, value)


@pytest.mark.parametrize("value", ["", "plain", "with\ttab", "caf\xe9", "a: b, c"])
async def test_a_header_may_hold_what_http_allows(value: str) -> None:
    assert not (await call("X-A", value)).sent
