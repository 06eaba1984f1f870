"""The egress policy: which schemes, ports and addresses this process may call.

A name is not enough to tell, since it may resolve to anything, and to something else a moment
later: an address is judged when the socket to it is made, which is the address connected to.
"""

import socket
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Self

from yarl import URL

from orchestrator.agents.failures import Fault
from orchestrator.domain.agent import Outcome
from orchestrator.domain.record import record
from orchestrator.settings import listed

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address
_NAT64 = ip_network("64:ff9b::/96")


class Denied(OSError):
    """The address is not to be called; raised where aiohttp expects a failed connection."""


@record
class Egress:
    """What may be called; `ports` empty: any. Denied networks win over allowed ones."""

    schemes: frozenset[str] = frozenset({"http", "https"})
    ports: frozenset[int] = frozenset()
    allowed: tuple[Network, ...] = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    denied: tuple[Network, ...] = ()

    @classmethod
    def read(cls, schemes: str, ports: str, allowed: str, denied: str) -> Self:
        """Read the policy from comma-separated settings that are valid."""
        return cls(
            frozenset(listed(schemes)),
            frozenset(int(port) for port in listed(ports)),
            tuple(ip_network(network) for network in listed(allowed)),
            tuple(ip_network(network) for network in listed(denied)),
        )

    def check(self, url: URL) -> None:
        """Raise `Fault` for a scheme or a port that is not allowed."""
        if url.scheme not in self.schemes:
            raise _fault(f"{url.scheme} is not among the allowed schemes")
        if self.ports and url.port not in self.ports:
            raise _fault(f"port {url.port} is not among the allowed ports")

    def socket_to(self, info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for one of a name's addresses; raise `Denied` for one not allowed."""
        family, kind, proto, _, where = info
        if not self.allows(ip_address(where[0].partition("%")[0])):
            # The same words for each address of a name, or the errors become one without a class;
            # and whoever registers agents need not learn what a name is inside.
            raise Denied("the egress policy does not allow its address")
        return socket.socket(family=family, type=kind, proto=proto)

    def allows(self, address: Address) -> bool:
        """Whether the address may be called; an IPv4 one in an IPv6 disguise is judged as both."""
        faces = (address, *_disguised(address))
        if any(_within(face, self.denied) for face in faces):
            return False
        return _within(faces[-1], self.allowed)


def refused(why: str) -> Fault:
    """Return the fault of an address that the policy refused."""
    return Fault(f"cannot be called: {why}", Outcome.FINAL)


def _fault(why: str) -> Fault:
    return refused(f"the egress policy does not allow it ({why})")


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)


def _disguised(address: Address) -> tuple[IPv4Address, ...]:
    if isinstance(address, IPv4Address):
        return ()
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return () if inner is None else (inner,)
