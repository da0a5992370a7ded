"""HEP (Homer Encapsulation Protocol) packets: one packet in, what it carries out.

Laws
- `decode` returns one of exactly three things: a `Content`, a `KEEPALIVE` or a `Malformed`. It raises nothing, whatever the
  bytes.
- No length that the datagram names is believed before it is checked against what is there; a compressed payload grows
  to PAYLOAD_MAX_BYTES and no further.
- Where a key is configured, nothing is accepted that does not carry it; an excerpt never shows a key.

Form: "The Hep/EEP Encapsulation Protocol", version 3 (sipcapture/HEP): `HEP3`, u16 total length, then chunks of
{u16 vendor, u16 type, u16 length including these six bytes, data}, all big endian. Versions 1 and 2 are the older
fixed header, in which version 2 adds a time stamp in the sender's own (little endian) byte order.
"""

import hmac
import zlib
from functools import lru_cache, partial
from hashlib import sha256
from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct as Layout

from msgspec import Struct

from collectors.records import EXCERPT_MAX_BYTES, Reject

PAYLOAD_MAX_BYTES = 65_535
"""A SIP message over UDP cannot be longer; a longer one over TCP fits into no HEP datagram uncompressed."""

KEEPALIVE_MAX_BYTES = 6
"""Agents send a HEP packet with a few bytes in it to show that they live (RFC 5626's CR LF CR LF, four zeros, `jaK`).
The shortest SIP start line is far longer."""

HEADER_BYTES = 6
MAGIC = b"HEP3"
TRANSPORTS = {6: "tcp", 17: "udp", 132: "sctp"}
"""IANA protocol numbers. TLS and WebSocket arrive decrypted, as TCP. Anything else is read as one message."""

SIP = 1
"""Of the protocol types (chunk 11) the only one that is a protocol of its own here; reports are told by their form."""

FAMILY, PROTOCOL, SRC4, DST4, SRC6, DST6, SRC_PORT, DST_PORT, SECONDS, MICROSECONDS = range(1, 11)
TYPE, CAPTURE_ID, KEEPALIVE_TIMER, KEY, PAYLOAD, COMPRESSED, CORRELATION_ID, VLAN, NODE = range(11, 20)


class Content(Struct, frozen=True, gc=False):
    """What a packet carries. `at_us`: the sender's clock, 0 where it told no time; `capture_id`: chunk 12; `protocol`:
    chunk 11; `correlation_id`: chunk 17, of SIP's senders the Call-ID. `src` and `dst` are empty only where `protocol` is
    not SIP."""

    at_us: int
    capture_id: int
    protocol: int
    transport: str
    src: str
    dst: str
    payload: bytes
    correlation_id: bytes = b""


class Keepalive(Struct, frozen=True):
    """A sign of life, well-formed, with nothing in it."""


KEEPALIVE = Keepalive()


class Malformed(Struct, frozen=True):
    """Not readable. `reason` is a stable code, `offset` the byte in the datagram where it shows."""

    reason: str
    message: str
    offset: int = 0


_chunk = Layout(">HHH").unpack_from
_length = Layout(">H").unpack_from
_old_header = Layout(">BBBB").unpack_from
_old_time = Layout("<IIH").unpack_from
_number = partial(int.from_bytes, byteorder="big")


def decode(datagram: bytes, key: bytes = b"") -> Content | Keepalive | Malformed:
    """`key`: what chunk 14 must hold; empty: anything goes."""
    if datagram.startswith(MAGIC):
        return _decode_3(datagram, key)
    if datagram[:1] in (b"\x01", b"\x02"):
        return _decode_1_2(datagram, key)
    return Malformed("not_hep", "neither HEP3 nor the header of HEP version 1 or 2")


def packet_length(data: bytes | memoryview) -> int:
    """The length that a HEP3 packet at the start of `data` claims for itself; 0 where there is none."""
    if len(data) < HEADER_BYTES or data[:4] != MAGIC:
        return 0
    length: int = _length(data, 4)[0]
    return length if length >= HEADER_BYTES else 0


def _decode_3(datagram: bytes, key: bytes) -> Content | Keepalive | Malformed:
    chunks = _chunks(datagram)
    if isinstance(chunks, Malformed):
        return chunks
    if key and not hmac.compare_digest(chunks.get(KEY, b""), key):
        return Malformed("auth_failed", "the authentication key (chunk 14) is missing or wrong")
    return _content(chunks)


def _chunks(datagram: bytes) -> dict[int, bytes] | Malformed:
    """The general chunks (vendor 0) by type; where a type comes twice the last one counts."""
    size = len(datagram)
    if size < HEADER_BYTES:
        return Malformed("truncated", f"a HEP3 header has {HEADER_BYTES} bytes, {size} came", size)
    total = _length(datagram, 4)[0]
    if not HEADER_BYTES <= total <= size:
        return Malformed("truncated", f"HEP3 says that it is {total} bytes long, {size} came", 4)
    chunks: dict[int, bytes] = {}
    at = HEADER_BYTES
    last = total - HEADER_BYTES
    while at <= last:
        vendor, kind, length = _chunk(datagram, at)
        end = at + length
        if length < HEADER_BYTES or end > total:
            return Malformed("chunk_length", f"chunk {kind} says that it is {length} bytes long", at)
        if not vendor:
            chunks[kind] = datagram[at + HEADER_BYTES : end]
        at = end
    if at != total:
        return Malformed("chunk_header", f"{total - at} bytes follow the last chunk", at)
    return chunks


def _content(chunks: dict[int, bytes]) -> Content | Keepalive | Malformed:
    kind = chunks.get(TYPE)
    payload = chunks.get(PAYLOAD)
    if payload is None and COMPRESSED in chunks:
        unpacked = _decompress(chunks[COMPRESSED])
        if isinstance(unpacked, Malformed):
            return unpacked
        payload = unpacked
    if not payload or len(payload) <= KEEPALIVE_MAX_BYTES:
        return KEEPALIVE
    if not kind:
        return Malformed("no_type", "no protocol type (chunk 11)")
    protocol = _number(kind)
    ends = _ends(chunks)
    if isinstance(ends, Malformed):
        if protocol == SIP:
            return ends
        ends = ("", "")
    transport = chunks.get(PROTOCOL, b"\x11")
    return Content(
        _number(chunks.get(SECONDS, b"")) * 1_000_000 + _number(chunks.get(MICROSECONDS, b"")),
        _number(chunks.get(CAPTURE_ID, b"")),
        protocol,
        TRANSPORTS.get(transport[0] if transport else 17, "udp"),
        *ends,
        payload,
        chunks.get(CORRELATION_ID, b""),
    )


def _ends(chunks: dict[int, bytes]) -> tuple[str, str] | Malformed:
    source = chunks.get(SRC4) or chunks.get(SRC6)
    target = chunks.get(DST4) or chunks.get(DST6)
    if not source or not target:
        return Malformed("no_address", "no source or no destination address (chunks 3 to 6)")
    try:
        return endpoint(source, chunks.get(SRC_PORT, b"")), endpoint(target, chunks.get(DST_PORT, b""))
    except ValueError as error:
        return Malformed("bad_address", str(error))


@lru_cache(maxsize=8192)
def endpoint(address: bytes, port: bytes) -> str:
    """`ip:port`, or `[ip]:port` for IPv6. Raises ValueError where the lengths are none of an address and a port.
    The cache holds a large site's phones; the texts are made once per phone instead of once per packet."""
    if len(address) not in (4, 16) or len(port) not in (0, 2):
        raise ValueError(f"an address of {len(address)} bytes with a port of {len(port)}")
    number = int.from_bytes(port, "big")
    if len(address) == 4:
        return f"{inet_ntop(AF_INET, address)}:{number}"
    return f"[{inet_ntop(AF_INET6, address)}]:{number}"


def _decompress(data: bytes) -> bytes | Malformed:
    """Chunk 16 is said to be "gzip/inflate": either head is recognised (wbits 47, see zlib's inflateInit2)."""
    unpacker = zlib.decompressobj(wbits=47)
    try:
        payload = unpacker.decompress(data, PAYLOAD_MAX_BYTES + 1)
    except zlib.error as error:
        return Malformed("compression", f"the compressed payload cannot be read: {error}")
    if len(payload) > PAYLOAD_MAX_BYTES:
        return Malformed("too_long", f"the compressed payload is longer than {PAYLOAD_MAX_BYTES} bytes")
    if not unpacker.eof:
        return Malformed("compression", "the compressed payload is cut off")
    return payload


OLD_FAMILIES = {2: 4, 10: 16, 24: 16, 28: 16, 30: 16}
"""Address length by the sender's own AF_ number: AF_INET is 2 everywhere, AF_INET6 is 10 on Linux and 24, 28 or 30 on
the BSDs and macOS."""
OLD_TIME_BYTES = 12
"""u32 seconds, u32 microseconds, u16 capture id and the two bytes that a C compiler adds."""


def _decode_1_2(datagram: bytes, key: bytes) -> Content | Keepalive | Malformed:
    """{u8 version, u8 length, u8 family, u8 protocol, u16 ports, addresses}; `length` ends before version 2's time."""
    if len(datagram) < 8:
        return Malformed("truncated", f"a HEP header has at least 8 bytes, {len(datagram)} came")
    version, length, family, protocol = _old_header(datagram)
    size = OLD_FAMILIES.get(family, 0)
    if not size or length != 8 + 2 * size:
        return Malformed("not_hep", f"no HEP version {version} header: family {family}, length {length}", 1)
    start = length + (OLD_TIME_BYTES if version == 2 else 0)
    if len(datagram) < start:
        return Malformed("truncated", f"a HEP version {version} header has {start} bytes, {len(datagram)} came", 1)
    if key:
        return Malformed("auth_failed", f"HEP version {version} carries no authentication key")
    if len(datagram) - start <= KEEPALIVE_MAX_BYTES:
        return KEEPALIVE
    src = endpoint(datagram[8 : 8 + size], datagram[4:6])
    dst = endpoint(datagram[8 + size : length], datagram[6:8])
    seconds, microseconds, capture_id = _old_time(datagram, length) if version == 2 else (0, 0, 0)
    return Content(
        seconds * 1_000_000 + microseconds,
        capture_id,
        SIP,
        TRANSPORTS.get(protocol, "udp"),
        src,
        dst,
        datagram[start:],
    )


def reject(datagram: bytes, fault: Malformed, position: str, received_us: int, key: bytes = b"") -> Reject:
    """What is kept of a datagram that cannot be read. `position`: where it stood, without the offset in it."""
    return Reject(
        key=sha256(fault.reason.encode() + b":" + datagram).hexdigest()[:32],
        reason=f"hep_{fault.reason}",
        message=fault.message,
        excerpt=_without_keys(datagram, key)[:EXCERPT_MAX_BYTES],
        position=f"{position} byte {fault.offset}",
        at_ms=received_us // 1000,
    )


def _without_keys(datagram: bytes, key: bytes) -> bytes:
    """The datagram with the configured key, and whatever its own chunk 14 says, struck out."""
    chunks = _chunks(datagram) if datagram.startswith(MAGIC) else None
    for secret in {key, chunks.get(KEY, b"") if isinstance(chunks, dict) else b""} - {b""}:
        datagram = datagram.replace(secret, b"*" * len(secret))
    return datagram
