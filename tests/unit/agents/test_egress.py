"""Which addresses may be called, also in disguise."""

import socket
from ipaddress import ip_address, ip_network

import pytest
from yarl import URL

from orchestrator.agents.egress import Denied, Egress
from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Outcome

PUBLIC = Egress(denied=tuple(ip_network(n) for n in ("127.0.0.0/8", "10.0.0.0/8", "::1/128")))


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("::1", False),
        ("::ffff:127.0.0.1", False),
        ("2002:7f00:1::", False),  # 6to4 of 127.0.0.1
        ("64:ff9b::a01:203", False),  # NAT64 of 10.1.2.3
        ("93.184.216.34", True),
        ("2606:2800:220::1", True),
        ("::ffff:93.184.216.34", True),
    ],
)
def test_denied_networks_are_not_called_in_any_disguise(address: str, *, allowed: bool) -> None:
    assert PUBLIC.allows(ip_address(address)) is allowed


def test_only_allowed_networks_are_called_where_they_are_named() -> None:
    narrow = Egress(allowed=(ip_network("10.0.0.0/8"),), denied=(ip_network("10.9.0.0/16"),))

    found = [narrow.allows(ip_address(a)) for a in ("10.1.1.1", "10.9.1.1", "11.1.1.1", "::1")]

    assert found == [True, False, False, False]


def test_no_socket_is_made_to_a_denied_address() -> None:
    info = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1%1", 80, 0, 1))

    with pytest.raises(Denied, match="does not allow its address"):
        PUBLIC.socket_to(info)


@pytest.mark.parametrize(
    ("url", "why"),
    [("http://a/", "http is not among"), ("https://a:8443/", "port 8443 is not among")],
)
def test_schemes_and_ports_are_those_allowed(url: str, why: str) -> None:
    policy = Egress(schemes=frozenset({"https"}), ports=frozenset({443}))
    policy.check(URL("https://a/"))

    with pytest.raises(Fault, match=why) as refused:
        policy.check(URL(url))

    assert refused.value.outcome is Outcome.FINAL
