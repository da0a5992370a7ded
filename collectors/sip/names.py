"""Names of headers and methods, as tables.

Header names are told in lower case and written out; compact forms are those of the IANA registry of SIP header fields.
"""

from collections.abc import Set

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

NAMES = (
    *(b"Call-ID", b"CSeq", b"From", b"To", b"Via", b"Max-Forwards", b"Content-Length", b"Content-Type"),
    *(b"Contact", b"Expires", b"User-Agent", b"Event", b"Reason", b"Refer-To", b"Replaces", b"Join"),
    *(b"Session-Expires", b"Session-ID", b"P-Asserted-Identity", b"Remote-Party-ID", b"Diversion", b"History-Info"),
    *(b"Alert-Info", b"Call-Info", b"Answer-Mode", b"Priv-Answer-Mode", b"Privacy", b"Identity"),
    *(b"Target-Dialog", b"Require", b"Record"),
)
"""Headers that this package reads, as their RFCs spell them: a message's headers are known by these names."""

PROPER = {name.lower(): name for name in NAMES}
"""Any other header is known by its name in lower case."""

SINGLE = frozenset((b"Call-ID", b"CSeq", b"From", b"To", b"Content-Length", b"Max-Forwards"))
"""Headers that may stand once (RFC 3261 section 7.3.1 and table 2), and that this package relies on."""

USUAL = frozenset((b"Call-ID", b"CSeq", b"From", b"To"))
"""Headers that the short way of reading looks for in this very spelling."""

METHODS = frozenset(
    (
        *(b"INVITE", b"ACK", b"BYE", b"CANCEL", b"OPTIONS", b"REGISTER"),  # RFC 3261
        *(b"PRACK", b"SUBSCRIBE", b"NOTIFY", b"PUBLISH", b"INFO", b"REFER", b"MESSAGE", b"UPDATE"),
    )
)

_KNOWN_MAX = 1_024
"""Spellings of header names remembered; the field uses a few hundred."""

_known: dict[bytes, tuple[bytes, int]] = {}
_plain: set[bytes] = set(NAMES)


COMPACTED, WRITTEN, AS_USUAL = 0, 1, 2
"""How a header's name stood there: as one letter, written out, or in the very spelling that `USUAL` has."""


def canonical(raw: bytes) -> tuple[bytes, int]:
    """The name that a header is known by, and how it stood there."""
    found = _known.get(raw)
    if found is None:
        name = raw.strip(b" \t").lower()
        rank = AS_USUAL if raw in USUAL else COMPACTED if name in COMPACT else WRITTEN
        name = COMPACT.get(name, name)
        found = (PROPER.get(name, name), rank)
        if len(_known) < _KNOWN_MAX and len(raw) < 64:
            _known[raw] = found
    return found


def are_plain(names: Set[bytes]) -> bool:
    """Whether each of these spellings is either that of `NAMES` or of a header that is not read."""
    return names <= _plain or all(_is_plain(name) for name in names)


def _is_plain(raw: bytes) -> bool:
    if raw in _plain:
        return True
    name = raw.lower()
    if name in PROPER or name in COMPACT or not name.replace(b"-", b"").replace(b"_", b"").isalnum():
        return False
    if len(_plain) < _KNOWN_MAX and len(raw) < 64:
        _plain.add(raw)
    return True
