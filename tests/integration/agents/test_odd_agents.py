"""Agents that answer nonsense, too much, too slowly or not at all: each ends with what happened."""

import asyncio
import gzip
import ssl
import tracemalloc
import zlib
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from orchestrator.agents.client import A2AClient
from orchestrator.domain.agent import AuthType, Failure, Outcome, Output, TaskRef
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.integration.agents.conftest import (
    MAX_ANSWER,
    agent_at,
    bearer,
    call_with,
    failure_of,
)

pytestmark = pytest.mark.integration

SHORT = timedelta(milliseconds=200)
SECRET = "s3cret-token-123"  # noqa: S105 - of a test


def _always(answer: bytes) -> raw.Handler:
    async def post(_request: Received, _peer: Peer) -> bytes:
        return answer

    return post


async def _echo(request: Received, _peer: Peer) -> bytes:
    return raw.ok(request, raw.data({"ok": True}))


async def _hang(_request: Received, _peer: Peer) -> None:
    await asyncio.Event().wait()


async def _failure(client: A2AClient, post: raw.Handler, **more: Any) -> Failure:
    async with RawAgent(post) as agent, asyncio.timeout(15):
        return await failure_of(client, agent_at(agent.url, **more))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"<html>hello</html>", "answered something that is not JSON"),
        (b"", "answered HTTP 200 with an empty body"),
        (b"\xff\xfe\x00", "answered something that is not JSON"),
        (b'{"jsonrpc":"2.0","result":NaN}', "answered something that is not JSON"),
        (b'{"result":' + b"[" * 50_000 + b"]" * 50_000 + b"}", "answered something that is not"),
        (b'{"jsonrpc":"2.0"}', "answered JSON that holds neither a result nor an error"),
        (b"[1,2]", "answered JSON that holds neither a result nor an error"),
        (b'{"result":{"a":1}}', "answered a result that is neither a message nor a task"),
        (b'{"result":{"status":{"state":"working"}}}', "answered a task without an id"),
    ],
)
async def test_nonsense_is_final_and_described(body: bytes, said: str, client: A2AClient) -> None:
    failure = await _failure(client, _always(raw.http(200, body)))

    assert failure.cause.startswith(f"Agent 'reader' {said}")
    assert failure.outcome is Outcome.FINAL


async def test_something_that_is_not_http_is_final(client: A2AClient) -> None:
    failure = await _failure(client, _always(b"SSH-2.0-OpenSSH_9.9\r\n\r\n"))

    assert "answered something that is not HTTP" in failure.cause
    assert failure.outcome is Outcome.FINAL


@pytest.mark.parametrize(
    ("status", "outcome", "wait"),
    [
        (400, Outcome.FINAL, None),
        (401, Outcome.FINAL, None),
        (404, Outcome.FINAL, None),
        (429, Outcome.TRANSIENT, 7),
        (503, Outcome.TRANSIENT, 7),
    ],
)
async def test_an_http_error_says_what_follows(
    status: int, outcome: Outcome, wait: int | None, client: A2AClient
) -> None:
    answer = raw.http(status, b"because", Content_Type="text/plain", Retry_After="7")

    failure = await _failure(client, _always(answer))

    assert failure.cause == f"Agent 'reader' answered HTTP {status}: because"
    assert failure.outcome is outcome
    assert failure.retry_after == (None if wait is None else timedelta(seconds=wait))


async def test_a_redirect_is_not_followed(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.http(307, Location=f"http://{request.headers['host']}/again")

    async with RawAgent(post) as agent:
        failure = await failure_of(client, agent_at(agent.url))

        assert len(agent.posts) == 1
    assert "HTTP 307, a redirect to http://127.0.0.1:" in failure.cause
    assert failure.outcome is Outcome.FINAL


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_a_huge_answer_is_not_read(declared: bool, client: A2AClient) -> None:  # noqa: FBT001
    taken = 0

    async def post(_request: Received, peer: Peer) -> None:
        nonlocal taken
        if declared:
            await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n")
        else:
            await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(500):
            await peer.write((b"" if declared else b"186a0\r\n") + b"x" * 100_000 + b"\r\n")
            taken += 100_000

    failure = await _failure(client, post)

    assert failure.cause == f"Agent 'reader' answered more than {MAX_ANSWER} bytes"
    assert failure.outcome is Outcome.FINAL
    assert taken < 20_000_000  # the rest found nobody who read it


async def test_a_decompression_bomb_does_not_go_off(client: A2AClient) -> None:
    bomb = raw.http(200, zlib.compress(b"0" * 50_000_000), Content_Encoding="deflate")

    tracemalloc.start()
    failure = await _failure(client, _always(bomb))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 10 * MAX_ANSWER
    assert failure.cause == f"Agent 'reader' answered more than {MAX_ANSWER} bytes"


async def test_an_answer_compressed_all_the_same_is_read(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        assert request.headers["accept-encoding"] == "identity"
        _, body = raw.ok(request, raw.data({"a": 1})).split(b"\r\n\r\n")
        return raw.http(200, gzip.compress(body), Content_Encoding="gzip")

    async with RawAgent(post) as agent:
        answer = await client.send(agent_at(agent.url), call_with(1))

    assert isinstance(answer, Output)
    assert answer.value == {"a": 1}


@pytest.mark.parametrize(
    ("encoding", "body", "said"),
    [
        ("br", b"x", "answered with Content-Encoding br, which was not asked for"),
        ("gzip", b"no gzip", "answered with a broken gzip body"),
        ("gzip", gzip.compress(b"x" * 1000, mtime=0)[:-9], "answered with a broken gzip body"),
    ],
)
async def test_an_encoding_that_cannot_be_read_is_final(
    encoding: str, body: bytes, said: str, client: A2AClient
) -> None:
    failure = await _failure(client, _always(raw.http(200, body, Content_Encoding=encoding)))

    assert (failure.cause, failure.outcome) == (f"Agent 'reader' {said}", Outcome.FINAL)


async def test_an_agent_that_does_not_answer_leaves_the_outcome_unknown(client: A2AClient) -> None:
    failure = await _failure(client, _hang, timeout=SHORT)

    assert failure.cause == "Connection timeout after 200ms (agent 'reader')"
    assert failure.outcome is Outcome.UNKNOWN


async def test_an_answer_that_drips_is_bounded_by_the_timeout(client: A2AClient) -> None:
    async def post(_request: Received, peer: Peer) -> None:
        await peer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while True:
            await peer.write(b" ")
            await asyncio.sleep(0.01)

    failure = await _failure(client, post, timeout=SHORT)

    assert failure.cause == "Connection timeout after 200ms (agent 'reader')"
    assert failure.outcome is Outcome.UNKNOWN


async def test_a_reset_after_the_request_leaves_the_outcome_unknown(client: A2AClient) -> None:
    async def post(_request: Received, peer: Peer) -> None:
        peer.reset()

    failure = await _failure(client, post)

    said = "did not answer: connection lost after the request was sent"
    assert failure == Failure(f"Agent 'reader' {said}", Outcome.UNKNOWN)


async def test_an_answer_cut_off_leaves_the_outcome_unknown(client: A2AClient) -> None:
    async def post(_request: Received, peer: Peer) -> None:
        await peer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"jsonrpc"')

    failure = await _failure(client, post)

    said = "did not answer: connection lost in the middle of the answer"
    assert failure == Failure(f"Agent 'reader' {said}", Outcome.UNKNOWN)


async def test_an_answer_that_does_not_say_its_length_lasts_until_the_connection_ends(
    client: A2AClient,
) -> None:
    async def post(request: Received, peer: Peer) -> None:
        body = raw.ok(request, raw.data({"ok": True})).partition(b"\r\n\r\n")[2]
        await peer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)

    async with RawAgent(post) as agent, asyncio.timeout(15):
        output = await client.send(agent_at(agent.url), call_with({}))

    assert isinstance(output, Output)
    assert output.value == {"ok": True}


async def test_nobody_at_the_address_may_be_tried_again(client: A2AClient) -> None:
    async with RawAgent(_echo) as agent:
        pass

    failure = await failure_of(client, agent_at(agent.url))

    said = f"cannot be reached at {agent.url}: Connection refused"
    assert failure == Failure(f"Agent 'reader' {said}", Outcome.TRANSIENT)


async def test_a_name_that_does_not_resolve_may_be_tried_again(client: A2AClient) -> None:
    failure = await failure_of(client, agent_at("http://no-such-agent.invalid:1/"))

    assert "cannot be reached at http://no-such-agent.invalid:1" in failure.cause
    assert failure.outcome is Outcome.TRANSIENT


async def test_a_request_that_was_not_sent_in_time_may_be_tried_again(client: A2AClient) -> None:
    """The card is still being asked for: the message has certainly not left."""
    async with RawAgent(_echo) as agent:
        agent.cards["/.well-known/agent-card.json"] = lambda _: None  # it hangs up, unanswered

        failure = await failure_of(client, agent_at(agent.url))

        assert agent.posts == []
    assert failure.outcome is Outcome.TRANSIENT


@pytest.fixture(scope="module")
def own_certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a certificate for 127.0.0.1 that no authority knows, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "own.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return file


async def test_an_invalid_certificate_is_final(own_certificate: Path, client: A2AClient) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own_certificate)

    async with RawAgent(_echo, tls=context) as agent:
        failure = await failure_of(client, agent_at(agent.url))

    assert f"has an invalid TLS certificate at {agent.url}: self" in failure.cause
    assert failure.outcome is Outcome.FINAL


async def test_tls_with_somebody_who_does_not_speak_it_may_be_tried_again(
    client: A2AClient,
) -> None:
    async def shout(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 not TLS\r\n")
        writer.close()

    async with await asyncio.start_server(shout, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        failure = await failure_of(client, agent_at(f"https://127.0.0.1:{port}"))

    assert "cannot be reached" in failure.cause
    assert failure.outcome is Outcome.TRANSIENT


@pytest.mark.parametrize("url", ["http://agent:99999/", "http://[::1/", "nonsense", "http://"])
async def test_a_url_that_cannot_be_called_is_final(url: str, client: A2AClient) -> None:
    failure = await failure_of(client, agent_at(url))

    assert failure.outcome is Outcome.FINAL


@pytest.mark.parametrize("kind", ["error", "http", "redirect", "failed", "html"])
async def test_echoed_credentials_are_in_no_sentence(kind: str, client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        seen = request.headers["authorization"]
        assert seen == f"Bearer {SECRET}"
        said = {"message": {"parts": [{"text": seen}]}, "state": "failed"}
        return {
            "error": raw.error(request, -32602, seen, data={"headers": request.headers}),
            "http": raw.http(401, seen.encode(), Content_Type="text/plain"),
            "redirect": raw.http(302, Location=f"https://evil/?{seen}"),
            "failed": raw.ok(request, {"id": "t", "status": said}),
            "html": raw.http(200, b"<p>", Content_Type=seen),
        }[kind]

    async with RawAgent(post) as agent:
        failure = await failure_of(client, bearer(agent.url, SECRET))

    assert "***" in failure.cause
    assert SECRET not in failure.cause


async def test_a_long_message_is_cut(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.error(request, -32602, "no " * 100_000)

    failure = await _failure(client, post)

    assert failure.cause.startswith("Agent 'reader' answered with error -32602: no no")
    assert len(failure.cause) == 1_000


async def test_cookies_are_not_kept(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        assert "cookie" not in request.headers
        _, body = raw.ok(request, raw.data(1)).split(b"\r\n\r\n")
        return raw.http(200, body, Set_Cookie="session=1")

    async with RawAgent(post) as agent:
        for _ in range(2):
            assert isinstance(await client.send(agent_at(agent.url), call_with(1)), Output)


async def test_a_proxy_of_the_environment_is_not_used(
    client: A2AClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "")

    async with RawAgent(_echo) as agent:
        assert isinstance(await client.send(agent_at(agent.url), call_with(1)), Output)


async def test_an_agent_that_wants_no_context_is_asked_once_without(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        if "contextId" in request.json["params"]["message"]:
            return raw.error(request, -32602, "unknown contextId")
        return raw.ok(request, raw.data({"ok": True}))

    async with RawAgent(post) as agent:
        assert isinstance(await client.send(agent_at(agent.url), call_with(1)), Output)

        assert len(agent.posts) == 2
        ids = {p.json["params"]["message"]["messageId"] for p in agent.posts}
        assert len(ids) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [(-32602, "maximum context length exceeded"), (-32603, "contextId"), (-32602, "no skill")],
)
async def test_other_errors_are_not_sent_again(code: int, message: str, client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.error(request, code, message)

    async with RawAgent(post) as agent:
        await failure_of(client, agent_at(agent.url))

        assert len(agent.posts) == 1


async def test_a_large_input_and_a_large_output_pass(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, raw.data(request.json["params"]["message"]["parts"][0]["data"][:9]))

    big = "x" * 3_000_000
    async with RawAgent(post) as agent:
        answer = await client.send(agent_at(agent.url), call_with(big))

    assert isinstance(answer, Output)
    assert answer.value == "x" * 9


async def test_no_more_calls_at_a_time_than_allowed_and_cancels_pass_them() -> None:
    inside, most, full, go = 0, 0, asyncio.Event(), asyncio.Event()

    async def post(request: Received, _peer: Peer) -> bytes:
        nonlocal inside, most
        if request.json["method"] == "tasks/cancel":
            return raw.ok(request, raw.task("canceled"))
        inside += 1
        most = max(most, inside)
        if inside == 3:
            full.set()
        await go.wait()
        inside -= 1
        return raw.ok(request, raw.data(1))

    async with (
        RawAgent(post) as server,
        A2AClient(max_answer_bytes=1000, max_calls=3) as client,
        asyncio.timeout(10),
        asyncio.TaskGroup() as group,
    ):
        # The limit is the agent's, whatever url it has; waiting is no part of its timeout.
        agent = agent_at(server.url, timeout=timedelta(seconds=5))
        for _ in range(10):
            group.create_task(client.send(agent, call_with(1)))
        await full.wait()
        assert await client.cancel(agent, TaskRef("t1", None)) == "confirmed"
        go.set()

    assert most == 3


async def test_an_aborted_call_ends_its_connection_and_gives_its_place_back() -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def post(request: Received, _peer: Peer) -> bytes:
        if request.json["params"]["message"]["parts"][0]["data"] == "hang":
            arrived.set()
            try:
                await asyncio.Event().wait()
            finally:
                gone.set()
        return raw.ok(request, raw.data(1))

    async with (
        RawAgent(post) as server,
        A2AClient(max_answer_bytes=1000, max_calls=1) as client,
        asyncio.timeout(10),
    ):
        agent = agent_at(server.url)
        async with asyncio.TaskGroup() as group:
            hanging = group.create_task(client.send(agent, call_with("hang")))
            await arrived.wait()
            hanging.cancel()

        assert isinstance(await client.send(agent, call_with("go")), Output)


async def test_an_api_key_goes_in_its_header(client: A2AClient) -> None:
    async def post(request: Received, _peer: Peer) -> bytes:
        return raw.ok(request, raw.data(request.headers.get("x-mine")))

    async with RawAgent(post) as agent:
        config = {"key": "k3y", "header": "X-Mine"}
        answer = await client.send(
            agent_at(agent.url, auth_type=AuthType.APIKEY, auth_config=config), call_with(1)
        )

        assert isinstance(answer, Output)
        assert answer.value == "k3y"
        assert agent.gets[0].headers["x-mine"] == "k3y"  # the card may need it too


async def test_credentials_that_cannot_be_sent_are_final(client: A2AClient) -> None:
    async with RawAgent(_echo) as agent:
        failure = await failure_of(client, bearer(agent.url, "a\r\nb"))

    assert failure.outcome is Outcome.FINAL
    assert "auth_config.token" in failure.cause
