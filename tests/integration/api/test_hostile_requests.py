"""What no decent client sends, byte for byte: never a crash, always the one envelope."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import structlog
from aiohttp import web

from orchestrator.api.server import Runner
from orchestrator.api.throttle import REFUSAL
from tests.integration.api.conftest import DOCUMENT, ENVELOPE, Api

_UUID = b"123e4567-e89b-12d3-a456-426614174000"
_PATHS = {path: re.sub(r"\{\w+\}", _UUID.decode(), path).encode() for path in DOCUMENT["paths"]}
_WITH_BODY = [
    (method.upper().encode(), _PATHS[path])
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
    if "requestBody" in operation
]

UNREADABLE = {
    "no http at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a header too long": b"GET /health HTTP/1.1\r\nX-A: " + b"a" * 9000 + b"\r\n\r\n",
    "a path too long": b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\nnonsense\r\n\r\n",
    "two lengths": b"POST /health HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "a length that is none": b"POST /health HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    "a length and chunks": b"POST /api/v1/agents HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a broken chunk": b"POST /api/v1/agents HTTP/1.1\r\nHost: x\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    "a body that is no gzip": b"POST /api/v1/agents HTTP/1.1\r\nHost: x\r\n"
    b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    "a version nobody knows": b"GET / HTTP/9.9\r\n\r\n",
    "a method that is no word": b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a NUL in a header": b"GET / HTTP/1.1\r\nHost: x\r\nX-A: \x00\r\n\r\n",
}
NOT_JSON = {
    "an escaped NUL": rb'{"name": "\u0000", "input_data": {"a": "\u0000"}, "reason": "\u0000"}',
    "a NUL": b'{"name": "\x00"}',
    "a lone surrogate": rb'{"name": "\ud800", "input_data": {"\udc00": 1}}',
    "an encoded surrogate": b'{"name": "\xed\xa0\x80"}',
    "broken UTF-8": b'{"name": "\xff\xc0\x80"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "NaN": b'{"name": NaN}',
    "infinity": b'{"input_data": {"a": -Infinity}}',
    "a number beyond a double": b'{"input_data": {"a": 1e999}}',
    "an integer of 5000 digits": b'{"input_data": ' + b"9" * 5000 + b"}",
    "open lists": b"[" * 50_000,
    "open objects": b'{"a":' * 15_000,
    "deep lists": b'{"input_data": ' + b"[" * 40_000 + b"]" * 40_000 + b"}",
    "a list": b"[]",
    "a text": b'"{}"',
    "two values": b"{} {}",
    "a mark before it": b"\xef\xbb\xbf{}",
    "single quotes": b"{'name': 'a'}",
}
ODD_VALUES = [
    *(b"", b"0", b"-1", b"1.5", b"1e400", b"nan", b"-inf", b"9" * 5000, b"0x10", b"1_0"),
    *(b"%00", b"%ff", b"%ed%a0%80", b"\xff\xfe", b"%", b"%zz", b"%0d%0aX-A:%20b", b"[]", b"'--"),
    *(b"2024-13-01", b"0001-01-01T00:00:00%2B23:59", b"9999-12-31T23:59:59-23:59", b"10000-01-01"),
    *(b"2024-01-01T00:00:00%2B99:99", b"epoch", b"%D9%A1", b"a" * 7000),
]
ODD_SEGMENTS = [
    *(b"%00", b"%ff", b"\xff\xfe", b"%", b"%zz", b"%2e%2e", b"..", b"%2f", b"%0a", b"a" * 7000),
    *(b"%ed%a0%80", b"run-", b"run-%00", b"{agent_id}", b"%7b" + _UUID + b"%7d", b"urn:uuid:x"),
]
ODD_HEADERS = [
    *(b"X-Request-ID: \xff", b"Cookie: \xff=;;", b"Accept-Encoding: \xff", b"Accept: ;;q=x"),
    *(b"If-None-Match: \xff", b"Range: bytes=9-1", b"Connection: upgrade", b"Upgrade: websocket"),
    *(b"Expect: the unexpected", b"Content-Type: \xff", b"Content-Type: application/json;charset="),
    *(b"Host: \xff", b"Authorization: \xff", b"X-Forwarded-For: \xff", b"Idempotency-Key: \xff"),
]


class Wire:
    """Sends bytes, and holds every answer to what is promised of all."""

    def __init__(self, port: int, lines: list[Any]) -> None:
        self.port = port
        self.lines = lines

    async def __call__(self, raw: bytes) -> tuple[int, Any]:
        async with asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(raw)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = re.search(r"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1])) if length else b""
            writer.close()
            await writer.wait_closed()
        status = int(head.split(" ")[1])
        assert status < 500, body
        if status < 400:
            return status, body
        said = json.loads(body)
        assert said.keys() - {"errors"} == ENVELOPE
        assert said["status_code"] == status
        assert f"x-request-id: {said['request_id']}" in head
        assert "content-type: application/json" in head
        assert "server: orchestrator" in head
        assert status != 422 or all(error["field"] for error in said["errors"])
        return status, said


def request(method: bytes, path: bytes, body: bytes | None = None, *headers: bytes) -> bytes:
    more = [b"Host: x", *headers]
    if body is not None:
        more.append(b"Content-Length: %d" % len(body))
    head = b"\r\n".join([method + b" " + path + b" HTTP/1.1", *more])
    return head + b"\r\n\r\n" + (body or b"")


@pytest.fixture
async def wire(api: Api, unused_tcp_port: int) -> AsyncIterator[Wire]:
    """Serve as the program does; nothing sent may be logged as a failure of ours."""
    with structlog.testing.capture_logs() as lines:
        runner = Runner(api.client.app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
        yield Wire(unused_tcp_port, lines)
        await runner.cleanup()
    assert [line for line in lines if line["log_level"] in {"error", "critical"}] == []


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Hold aiohttp to the same: its own log is for crashes."""
    yield
    assert [r.getMessage() for r in caplog.get_records("call") if r.levelname == "ERROR"] == []


@pytest.mark.parametrize("name", UNREADABLE)
async def test_unreadable_http_is_400(wire: Wire, name: str) -> None:
    status, _ = await wire(UNREADABLE[name])

    assert status == 400


@pytest.mark.parametrize("name", NOT_JSON)
async def test_a_body_that_is_no_object_of_json_is_422(wire: Wire, name: str) -> None:
    for method, path in _WITH_BODY:
        path_of_a_run = path.replace(b"/runs/", b"/runs/run-")

        status, said = await wire(request(method, path_of_a_run, NOT_JSON[name]))

        assert status == 422, said


@pytest.mark.parametrize("path", _PATHS)
async def test_odd_values_of_a_query_are_no_crash(wire: Wire, path: str) -> None:
    described = DOCUMENT["paths"][path].get("get", {}).get("parameters", [])
    names = [p["name"].encode() for p in described if p["in"] == "query"]
    for name in (*names, b"unknown", b"%00", b"\xff"):
        for value in ODD_VALUES:
            status, _ = await wire(request(b"GET", b"%s?%s=%s" % (_PATHS[path], name, value)))

            assert status in {200, 400, 404, 405, 422}


@pytest.mark.parametrize("path", [path for path in _PATHS if "{" in path])
async def test_odd_ids_are_no_crash(wire: Wire, path: str) -> None:
    for method in DOCUMENT["paths"][path]:
        for segment in ODD_SEGMENTS:
            odd = _PATHS[path].replace(_UUID, segment)
            status, _ = await wire(request(method.upper().encode(), odd, b"{}"))

            assert status in {400, 404, 405, 422}


@pytest.mark.parametrize("path", [b"/", b"/health", b"/openapi.json", b"/nope", b"/api/v1/agents"])
async def test_odd_headers_are_no_crash(wire: Wire, path: bytes) -> None:
    for header in ODD_HEADERS:
        status, _ = await wire(request(b"GET", path, None, header))

        assert status in {200, 400, 404, 417}, header


@pytest.mark.parametrize("method", [b"FOO", b"TRACE", b"PROPFIND", b"PATCH", b"A" * 50])
async def test_methods_that_a_path_does_not_take_are_no_crash(wire: Wire, method: bytes) -> None:
    status, _ = await wire(request(method, b"/api/v1/agents"))

    assert status in {400, 405}  # aiohttp's parser in C knows a list of methods


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(wire: Wire) -> None:
    head = b"POST /api/v1/agents HTTP/1.1\r\nHost: x\r\nContent-Length: 999999999\r\n\r\n"

    status, said = await wire(head)

    assert (status, said["detail"]) == (413, "Request body is too large")


async def test_chunks_that_grow_too_large_are_refused(wire: Wire) -> None:
    body = b"40000\r\n" + b"a" * 0x40000 + b"\r\n0\r\n\r\n"
    head = b"POST /api/v1/agents HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    status, _ = await wire(head + body)

    assert status == 413


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_crash(
    api: Api, wire: Wire, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    monkeypatch.setattr(api.deps.metrics, "request", lambda *counted: left.set_result(counted))

    _, writer = await asyncio.open_connection("127.0.0.1", wire.port)
    writer.write(request(b"POST", b"/api/v1/agents", None, b"Content-Length: 10") + b"{")
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    assert (await left)[2] == 400


async def test_executes_beyond_the_limit_are_refused_unread_and_nothing_else_is(
    wire: Wire, api: Api
) -> None:
    path = b"/api/v1/workflows/%s/execute" % _UUID
    api.deps.throttle.limit = 0

    for body in (b"{}", b"[", b"x" * 100_000):
        status, said = await wire(request(b"POST", path, body))
        assert (status, said["detail"]) == (429, REFUSAL)
    counted = 'orchestrator_http_requests_total{method="POST",route="%s",status="429"} 3.0'
    route = "/api/v1/workflows/{workflow_id}/execute"
    assert counted % route in api.deps.metrics.render().decode()

    assert [line for line in wire.lines if line["event"] == "request_answered"] == []

    # The others go all the way, as their lines in the log say.
    assert (await wire(request(b"GET", path)))[0] == 405
    assert [line["event"] for line in wire.lines] == ["request_answered"]
    assert (await wire(request(b"POST", b"/api/v1/workflows", b"{}")))[0] == 422
    assert (await wire(request(b"POST", path + b"/more", b"{}")))[0] == 404
    api.deps.throttle.limit = 1
    assert (await wire(request(b"POST", path, b"[")))[0] == 422
