"""What may be loaded."""

import socket

import pytest

from bench.load.targets import Refused, checked


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:8000", "http://127.8.9.10", "http://[::1]:8000/", "https://localhost/base/"],
)
def test_this_machine_may_be_loaded(url: str) -> None:
    assert checked(url, owned=False) == url.rstrip("/")


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.1", "0.0.0.0", "[2001:db8::1]"])  # noqa: S104
def test_another_host_needs_its_owners_word(host: str) -> None:
    with pytest.raises(Refused, match="--i-own-this-host"):
        checked(f"http://{host}:8000", owned=False)

    assert checked(f"http://{host}:8000", owned=True) == f"http://{host}:8000"


def test_a_name_that_has_one_address_elsewhere_is_another_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    addresses = [(2, 1, 6, "", (each, 0)) for each in ("127.0.0.1", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: addresses)

    with pytest.raises(Refused, match="two-faced is not this machine"):
        checked("http://two-faced:8000", owned=False)


@pytest.mark.parametrize(
    "url",
    ["127.0.0.1:8000", "ftp://127.0.0.1", "http://", "http://127.0.0.1?a=b", "http://[::1]#a"],
)
def test_what_is_no_base_url_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="is no base url"):
        checked(url, owned=True)


def test_a_name_that_nobody_knows_is_refused() -> None:
    with pytest.raises(Refused, match="not to be found"):
        checked("http://nobody.invalid:8000", owned=False)
