"""What a capture takes, in libpcap's language (pcap-filter(7)), for dumpcap: the same as `bpf.program` lets through. Pure.

- Ports stand in the first fragment only: the further ones are taken beside them, or large INVITEs would be lost.
- `vlan` moves the offsets of all that follows, so the whole expression is said again behind it, twice for QinQ. Link types
  without tags (raw IP, Linux cooked) refuse it: `tagged=False`.
- libpcap knows no `udp[n]` of IPv6: there the header is taken to begin behind the fixed one of 40 octets.
"""

from collections.abc import Iterable

from collectors.sip.live.bpf import SIP_STARTS, TUNNEL_PROTOCOLS, TUNNEL_UDP_PORTS
from collectors.sip.live.ports import Ranges
from collectors.sip.media.desk import MediaSetting

FRAGMENTS = (
    "(ip[6:2] & 0x1fff != 0 and (ip proto 17 or ip proto 6 or ip proto 132))",
    "ip6[6] = 44",
)
PPPOE_SESSION = "ether proto 0x8864"
RTP = "{first} & 0xc0 = 0x80"
"""RFC 7983 section 7: the first octet is 128 to 191."""
RTCP = "({first} & 0xc0 = 0x80 and {second} >= 192 and {second} <= 223)"
"""RFC 5761 section 4."""
LOOKS = {"off": "", "rtcp": RTCP, "rtp": RTP}


def pcap_filter(
    ports: Ranges, tunnels: Iterable[str], media: MediaSetting, media_ports: Ranges = (), tagged: bool = True
) -> str:
    parts = [
        f"((udp or tcp or sctp) and {_ports(ports)})",
        *_udp([f"{{start}} = 0x{start.hex()}" for start in sorted(SIP_STARTS)]),
        *FRAGMENTS,
    ]
    if LOOKS[media]:
        parts += _udp([LOOKS[media]])
    if media_ports:
        parts.append(f"(udp and {_ports(media_ports)})")
    for tunnel in tunnels:
        parts += _tunnel(tunnel)
    plain = " or ".join(parts)
    return f"({plain}) or (vlan and (({plain}) or (vlan and ({plain}))))" if tagged else plain


def _ports(ranges: Ranges) -> str:
    return "(" + " or ".join(f"portrange {low}-{high}" for low, high in ranges) + ")"


def _udp(tests: list[str]) -> list[str]:
    """The same tests of a datagram's first octets for IPv4 and for IPv6."""
    ipv4 = " or ".join(test.format(start="udp[8:4]", first="udp[8]", second="udp[9]") for test in tests)
    ipv6 = " or ".join(test.format(start="ip6[48:4]", first="ip6[48]", second="ip6[49]") for test in tests)
    return [f"({ipv4})", f"(ip6[6] = 17 and ({ipv6}))"]


def _tunnel(name: str) -> list[str]:
    if name == "pppoe":
        return [PPPOE_SESSION]
    numbers = [f"ip proto {number} or ip6 proto {number}" for number in TUNNEL_PROTOCOLS.get(name, ())]
    return [*numbers, *(f"udp port {port}" for port in TUNNEL_UDP_PORTS.get(name, ()))]
