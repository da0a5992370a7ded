"""A session description read whole (SDP, RFC 8866): where each end receives which streams, in which form.

Laws
- Nothing raises, whatever the bytes; what cannot be read is as if it were not there.
- The time is linear in the body's size, and what is kept is bounded: LINES_MAX streams of FORMATS_MAX forms.
- Capability negotiation (RFC 5939) is left aside: what it adds counts once a later offer says it in plain.
"""

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_pton

from msgspec import Struct

from collectors.sip.media.codecs import CLOCK_HZ, STATIC, Codec

LINES_MAX = 16
"""Streams of one session: audio and video of a conference with slides are four; Teams bundles a dozen."""
FORMATS_MAX = 64
"""Forms of one stream; browsers list some fifty for video."""
CANDIDATES_MAX = 16
"""ICE candidates (RFC 8445) of one stream; RFC 8445 section 5.1.1 hopes for fewer."""

Place = bytes
"""Where media is received: a packed address (4 or 16 octets) and two octets of port, as they stand in a packet."""

KINDS = {b"audio": "audio", b"video": "video", b"image": "image"}
DIRECTIONS = frozenset((b"sendrecv", b"sendonly", b"recvonly", b"inactive"))
SECURE = frozenset((b"crypto", b"fingerprint"))


class Forms(Struct, frozen=True, array_like=True):
    """The payload types of a stream, by number: what its `m=` line lists and its `a=rtpmap` lines say. The same in most calls
    of a site, so it is read once (`_forms`) and shared."""

    codecs: dict[int, Codec] = {}


class Line(Struct, array_like=True):
    """One stream (an `m=` line). `places` is where its RTP (or UDPTL) is awaited, candidates included, `rtcp` its RTCP where
    that has a place of its own. `live` is False where the port is 0: refused or over (RFC 3264 section 6). `t38` is the
    T38FaxVersion, None where the stream is not T.38."""

    kind: str
    live: bool
    places: tuple[Place, ...]
    rtcp: tuple[Place, ...]
    forms: Forms
    direction: str = "sendrecv"
    ptime_ms: int = 0
    secure: bool = False
    mux: bool = False
    t38: int | None = None
    black_hole: bool = False
    """`c=0.0.0.0`: how RFC 2543 put a call on hold."""


@lru_cache(1024)
def packed(address: bytes) -> bytes:
    """An address as text, packed; empty where it is a name, or none."""
    try:
        return inet_pton(AF_INET6 if b":" in address else AF_INET, address.decode("ascii"))
    except (OSError, ValueError):
        return b""


def place(address: bytes, port: int) -> Place:
    """Empty where either is missing."""
    found = packed(address)
    return found + port.to_bytes(2, "big") if found and 0 < port < 65536 else b""


class _Section(Struct):
    """The attributes of the session or of one stream, as they are read."""

    media: bytes = b""
    address: bytes = b""
    direction: str = ""
    rtcp: bytes = b""
    mux: bool = False
    maps: list[bytes] = []
    candidates: list[bytes] = []
    ptime_ms: int = 0
    secure: bool = False
    t38: int = 0


def read(body: bytes) -> list[Line]:
    """The streams of an SDP body, in its order, or of the SDP part of a multipart body."""
    start = 0 if body.startswith((b"m=", b"v=")) else body.find(b"v=0")
    session = _Section()
    sections: list[_Section] = []
    current = session
    for line in body[max(start, 0) :].splitlines():
        head = line[:2]
        if head == b"m=":
            if len(sections) == LINES_MAX:
                break
            current = _Section(line[2:], session.address, session.direction, secure=session.secure)
            sections.append(current)
        elif head == b"a=":
            _attribute(current, line)
        elif head == b"c=":
            current.address = _address(line)
        elif line[:2] == b"--" and sections:
            break  # the end of this part of a multipart body
    return [found for section in sections if (found := _line(section)) is not None]


def _address(line: bytes) -> bytes:
    parts = line.split()
    return parts[2].partition(b"/")[0] if len(parts) > 2 else b""


def _attribute(section: _Section, line: bytes) -> None:
    name, _, value = line[2:].partition(b":")
    if name == b"rtpmap":
        if len(section.maps) < FORMATS_MAX:
            section.maps.append(value)
    elif name in DIRECTIONS:
        section.direction = name.decode()
    elif name in SECURE:
        section.secure = True
    elif name == b"rtcp-mux":
        section.mux = True
    elif name == b"rtcp":
        section.rtcp = value
    elif name == b"ptime":
        section.ptime_ms = _number(value, 1000)
    elif name == b"candidate":
        if len(section.candidates) < CANDIDATES_MAX:
            section.candidates.append(value)
    elif name.lower() == b"t38faxversion":
        section.t38 = _number(value, 9)


def _number(value: bytes, most: int) -> int:
    value = value.strip()[:9]
    return min(int(value), most) if value.isdigit() else 0


def _line(section: _Section) -> Line | None:
    """An `m=` line and what belongs to it: `audio 49170/2 RTP/AVP 0 8 101` (two ports: the streams of a layered codec)."""
    parts = section.media.split(None, FORMATS_MAX + 3)[: FORMATS_MAX + 3]
    if len(parts) < 3:
        return None
    kind = KINDS.get(parts[0].lower(), "other")
    first, _, count = parts[1].partition(b"/")
    port, protocol = _number(first, 65536), parts[2].upper()
    ports = range(port, port + 2 * max(1, min(_number(count, 8), 8)), 2)
    rtp = b"RTP/" in protocol
    ends = _candidates(section.candidates)
    places = [place(section.address, number) for number in ports] + [
        one for component, one in ends if component == b"1"
    ]
    own = [] if not rtp or section.mux else [one for component, one in ends if component == b"2"]
    return Line(
        kind,
        bool(port),
        tuple(dict.fromkeys(one for one in places if one)),
        tuple(dict.fromkeys(one for one in (*_rtcp(section, ports, rtp), *own) if one)),
        _forms(b" ".join(parts[3:]), tuple(section.maps), CLOCK_HZ.get(kind, 8000)),
        section.direction or "sendrecv",
        section.ptime_ms,
        section.secure or b"SAVP" in protocol,
        section.mux,
        section.t38 if protocol.startswith(b"UDPTL") and parts[3:4] in ([b"t38"], [b"T38"]) else None,
        section.address in (b"0.0.0.0", b"::"),
    )


def _rtcp(section: _Section, ports: range, rtp: bool) -> list[Place]:
    """RFC 3605, else the next port (RFC 3550 section 11). Where both ends do not agree on one port, that is used (RFC 5761)."""
    if not rtp:
        return []
    if section.rtcp:
        parts = section.rtcp.split()
        return [place(parts[3] if len(parts) > 3 else section.address, _number(parts[0], 65536))] if parts else []
    return [place(section.address, port + 1) for port in ports]


def _candidates(values: list[bytes]) -> list[tuple[bytes, Place]]:
    """Component and place of each: `foundation component UDP priority address port typ host` (RFC 8839 section 5.1)."""
    found = []
    for value in values:
        parts = value.split(None, 6)
        if len(parts) > 5 and parts[2].upper() == b"UDP":
            found.append((parts[1], place(parts[4], _number(parts[5], 65536))))
    return found


@lru_cache(512)
def _forms(formats: bytes, maps: tuple[bytes, ...], clock_hz: int) -> Forms:
    """In the order of the `m=` line, which is that of preference."""
    named = {}
    for value in maps:
        number, _, rest = value.strip().partition(b" ")
        name, _, clock = rest.strip().partition(b"/")
        if number.isdigit() and len(number) <= 3 and int(number) < 128 and name:
            told = _number(clock.partition(b"/")[0], 1_000_000)
            named[int(number)] = Codec(name[:32].decode("ascii", "replace").upper(), told or clock_hz)
    listed = [int(one) for one in formats.split() if one.isdigit() and len(one) <= 3 and int(one) < 128]
    known = {number: codec for number in listed if (codec := named.get(number) or STATIC.get(number)) is not None}
    return Forms(known | named)
