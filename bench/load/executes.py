"""The HTTP client of what is measured: one that takes little from who is loaded.

On one machine the load and what is loaded share the cores. aiohttp's client took a third of a
millisecond for an execute, half of what the orchestrator takes for the whole run; this is the
transport that the orchestrator itself calls agents with (ADR 7).
"""

import asyncio
import functools
from dataclasses import dataclass
from typing import Self

from yarl import URL

from orchestrator.agents.transport import RawHeaders, Sending, Transport

_HEADERS = (("Content-Type", "application/json"), ("Accept", "application/json"))
_TIMEOUT_S = 60.0
_KEPT_S = 4.0  # less than servers and proxies keep an idle connection
_MAX_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer; `retry_after` is the header as it came."""

    status: int
    retry_after: str | None
    body: bytes


class Executes:
    """An async context manager; at most `connections` requests are under way at a time."""

    def __init__(self, connections: int) -> None:
        self._transport = Transport(keep=connections, keep_s=_KEPT_S)
        self._places = asyncio.Semaphore(connections)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._transport.close()

    async def post(self, address: str, body: bytes) -> Answered:
        """Send JSON and return the answer; like `get`."""
        return await self._call("POST", address, body)

    async def get(self, address: str) -> Answered:
        """Return the answer.

        Raises `TimeoutError` when there is none within a minute, waiting for a connection included,
        and what `Transport.call` raises.
        """
        return await self._call("GET", address, b"")

    async def _call(self, method: str, address: str, body: bytes) -> Answered:
        with self._transport.within(_TIMEOUT_S):
            async with self._places:
                status, headers, answer = await self._transport.call(
                    method, _url(address), _HEADERS, body, _MAX_BYTES, Sending()
                )
        return Answered(status, _retry_after(headers), answer)


@functools.lru_cache(maxsize=64)
def _url(address: str) -> URL:
    return URL(address)


def _retry_after(headers: RawHeaders) -> str | None:
    for name, value in headers:
        if name.lower() == b"retry-after":
            return value.decode("latin-1")
    return None
