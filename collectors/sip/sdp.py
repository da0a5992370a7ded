"""What a session description (SDP, RFC 8866) says of a call: held, fax, video, encrypted."""

from msgspec import Struct


class Media(Struct, frozen=True, gc=False):
    """`fax`: T.38 over udptl. `video`: a video stream that is not refused (port 0). `secure`: SRTP, by any keying."""

    fax: bool = False
    video: bool = False
    secure: bool = False


NO_MEDIA = Media()


def media(body: bytes) -> Media:
    """Read an SDP body, or the SDP part of a multipart body."""
    find = body.find  # as `in`, which takes CPython twice as long for octets
    if find(b"m=") < 0:
        return NO_MEDIA
    fax = find(b"\nm=image ") >= 0 and _port(body, b"\nm=image ") and b"udptl t38" in body.lower()
    video = find(b"\nm=video ") >= 0 and _port(body, b"\nm=video ")
    secure = find(b"/SAVP") >= 0
    return Media(fax, video, secure) if fax or video or secure else NO_MEDIA


def held(body: bytes) -> bool:
    """Whether an offer puts the other end on hold: no audio flows back to the one who is asked (RFC 3264 section 8.4, or the
    older `c=0.0.0.0`)."""
    return (b"a=sendonly" in body or b"a=inactive" in body or b" 0.0.0.0" in body) and _held(body)


def passes_fax(body: bytes) -> bool:
    """Whether an offer within a call turns to plain G.711 without silence suppression (RFC 3108 section 5.6.3.4): how gateways
    pass a fax or modem through as audio once they have heard its tone."""
    payloads = body.partition(b"\nm=audio ")[2].partition(b"\n")[0].split()[2:]
    return b"a=silenceSupp:off" in body and bool(payloads) and G711.issuperset(payloads)


def address_of(body: bytes) -> bytes:
    """Where media is awaited: the first connection address."""
    at = body.find(b"\nc=") + 3
    if at < 3:
        return b""
    line = body[at : body.find(b"\n", at)].rstrip(b"\r")
    return line[line.rfind(b" ") + 1 :]


G711 = frozenset((b"0", b"8"))


def _port(body: bytes, mark: bytes) -> bool:
    """Whether the stream's port is not 0: a stream with port 0 is refused or over (RFC 3264 section 6)."""
    at = body.find(mark) + len(mark)
    return body[at : at + 1] not in (b"0", b"")


def _held(body: bytes) -> bool:
    """Whether every live audio stream is held; the session's direction and address count where the stream has none."""
    session = _Direction()
    streams: list[_Direction] = []
    current = session
    for line in body.splitlines():
        if line.startswith(b"m="):
            live = line.startswith(b"m=audio ") and line[8:9] != b"0"
            current = _Direction(session.held_by_direction, session.held_by_address)
            if live:
                streams.append(current)
        elif line in (b"a=sendonly", b"a=inactive"):
            current.held_by_direction = True
        elif line in (b"a=sendrecv", b"a=recvonly"):
            current.held_by_direction = False
        elif line.startswith(b"c=IN IP4 "):
            current.held_by_address = line[9:].strip() == b"0.0.0.0"
    return bool(streams) and all(stream.held_by_direction or stream.held_by_address for stream in streams)


class _Direction(Struct):
    held_by_direction: bool = False
    held_by_address: bool = False
