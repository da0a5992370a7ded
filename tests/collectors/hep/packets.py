"""HEP packets as the specification has them, put together chunk by chunk."""

import socket
import struct

RECEIVED_US = 1_760_000_000_000_000
OPTIONS = b"OPTIONS sip:101@192.0.2.1 SIP/2.0\r\nCall-ID: 1@192.0.2.9\r\nCSeq: 1 OPTIONS\r\n\r\n"


def chunk(kind: int, data: bytes, vendor: int = 0) -> bytes:
    return struct.pack(">HHH", vendor, kind, 6 + len(data)) + data


def hep3(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return b"HEP3" + struct.pack(">H", 6 + len(body)) + body


def ends4(src: str = "192.0.2.9", dst: str = "192.0.2.1", sport: int = 5070, dport: int = 5060) -> bytes:
    return (
        chunk(1, b"\x02")
        + chunk(2, b"\x11")
        + chunk(3, socket.inet_aton(src))
        + chunk(4, socket.inet_aton(dst))
        + chunk(7, struct.pack(">H", sport))
        + chunk(8, struct.pack(">H", dport))
    )


def at(seconds: int, microseconds: int = 0) -> bytes:
    return chunk(9, struct.pack(">I", seconds)) + chunk(10, struct.pack(">I", microseconds))


def sip(payload: bytes, seconds: float = 1_759_999_990.25, key: bytes | None = None, **ends: object) -> bytes:
    """A whole SIP packet: chunk 14 only with a key."""
    whole = int(seconds)
    parts = [ends4(**ends), at(whole, round((seconds - whole) * 1e6)), chunk(11, b"\x01"), chunk(12, b"\0\0\x07\xd1")]  # type: ignore[arg-type]
    if key is not None:
        parts.append(chunk(14, key))
    return hep3(*parts, chunk(15, payload))
