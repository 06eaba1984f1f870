"""The settings that say where calls may go, and where agents reach us."""

from ipaddress import ip_address

import pytest
from pydantic import ValidationError

from orchestrator.agents.egress import Egress
from orchestrator.settings import Settings


def _policy(**settings: str) -> Egress:
    read = Settings.model_validate(settings)
    return Egress.read(read.egress_schemes, read.egress_ports, read.egress_allow, read.egress_deny)


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("127.0.0.1", True),
        ("10.0.0.1", True),
        ("2606:2800:220::1", True),
        ("169.254.169.254", False),
        ("fd00:ec2::254", False),
    ],
)
def test_private_networks_are_called_by_default_but_no_clouds_metadata(
    address: str, *, allowed: bool
) -> None:
    assert _policy().allows(ip_address(address)) is allowed


def test_the_settings_are_lists() -> None:
    policy = _policy(
        egress_schemes="https", egress_ports="443, 8443", egress_deny="10.0.0.0/8,::1/128"
    )

    assert policy.schemes == {"https"}
    assert policy.ports == {443, 8443}
    assert not policy.allows(ip_address("::1"))
    assert policy.allows(ip_address("169.254.169.254"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("egress_schemes", "ftp"),
        ("egress_schemes", ""),
        ("egress_ports", "http"),
        ("egress_ports", "65536"),
        ("egress_allow", "10.0.0.1/8"),
        ("egress_deny", "everything"),
        ("public_url", "orchestrator.example.com"),
        ("public_url", "ftp://x/"),
        ("public_url", "https://x/?a=1"),
    ],
)
def test_a_wrong_value_is_refused(setting: str, value: str) -> None:
    with pytest.raises(ValidationError, match=setting):
        Settings.model_validate({setting: value})
