"""HEP version 3 datagrams: a SIP message with the addresses and the instant of its capture around it.

Source: "The Hep/EEP Encapsulation Protocol" version 3 (sipcapture/HEP): `HEP3`, the length of the whole, then chunks of vendor,
type, length (with these six bytes) and data, big endian.
"""

import socket
import struct

CAPTURE_ID = 2001
PORT = 5060
KEEPALIVE = b"\r\n\r\n"
"""RFC 5626 section 3.5.1: a message that says nothing but that somebody is there."""


def hep3(at_ms: int, src: str, dst: str, message: bytes) -> bytes:
    """`src` and `dst` are IPv4 addresses; both ends use port 5060, over UDP."""
    chunks = (
        (1, struct.pack(">B", socket.AF_INET)),
        (2, struct.pack(">B", socket.IPPROTO_UDP)),
        (3, socket.inet_aton(src)),
        (4, socket.inet_aton(dst)),
        (7, struct.pack(">H", PORT)),
        (8, struct.pack(">H", PORT)),
        (9, struct.pack(">I", at_ms // 1000)),
        (10, struct.pack(">I", at_ms % 1000 * 1000)),
        (11, b"\x01"),
        (12, struct.pack(">I", CAPTURE_ID)),
        (15, message),
    )
    body = b"".join(struct.pack(">HHH", 0, kind, 6 + len(data)) + data for kind, data in chunks)
    return b"HEP3" + struct.pack(">H", 6 + len(body)) + body
