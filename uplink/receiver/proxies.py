"""Who asks, where proxies stand in front. Pure.

Laws
- What a client's address is, only a proxy that the operator named may say (`X-Forwarded-For`); anybody else is who he comes
  as.
- The header is read from its end: each named proxy has appended whom it heard. The first who is no named proxy is the client;
  what stands before him he may have written himself.
- An entry that is no address ends the reading: the proxy that wrote it counts.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

FIELD = "X-Forwarded-For"
LOOPBACK = ("127.0.0.1", "::1")
HOPS_MAX = 10
"""Entries that are looked at: more proxies of one's own nobody has in a row."""

Network = IPv4Network | IPv6Network


class Proxies:
    """Those that were named, as addresses or networks. Raises ValueError."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks: tuple[Network, ...] = tuple(ip_network(each) for each in networks)

    def __bool__(self) -> bool:
        return bool(self._networks)

    def has(self, address: str) -> bool:
        found = _parsed(address)
        return found is not None and any(found in network for network in self._networks)

    def client(self, peer: str, fields: Sequence[str]) -> str:
        """Who asks through `peer`, whose request has these fields."""
        if not fields or not self.has(peer):
            return peer
        said = ",".join(fields).split(",")
        for entry in said[: -HOPS_MAX - 1 : -1]:
            address = _parsed(_without_port(entry.strip()))
            if address is None:
                return peer
            peer = str(address)
            if not self.has(peer):
                return peer
        return peer


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def _without_port(entry: str) -> str:
    """Some proxies write `192.0.2.1:4711` and `[2001:db8::1]:4711`."""
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
