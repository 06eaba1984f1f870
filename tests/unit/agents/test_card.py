"""Which interface of a card is called, and how."""

from typing import Any

import pytest
from yarl import URL

from orchestrator.agents import card, v03, v1
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Outcome

BASE = URL("http://agent:8080/base")
V1 = {"url": "http://agent:8080/v1", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
V03 = {"url": "http://agent:8080/v03", "protocolBinding": "JSONRPC", "protocolVersion": "0.3"}
REST = {"url": "http://agent:8080/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.0"}


def test_1_x_json_rpc_is_preferred_wherever_it_stands() -> None:
    found = card.endpoint({"supportedInterfaces": [REST, V03, {**V1, "tenant": "t"}]}, BASE)

    assert (found.url, found.dialect, found.tenant) == (URL(V1["url"]), v1, "t")


@pytest.mark.parametrize(
    ("described", "url"),
    [
        ({"supportedInterfaces": [REST, V03]}, V03["url"]),
        ({"url": "http://agent:8080/x", "protocolVersion": "0.3.0"}, "http://agent:8080/x"),
        ({"url": "http://agent:8080/x", "preferredTransport": "JSONRPC"}, "http://agent:8080/x"),
        (
            {
                "url": "http://agent:8080/grpc",
                "preferredTransport": "GRPC",
                "additionalInterfaces": [{"url": "http://agent:8080/x", "transport": "JSONRPC"}],
            },
            "http://agent:8080/x",
        ),
        ({"name": "no url at all", "skills": []}, str(BASE)),
        ({"url": "/relative"}, "http://agent:8080/relative"),
        ({"url": "http://user:pass@agent:8080/x"}, "http://agent:8080/x"),
        ({"supportedInterfaces": "nonsense", "url": 7}, str(BASE)),
    ],
)
def test_0_x_json_rpc_is_found(described: dict[str, Any], url: str) -> None:
    found = card.endpoint(described, BASE)

    assert (found.url, found.dialect) == (URL(url), v03)


def test_a_card_of_both_styles_is_taken_at_its_newest() -> None:
    both = {"url": "http://agent:8080/old", "supportedInterfaces": [V03, V1]}

    assert card.endpoint(both, BASE).dialect is v1


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ({"supportedInterfaces": [REST]}, "HTTP+JSON 1.0"),
        ({"supportedInterfaces": [{**V1, "protocolVersion": "2.0"}]}, "JSONRPC 2.0"),
        ({"url": "http://agent:8080/", "preferredTransport": "GRPC"}, "GRPC"),
    ],
)
def test_a_card_without_a_way_to_call_is_refused(described: dict[str, Any], said: str) -> None:
    with pytest.raises(Fault, match="offers no JSON-RPC interface") as refused:
        card.endpoint(described, BASE)

    assert said in refused.value.said
    assert refused.value.outcome is Outcome.FINAL


@pytest.mark.parametrize("url", ["http://xn--", "https://xn--zz:8080/a"])
def test_a_host_that_only_looks_like_punycode_is_no_crash(url: str) -> None:
    assert card.base(url) == URL(url)
    assert card.endpoint({"url": url, "protocolVersion": "0.3.0"}, BASE).url == URL(url)


@pytest.mark.parametrize("url", ["ftp://agent/x", "file:///etc/passwd", "http://a:b:c/"])
def test_a_url_that_is_no_http_url_is_refused(url: str) -> None:
    with pytest.raises(Fault, match="no http"):
        card.endpoint({"url": url}, BASE)


@pytest.mark.parametrize(
    ("modes", "text_only"),
    [
        (["text/plain"], True),
        (["text", "text/markdown; charset=utf-8"], True),
        (["text/plain", "image/png"], True),
        (["application/json", "text/plain"], False),
        (["text/plain", "application/ld+json"], False),
        (["text/plain", "data"], False),
        (["*/*"], False),
        (["image/png"], False),
        ([], False),
        (None, False),
        ([None, 3], False),
    ],
)
def test_an_agent_that_reads_only_text_gets_text(modes: Any, *, text_only: bool) -> None:
    assert card.endpoint({"defaultInputModes": modes}, BASE).text_only is text_only


def test_a_skill_that_reads_json_counts() -> None:
    described = {
        "defaultInputModes": ["text/plain"],
        "skills": [{"inputModes": ["application/json"]}],
    }

    assert not card.endpoint(described, BASE).text_only


def test_the_card_is_looked_for_below_the_registered_url() -> None:
    assert [str(url) for url in card.urls(URL("http://agent/a/?key=1"))] == [
        "http://agent/a/.well-known/agent-card.json?key=1",
        "http://agent/a/.well-known/agent.json?key=1",
    ]


def test_a_registered_url_that_names_the_card_is_taken_as_such() -> None:
    url = URL("http://agent/.well-known/agent-card.json")

    assert card.urls(url) == (url,)
