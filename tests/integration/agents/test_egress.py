"""What the egress policy forbids is not connected to, whoever names it."""

from ipaddress import ip_network
from typing import Any

import pytest

from orchestrator.agents.client import A2AClient
from orchestrator.agents.egress import Egress
from orchestrator.domain.agent import Options, Outcome, Output, Protocol
from tests.agents_under_test import raw_agent as raw
from tests.agents_under_test.raw_agent import Peer, RawAgent, Received
from tests.integration.agents.conftest import agent_at, call_with, failure_of

pytestmark = pytest.mark.integration

CARD = "/.well-known/agent-card.json"
NO_LOOPBACK = Egress(denied=(ip_network("127.0.0.0/8"), ip_network("::1/128")))


async def _said(request: Received, _peer: Peer) -> bytes:
    return raw.ok(request, raw.data({"said": 1}))


def _client(policy: Egress) -> A2AClient:
    return A2AClient(max_answer_bytes=10_000, max_calls=5, egress=policy)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0x7f.1"])
async def test_a_denied_address_is_not_connected_to_under_any_name(host: str) -> None:
    async with RawAgent(_said) as server, _client(NO_LOOPBACK) as client:
        failure = await failure_of(client, agent_at(f"http://{host}:{server.port}"))

        assert server.connections == 0
    assert failure.outcome is Outcome.FINAL
    assert "the egress policy does not allow" in failure.cause


async def test_the_same_is_called_where_it_is_allowed() -> None:
    async with RawAgent(_said) as server, _client(Egress()) as client:
        agent = agent_at(f"http://localhost:{server.port}")

        assert isinstance(await client.send(agent, call_with({})), Output)


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("where", ["card", "operator"])
async def test_a_port_that_only_the_card_or_the_operator_names_is_judged_too(
    where: str, *, streaming: bool
) -> None:
    async with RawAgent(_said) as server, RawAgent(_said) as other:
        named = other if where == "card" else server
        server.cards[CARD] = named.card(capabilities={"streaming": streaming})
        options: Any = {} if where == "card" else {"interface_url": other.url}
        agent = agent_at(server.url, options=Options(Protocol.V1, **options))
        async with _client(Egress(ports=frozenset({server.port}))) as client:
            failure = await failure_of(client, agent)

        assert other.connections == 0
    assert "port" in failure.cause
    assert failure.outcome is Outcome.FINAL


async def test_health_checks_are_judged_too() -> None:
    async with RawAgent(_said) as server, _client(NO_LOOPBACK) as client:
        health = await client.health(agent_at(server.url))

        assert server.connections == 0
    assert not health.healthy
    assert not health.card_reachable
    assert health.error is not None
    assert "egress policy" in health.error


@pytest.mark.parametrize("streaming", [True, False])
async def test_an_address_that_only_the_card_names_is_judged_too(*, streaming: bool) -> None:
    async with RawAgent(_said) as server:
        card = server.card(capabilities={"streaming": streaming})
        card["supportedInterfaces"][0]["url"] = f"http://127.0.0.2:{server.port}/"
        server.cards[CARD] = card
        policy = Egress(denied=(ip_network("127.0.0.2/32"),))
        async with _client(policy) as client:
            failure = await failure_of(client, agent_at(server.url))

        assert server.posts == []
    assert failure.outcome is Outcome.FINAL
    assert "the egress policy does not allow its address" in failure.cause


@pytest.mark.parametrize("streaming", [True, False])
async def test_nobody_at_the_cards_address_is_told_the_same_way(*, streaming: bool) -> None:
    async with RawAgent(_said) as gone:
        nobody = gone.card(capabilities={"streaming": streaming})
    async with RawAgent(_said) as server, _client(Egress()) as client:
        server.cards[CARD] = nobody
        failure = await failure_of(client, agent_at(server.url))

    assert failure.outcome is Outcome.TRANSIENT
    assert failure.cause == f"Agent 'reader' cannot be reached at {gone.url}: Connection refused"
