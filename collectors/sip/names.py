"""Names of headers and methods, as tables.

Header names are told in lower case and written out; compact forms are those of the IANA registry of SIP header fields.
"""

COMPACT = {
    b"a": b"accept-contact",
    b"b": b"referred-by",
    b"c": b"content-type",
    b"d": b"request-disposition",
    b"e": b"content-encoding",
    b"f": b"from",
    b"i": b"call-id",
    b"j": b"reject-contact",
    b"k": b"supported",
    b"l": b"content-length",
    b"m": b"contact",
    b"n": b"identity-info",
    b"o": b"event",
    b"r": b"refer-to",
    b"s": b"subject",
    b"t": b"to",
    b"u": b"allow-events",
    b"v": b"via",
    b"x": b"session-expires",
    b"y": b"identity",
}

SINGLE = frozenset((b"call-id", b"cseq", b"from", b"to", b"content-length", b"max-forwards"))
"""Headers that may stand once (RFC 3261 section 7.3.1 and table 2), and that this package relies on."""

USUAL = {b"Call-ID": b"call-id", b"CSeq": b"cseq", b"From": b"from", b"To": b"to"}
"""The spelling that RFC 3261 itself uses: the one that the short way of reading looks for."""

METHODS = frozenset(
    (
        *(b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER"),  # RFC 3261
        *(b"PRACK", b"SUBSCRIBE", b"NOTIFY", b"PUBLISH", b"INFO", b"REFER", b"MESSAGE", b"UPDATE"),
    )
)

_KNOWN_MAX = 512
"""Spellings of header names remembered; the field uses about a hundred."""

_known: dict[bytes, tuple[bytes, bool]] = {raw: (name, True) for raw, name in USUAL.items()}


def canonical(raw: bytes) -> tuple[bytes, bool]:
    """The header's name, lower case and written out, and whether it stood there in its usual spelling."""
    found = _known.get(raw)
    if found is None:
        name = raw.strip(b" \t").lower()
        found = (COMPACT.get(name, name), False)
        if len(_known) < _KNOWN_MAX and len(raw) < 64:
            _known[raw] = found
    return found
