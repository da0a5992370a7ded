"""Addresses: name-addr, addr-spec, SIP and tel URIs, and their parameters (RFC 3261 sections 19.1, 20.10 and 25.1).

Laws
- Nothing here raises: an address that is broken is read as far as it goes, `address_problem` says what is wrong.
- Text comes out as `str`; bytes that are not UTF-8 come out escaped, so that two different ones stay different.
- What comes out is short, whatever comes in: of what is longer than anybody makes it, the beginning and a digest are kept.
"""

import re
from functools import lru_cache
from hashlib import blake2b
from urllib.parse import unquote_to_bytes

from msgspec import Struct


class Address(Struct, frozen=True, gc=False):
    """A name-addr or addr-spec with the parameters that follow it (`;tag=...`, leading semicolon included)."""

    display: bytes
    uri: bytes
    params: bytes


WORD_MAX_BYTES = 256
"""A Call-ID, a tag, a user part, a User-Agent: RFC 3261 sets no limit, and nobody needs as much. Of twenty thousand calls some
ten of these are kept each."""

URI_MAX_BYTES = 1_024
"""A URI with all its parameters, on its way to what is kept of it."""

_DIGEST_BYTES = 12

_USUAL = re.compile(
    rb'(?:"[^"\\<>]*" ?|[A-Za-z0-9 .!%%*_+`\'~-]*)<([^<>" \t]{1,%d})>(?:;tag=([^;,"<> \t]{1,%d}))?'
    % (URI_MAX_BYTES, WORD_MAX_BYTES)
)
"""From and To as nearly everybody writes them: URI and tag."""


def short(value: bytes, limit: int = WORD_MAX_BYTES) -> bytes:
    """The value itself, or where it is longer than `limit`, its beginning and a digest, so that two stay different."""
    if len(value) <= limit:
        return value
    digest = blake2b(value, digest_size=_DIGEST_BYTES).hexdigest().encode()
    return value[: limit - 1 - len(digest)] + b"~" + digest


usual = _USUAL.fullmatch
"""URI and tag (groups 1 and 2) of a From or To in the usual form, or None."""


def uri_of(value: bytes) -> bytes:
    """The URI of a name-addr or addr-spec."""
    found = usual(value)
    return found[1] if found else read_address(value).uri


def text(value: bytes) -> str:
    return (value if len(value) <= WORD_MAX_BYTES else short(value)).decode("utf-8", "backslashreplace")


def _quote_end(value: bytes, start: int) -> int:
    """The position of the quotation mark that closes the one at `start`, or -1."""
    at = value.find(b'"', start + 1)
    while at > 0:
        slashes = at - len(value[:at].rstrip(b"\\"))
        if slashes % 2 == 0:
            return at
        at = value.find(b'"', at + 1)
    return at


def _angle(value: bytes) -> int:
    """The position of the `<` that opens the URI, beyond a quoted display name; -1 where there is none."""
    if value[:1] == b'"':
        end = _quote_end(value, 0)
        return value.find(b"<", end + 1 if end > 0 else 0)
    return value.find(b"<")


def read_address(value: bytes) -> Address:
    opened = _angle(value)
    if opened < 0:  # section 20.10: without <>, parameters belong to the header
        uri, semicolon, params = value.partition(b";")
        return Address(b"", short(uri.strip(), URI_MAX_BYTES), semicolon + params)
    closed = value.find(b">", opened)
    if closed < 0:
        closed = len(value)
    uri = short(value[opened + 1 : closed].strip(), URI_MAX_BYTES)
    return Address(value[:opened].strip(), uri, value[closed + 1 :])


def address_problem(value: bytes) -> str:
    """What is wrong with a From or To, as a short code, or nothing (RFC 4475 sections 3.1.2.6, 3.1.2.14, 3.1.2.15)."""
    if value[:1] == b'"' and _quote_end(value, 0) < 0:
        return "quote"
    address = read_address(value)
    opened = _angle(value)
    inner = value[opened + 1 :].partition(b">")[0] if opened >= 0 else address.uri
    if b" " in inner or b"\t" in inner:
        return "spaces"
    if address.display and address.display[:1] != b'"' and any(mark in address.display for mark in b',;:@"()[]?=/{}'):
        return "display_name"
    if opened >= 0 and b">" not in value:
        return "bracket"
    if b";;" in address.params:
        return "separators"
    return ""


def param(params: bytes, name: bytes) -> bytes | None:
    """The value of `;name=value` (empty for a flag), or None. `name` in lower case."""
    for part in split_outside_quotes(params, b";"):
        key, _, value = part.partition(b"=")
        if key.strip().lower() == name:
            return value.strip().strip(b'"')
    return None


def split_outside_quotes(value: bytes, mark: bytes) -> list[bytes]:
    """Split at `mark`, but neither inside quotation marks nor inside <>."""
    if b'"' not in value and b"<" not in value:
        return value.split(mark)
    parts, start, at, angle = [], 0, 0, False
    while at < len(value):
        octet = value[at : at + 1]
        if octet == b'"' and not angle:
            end = _quote_end(value, at)
            at = end if end > 0 else len(value)
        elif octet == b"<":
            angle = True
        elif octet == b">":
            angle = False
        elif octet == mark and not angle:
            parts.append(value[start:at])
            start = at + 1
        at += 1
    parts.append(value[start:])
    return parts


def listed(values: list[bytes]) -> list[bytes]:
    """The members of a header that lists several, over all its lines."""
    if len(values) == 1 and b"," not in values[0]:
        return [values[0]] if values[0] else []
    return [member.strip() for value in values for member in split_outside_quotes(value, b",") if member.strip()]


def tag(value: bytes) -> bytes:
    """The tag of a From or To value, empty where it has none (RFC 2543)."""
    found = usual(value)
    if found:
        return found[2] or b""
    return short(param(read_address(value).params, b"tag") or b"")


@lru_cache(2048)
def user(uri: bytes) -> str:
    """The user part of a SIP URI, or the number of a tel URI; empty where there is none. Escapes are resolved where that
    gives printable text. A telephone number loses its parameters (`+12125550101;phone-context=...`), any other user part
    is one piece (RFC 4475 section 3.1.1.9)."""
    scheme, colon, rest = uri.partition(b":")
    if not colon:
        return ""
    if scheme.lower() == b"tel":
        return text(rest.partition(b";")[0])
    found, at, _ = rest.partition(b"@")
    if not at:
        return ""
    found = found.partition(b":")[0]
    if b";" in found and found[:1] in b"+0123456789":
        found = found.partition(b";")[0]
    return text(_unescaped(found)) if b"%" in found else text(found)


def _unescaped(value: bytes) -> bytes:
    plain = unquote_to_bytes(value)
    return value if any(octet < 0x20 or octet == 0x7F for octet in plain) else plain


@lru_cache(2048)
def bare(uri: bytes) -> str:
    """A URI without scheme, parameters and headers: `101@192.0.2.7:5060`. The domain in lower case."""
    rest = uri.partition(b":")[2] or uri
    name, at, domain = rest.rpartition(b"@")
    domain = domain.partition(b";")[0].partition(b"?")[0].lower()
    return text(name + at + domain)


def same_number(one: str, other: str) -> bool:
    """The same user, or two telephone numbers that differ in their prefix alone."""
    return bool(one) and number_key(one) == number_key(other)


NUMBER_DIGITS = 7
"""Trailing digits that make two spellings of a telephone number the same: a subscriber number without its area."""


@lru_cache(2048)
def number_key(name: str) -> str:
    """What two spellings of one telephone number have in common: its trailing digits; any other name is its own key."""
    digits = name[1:] if name[:1] == "+" else name
    return "#" + digits[-NUMBER_DIGITS:] if len(digits) >= NUMBER_DIGITS and digits.isdigit() else name
