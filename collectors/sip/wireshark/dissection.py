"""What tshark said of one frame, as SIP packets: a line of `tshark -T ek -x`.

Laws
- Pure: a line in, a `Dissection` out. Nothing raises; what keeps a frame from being read has a counter's name.
- A message's octets are those of its layer (`sip_raw`), as they were after decryption and reassembly: `sip.msg_hdr` runs
  on to the end of the segment where several messages lie in one, so it is not used.
- The two ends are those of the innermost IP and transport headers around the message.
- A message that an ICMP error quotes was not sent where it was seen: it is none.
"""

from typing import TypeVar

import msgspec
from msgspec import Raw, Struct

from collectors.net.ip import address_text
from collectors.sip.packets import SipPacket

EXPANDED = "frame tls"
"""The layers of which tshark has to write the fields (`-J`); of all others their octets (`<layer>_raw`) are enough."""

NETWORKS = {"ip": (12, 4), "ipv6": (8, 16)}
"""Where the addresses begin in a header, and how long one is (RFC 791 section 3.1, RFC 8200 section 3)."""
TRANSPORTS = frozenset(("udp", "tcp", "sctp"))
QUOTING = frozenset(("icmp", "icmpv6"))

SIP_IN_TLS = b"Session Initiation Protocol"
"""What tshark names as the protocol of TLS records on a port of SIPS, decrypted or not."""


class Dissection(Struct, frozen=True):
    """One frame: the messages that it completed. `unread`: what kept it from being read, as counted. `tls_unreadable`: TLS on
    a SIP port that could not be decrypted; `tshark_unreadable`: no line of a frame, or a message outside of IP."""

    at_us: int
    messages: list[SipPacket]
    unread: str = ""


Octets = str | list[str]
"""Hexadecimal digits; a list where a frame has several layers of one name, in their order."""


class _Frame(Struct):
    frame_frame_time_epoch: str
    frame_frame_protocols: str = ""


class _Tls(Struct):
    tls_tls_app_data_proto: Raw = Raw()
    tls_tls_segment_data: Raw = Raw()
    """Decrypted, and part of a message that a later record completes."""


class _Layers(Struct):
    frame: _Frame
    ip_raw: Octets = ""
    ipv6_raw: Octets = ""
    udp_raw: Octets = ""
    tcp_raw: Octets = ""
    sctp_raw: Octets = ""
    sip_raw: Octets = ""
    tls: _Tls | list[_Tls] = []


class _Line(Struct):
    layers: _Layers


_decode = msgspec.json.Decoder(_Line).decode


def dissection(line: bytes) -> Dissection:
    at_us = 0
    try:
        layers = _decode(line).layers
        at_us = _microseconds(layers.frame.frame_frame_time_epoch)
        if layers.sip_raw:
            return Dissection(at_us, _messages(at_us, layers))
        return Dissection(at_us, [], "tls_unreadable" if any(map(_is_encrypted_sip, _several(layers.tls))) else "")
    except (msgspec.DecodeError, ValueError, LookupError):
        return Dissection(at_us, [], "tshark_unreadable")


T = TypeVar("T")


def _several(one_or_more: T | list[T]) -> list[T]:
    return one_or_more if isinstance(one_or_more, list) else [one_or_more]


def _microseconds(epoch: str) -> int:
    """Whole microseconds of `1767603600.000000000`."""
    seconds, _, fraction = epoch.partition(".")
    return int(seconds) * 1_000_000 + int(fraction.ljust(6, "0")[:6])


def _is_encrypted_sip(tls: _Tls) -> bool:
    return SIP_IN_TLS in bytes(tls.tls_tls_app_data_proto) and not bytes(tls.tls_tls_segment_data)


def _messages(at_us: int, layers: _Layers) -> list[SipPacket]:
    names = layers.frame.frame_frame_protocols.split(":")
    carriers = names[: names.index("sip")]
    if not QUOTING.isdisjoint(carriers):
        return []
    src, dst = _ends(carriers, layers)
    name = _transport(carriers)
    return [SipPacket(at_us, name, src, dst, bytes.fromhex(octets)) for octets in _several(layers.sip_raw)]


def _ends(carriers: list[str], layers: _Layers) -> tuple[str, str]:
    network, header = _innermost(carriers, NETWORKS, layers)
    _, ports = _innermost(carriers, TRANSPORTS, layers)
    at, size = NETWORKS[network]
    return (
        address_text(header[at : at + size], int.from_bytes(ports[:2])),
        address_text(header[at + size : at + 2 * size], int.from_bytes(ports[2:4])),
    )


def _innermost(
    carriers: list[str], of: "dict[str, tuple[int, int]] | frozenset[str]", layers: _Layers
) -> tuple[str, bytes]:
    """The last of these layers around the message: its name and its header."""
    name = [carrier for carrier in carriers if carrier in of][-1]
    return name, bytes.fromhex(_several(getattr(layers, f"{name}_raw"))[carriers.count(name) - 1])


def _transport(carriers: list[str]) -> str:
    secured = "tls" in carriers or "dtls" in carriers
    if "websocket" in carriers:
        return "wss" if secured else "ws"
    return "tls" if secured else [carrier for carrier in carriers if carrier in TRANSPORTS][-1]
