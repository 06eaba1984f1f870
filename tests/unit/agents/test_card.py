"""Which interface of a card is called, and how."""

from typing import Any

import pytest
from yarl import URL

from orchestrator.agents import card, rest, v03, v1
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import InputAs, Options, Outcome, Protocol

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
        ({"supportedInterfaces": [{**REST, "protocolVersion": "0.3"}]}, "HTTP+JSON 0.3"),
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


def test_http_json_of_1_0_is_taken_where_it_is_all_there_is() -> None:
    found = card.endpoint({"supportedInterfaces": [{**REST, "tenant": "t"}]}, BASE)

    assert (found.url, found.dialect, found.tenant) == (URL(REST["url"]), rest, "t")


@pytest.mark.parametrize(
    ("options", "url", "dialect"),
    [
        (Options(protocol=Protocol.V0_3), V03["url"], v03),
        (Options(protocol=Protocol.V1), V1["url"], v1),
        (Options(protocol=Protocol.V1_REST), REST["url"], rest),
        (Options(interface_url="http://proxy/x"), "http://proxy/x", v1),
        (Options(Protocol.V0_2, interface_url="http://proxy/x"), "http://proxy/x", v03),
    ],
)
def test_what_the_operator_fixed_wins_over_the_card(
    options: Options, url: str, dialect: object
) -> None:
    found = card.endpoint({"supportedInterfaces": [V1, V03, REST]}, BASE, options)

    assert (found.url, found.dialect) == (URL(url), dialect)


def test_a_fixed_protocol_that_the_card_does_not_name_is_spoken_at_the_registered_url() -> None:
    found = card.endpoint({"supportedInterfaces": [V03]}, BASE, Options(Protocol.V1))

    assert (found.url, found.dialect) == (BASE, v1)


def test_without_a_card_the_operators_word_is_all_there_is() -> None:
    options = Options(Protocol.V1_REST, "http://proxy/x")

    assert card.without_card(BASE, options) == card.Endpoint(URL("http://proxy/x"), rest)
    assert card.without_card(BASE) == card.Endpoint(BASE, v03)


def test_capabilities_are_what_the_card_says_plainly() -> None:
    able = card.endpoint({"capabilities": {"streaming": True, "pushNotifications": "yes"}}, BASE)

    assert (able.streaming, able.push) == (True, False)


@pytest.mark.parametrize(
    ("wish", "skill", "sent"),
    [
        (InputAs.AUTO, None, InputAs.DATA),
        (InputAs.AUTO, "talk", InputAs.TEXT),
        (InputAs.AUTO, "count", InputAs.DATA),
        (InputAs.AUTO, "like the card", InputAs.DATA),
        (InputAs.AUTO, "no such", InputAs.DATA),
        (InputAs.BOTH, "talk", InputAs.BOTH),
    ],
)
def test_the_skills_own_input_modes_count_for_it(
    wish: InputAs, skill: str | None, sent: InputAs
) -> None:
    skills = [
        {"id": "talk", "inputModes": ["text/plain"]},
        {"id": "count", "inputModes": ["application/json"]},
        {"id": "like the card"},
    ]
    found = card.endpoint({"defaultInputModes": ["application/json"], "skills": skills}, BASE)

    assert found.input_as(wish, skill) is sent
