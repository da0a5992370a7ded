"""64 kB of what takes a careless parser more than linear time: each is made of one thing over and over."""

from collections.abc import Callable

HEAD = (
    b"INVITE sip:102@10.0.0.10 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.1;branch=z9hG4bK1\r\nMax-Forwards: 70\r\n"
    b"From: <sip:101@x>;tag=1\r\nTo: <sip:102@x>\r\nCall-ID: %b\r\nCSeq: 1 INVITE\r\n"
)
CALL_ID = b"adversary"


def _filled(before: bytes, piece: bytes, after: bytes, size: int) -> bytes:
    return before + piece * ((size - len(before) - len(after)) // len(piece)) + after


def header(before: bytes, piece: bytes, after: bytes = b"") -> Callable[[int], bytes]:
    """A message with one part of its header made of `piece`."""
    return lambda size: _filled(HEAD % CALL_ID + before, piece, after + b"\r\nContent-Length: 0\r\n\r\n", size)


def body(kind: bytes, before: bytes, piece: bytes, after: bytes = b"") -> Callable[[int], bytes]:
    """A message with a body made of `piece`."""
    head = HEAD % CALL_ID + b"Contact: <sip:101@10.0.1.1>\r\nContent-Type: " + kind + b"\r\nContent-Length: "
    return lambda size: head + b"%d\r\n\r\n" % size + _filled(before, piece, after, size)


SDP = b"v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n"
MULTIPART = b"multipart/mixed;boundary=b"

MESSAGES: dict[str, Callable[[int], bytes]] = {
    "many headers of different names": lambda size: (
        HEAD % CALL_ID
        + b"".join(b"X-%d: y\r\n" % number for number in range(size // 11))
        + b"Content-Length: 0\r\n\r\n"
    ),
    "one header many times": header(b"", b"X-A: b\r\n", b"X: y"),
    "a header that counts once, many times": header(b"", b"Max-Forwards: 70\r\n", b"X: y"),
    "Call-ID many times": header(b"", b"Call-ID: a\r\n", b"X: y"),
    "compact and written out in turn": header(b"", b"m: <sip:a@b>\r\nContact: <sip:a@b>\r\n", b"X: y"),
    "folding": header(b"Subject: a", b"\r\n b", b""),
    "folding of nothing": header(b"Subject: a", b"\r\n ", b""),
    "header lines without colon": header(b"", b"abcdefg\r\n", b"X: y"),
    "empty lines of CR": header(b"X: ", b"\r", b""),
    "a chain of Via": header(b"", b"Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bK\r\n", b"X: y"),
    "Via with commas": header(b"Via: ", b"SIP/2.0/UDP a,", b"SIP/2.0/UDP b"),
    "Record-Route with commas": header(b"Record-Route: ", b"<sip:a;lr>,", b"<sip:b;lr>"),
    "Contact with commas": header(b"Contact: ", b"<sip:a@b>,", b"<sip:c@d>"),
    "Contact with quotation marks": header(b"Contact: ", b'"a" <sip:a@b>,', b"<sip:c@d>"),
    "Contact with quotation marks that do not close": header(b"Contact: ", b'"', b""),
    "Contact with backslashes": header(b'Contact: "', b"\\", b'" <sip:c@d>'),
    "Contact with backslashes and quotation marks": header(b'Contact: "', b'\\"', b""),
    "Contact with brackets": header(b"Contact: ", b"<", b""),
    "Contact with brackets that close": header(b"Contact: ", b"<>", b""),
    "Contact with parameters": header(b"Contact: <sip:a@b>", b";a=b"),
    "Contact with semicolons": header(b"Contact: <sip:a@b>", b";"),
    "Contact with commas alone": header(b"Contact: ", b","),
    "From again with parameters": header(b"f: <sip:a@b>", b";tag=a"),
    "P-Asserted-Identity with commas": header(b"P-Asserted-Identity: ", b"<sip:a@b>,", b"<tel:+1>"),
    "Diversion with commas": header(b"Diversion: ", b"<sip:a@b>;reason=user-busy,", b"<sip:a@b>"),
    "History-Info with commas": header(b"History-Info: ", b"<sip:a@b?Reason=SIP%3Bcause%3D302>;index=1,", b"<sip:a@b>"),
    "Alert-Info with commas": header(b"Alert-Info: ", b"<http://a>;info=x,", b"<http://b>"),
    "Reason with parameters": header(b"Reason: Q.850", b";cause=16"),
    "Identity with dots": header(b"Identity: ", b"a.", b"b"),
    "Identity with parameters": header(b"Identity: a.b.c", b";a=b"),
    "Session-ID with parameters": header(b"Session-ID: a", b";remote=b"),
    "Replaces with parameters": header(b"Replaces: a", b";to-tag=b"),
    "do not": header(b"Reason: ", b"do not ", b""),
    "Reason many times": header(b"", b"Reason: do not\r\n", b"X: y"),
    "blanks": header(b"X:", b" ", b""),
    "tabs": header(b"Supported:", b"\t", b"a"),
    "percent signs": header(b"Contact: <sip:", b"%41", b"@b>"),
    "octets that are no UTF-8": header(b"User-Agent: ", b"\xff", b""),
    "UTF-8 of three octets": header(b"User-Agent: ", b"\xe2\x82\xac", b""),
    "colons": header(b"", b":", b""),
    "a request line of 64 kB": lambda size: _filled(
        b"INVITE sip:", b"a", b" SIP/2.0\r\n" + (HEAD % CALL_ID)[34:] + b"\r\n", size
    ),
    "a Call-ID of 64 kB": lambda size: HEAD % (b"c" * size) + b"Content-Length: 0\r\n\r\n",
    "no end of the header": lambda size: _filled(HEAD % CALL_ID, b"X: y\r\n", b"", size),
    "a Content-Length of 64 kB": header(b"Content-Length: ", b"9", b""),
    "session description of attributes": body(b"application/sdp", SDP, b"a=x\r\n"),
    "session description of streams": body(b"application/sdp", SDP, b"m=audio 4000 RTP/AVP 0\r\n"),
    "session description of refused streams": body(b"application/sdp", SDP, b"m=video 0 RTP/AVP 0\r\n"),
    "session description of directions": body(b"application/sdp", SDP, b"a=sendonly\r\na=sendrecv\r\n"),
    "session description of addresses": body(b"application/sdp", SDP, b"c=IN IP4 0.0.0.0\r\n"),
    "session description of formats": body(b"application/sdp", SDP, b"a=rtpmap:0 PCMU/8000\r\na=fmtp:0 x=y;z\r\n"),
    "session description of candidates": body(
        b"application/sdp", SDP, b"a=candidate:1 1 udp 1 10.0.0.1 4000 typ host\r\n"
    ),
    "session description of keys": body(b"application/sdp", SDP, b"a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:a\r\n"),
    "a stream with many formats": body(b"application/sdp", SDP + b"m=audio 4000 RTP/AVP", b" 0"),
    "session description of line ends": body(b"application/sdp", SDP, b"\r\n"),
    "session description of T.38": body(b"application/sdp", SDP, b"m=image 4000 udptl t38\r\n"),
    "parts in parts": body(MULTIPART, b"--b\r\n", b"Content-Type: multipart/mixed;boundary=b\r\n\r\n--b\r\n"),
    "many parts": body(MULTIPART, b"", b"--b\r\n\r\n\r\n", b"--b--"),
    "parts that hold descriptions": body(
        MULTIPART, b"", b"--b\r\nContent-Type: application/sdp\r\n\r\nm=audio 0 x 0\r\n", b"--b--"
    ),
    "boundaries that are none": body(MULTIPART, b"", b"-"),
    "XML": body(b"application/pidf+xml", b"", b"<a>"),
    "recording's names": body(b"application/rs-metadata+xml", b"", b"<nameID "),
    "recording's names that say aor": body(b"application/rs-metadata+xml", b"", b"<nameID aor "),
    "recording's sessions": body(b"application/rs-metadata+xml", b"", b"<sipSessionID>"),
    "recording's letters": body(b"application/rs-metadata+xml", b"<", b"a"),
}

STREAMS: dict[str, Callable[[int], bytes]] = {
    "line ends": lambda size: b"\r\n" * (size // 2),
    "capitals": lambda size: b"A" * size,
    "capitals and blanks": lambda size: b"A " * (size // 2),
    "beginnings of request lines": lambda size: b"A a:" * (size // 4),
    "request lines that do not end": lambda size: b"INVITE sip:" + b"a" * size,
    "request lines that do not end, many": lambda size: b"INVITE sip:a " * (size // 13),
    "versions": lambda size: b"SIP/2.0 " * (size // 8),
    "status lines": lambda size: b"SIP/2.0 200 \r\n" * (size // 14),
    "messages without length": lambda size: b"SIP/2.0 200 \r\n\r\n" * (size // 16),
    "lines without colon": lambda size: b"abc\n" * (size // 4),
}
