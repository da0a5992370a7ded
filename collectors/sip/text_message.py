"""What a MESSAGE carries (RFC 3428), and how many segments of a short message that is. Pure.

Laws
- A segment is that of SMS, whatever carries it (3GPP TS 23.040 section 9.2.3.24.1, TS 23.038): where all characters are of
  the GSM 7 bit alphabet 160, or 153 each where there are more; else UTF-16 code units, 70 or 67 each. A pair of code units that
  stand for one character is not taken apart.
- A message whose bytes are no text, or whose character set is not read, has one.
"""

from msgspec import Struct

from collectors.sip.message import Message

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = "\f^{}\\[~]|€"
"""TS 23.038 sections 6.2.1 and 6.2.1.1; an extended one takes two places."""
PLACES = {**dict.fromkeys(_BASIC, 1), **dict.fromkeys(_EXTENDED, 2)}

GSM_ONE, GSM_EACH = 160, 153
UCS2_ONE, UCS2_EACH = 70, 67
"""One alone, and each of several: six octets of each go to the header that joins them."""

CHARSETS = {
    **{name: name for name in ("utf-8", "utf-16", "utf-16be", "utf-16le", "iso-8859-1", "iso-8859-15", "windows-1252")},
    "us-ascii": "ascii",
}
"""Those that are read. Not every name that Python knows: some of its codecs take quadratic time, or are no character sets."""

RP_DATA = (0, 1)
"""RP-MTI of a short message itself (3GPP TS 24.011 section 8.2.2); the others acknowledge."""

RP_TYPE = b"application/vnd.3gpp.sms"


class Content(Struct, frozen=True):
    """`kind`: the media type in lower case. `charset`: as told, or UTF-8 (RFC 3428 section 10 has no other default)."""

    kind: bytes
    charset: str
    body: bytes


def content_of(request: Message) -> Content:
    """What somebody wrote, taken out of its wrapping (RFC 3862) where it has one."""
    told = _content(request.get(b"Content-Type"), request.body)
    if told.kind != b"message/cpim":
        return told
    head, _, body = request.body.partition(b"\r\n\r\n")[2].partition(b"\r\n\r\n")
    for line in head.splitlines():
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return _content(value, body)
    return Content(told.kind, told.charset, body)


def _content(value: bytes, body: bytes) -> Content:
    kind, *params = value.split(b";")
    charset = next((one[8:] for one in (part.strip() for part in params) if one[:8].lower() == b"charset="), b"")
    return Content(kind.strip().lower(), charset.strip(b'" ').decode("ascii", "replace") or "utf-8", body)


def is_silent(content: Content) -> bool:
    """Whether nobody wrote it: "is typing" (RFC 3994), "was read" (RFC 5438), an acknowledgement of SMS over IP."""
    if content.kind == RP_TYPE:
        return not content.body or content.body[0] & 7 not in RP_DATA
    return content.kind in (b"application/im-iscomposing+xml", b"message/imdn+xml")


def segments(content: Content) -> int:
    if not content.kind.startswith(b"text/") and content.kind:
        return 1
    try:
        told = content.body.decode(CHARSETS[content.charset.lower()])
    except (KeyError, UnicodeDecodeError):
        return 1
    places = [PLACES.get(character, 0) for character in told]
    if all(places):
        return _pieces(places, GSM_ONE, GSM_EACH)
    return _pieces([1 + (character > "\uffff") for character in told], UCS2_ONE, UCS2_EACH)


def _pieces(places: list[int], one: int, each: int) -> int:
    """What takes two places stays in one piece."""
    if sum(places) <= one:
        return 1
    pieces, room = 1, each
    for size in places:
        if size > room:
            pieces, room = pieces + 1, each
        room -= size
    return pieces
