"""Which hosts may be loaded: this machine, unless whoever asks says that the host is theirs."""

import ipaddress
import socket
from urllib.parse import urlsplit


class Refused(Exception):
    """The target may not be loaded; the message says why."""


def checked(url: str, *, owned: bool) -> str:
    """Return the base url without a slash at its end; raise `Refused`.

    A name counts as this machine only if all its addresses do.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise Refused(f"{url} is no base url such as http://127.0.0.1:8000")
    if not owned and not all(_is_loopback(each) for each in _addresses(parts.hostname)):
        raise Refused(
            f"{parts.hostname} is not this machine: load only what is yours, and say so with"
            " --i-own-this-host"
        )
    return url.rstrip("/")


def _addresses(host: str) -> set[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise Refused(f"{host} is not to be found: {error.strerror}") from error
    return {str(address[0]) for *_, address in found}


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
