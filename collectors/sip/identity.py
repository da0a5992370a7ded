"""Who calls, as the network tells it: asserted identities, the wish for privacy, how far a provider vouches. Pure.

Laws
- From names the caller, unless it names nobody; then the identities that the network asserts (RFC 3325) do.
- Nothing is verified here: an attestation is what the signed token says of itself. A token that cannot be read says nothing.
"""

import re
from base64 import urlsafe_b64decode
from typing import Literal

import msgspec
from msgspec import Struct

from collectors.sip.address import listed, param, read_address, uri_of, user
from collectors.sip.message import Message

Attestation = Literal["", "A", "B", "C"]

_LEVELS: dict[str, Attestation] = {"A": "A", "B": "B", "C": "C"}

ANONYMOUS = frozenset(("", "anonymous", "unknown", "unavailable", "restricted", "asterisk"))
"""User parts of From that name nobody: RFC 3323's and those that phone systems fill in."""

ASSERTED = (b"P-Asserted-Identity", b"Remote-Party-ID")

WITHHELD = frozenset((b"id", b"user", b"full", b"header"))
"""Values of Privacy (RFC 3323 section 4.2, RFC 3325 section 9.3) and of Remote-Party-ID's `privacy` that ask to keep the
number from the called party; `name`, `session`, `critical` and `none` do not."""

_TELLING = frozenset((b"Privacy", b"Identity", *ASSERTED))

PASSPORT_MAX_BYTES = 8_192
"""A SHAKEN token has about 400 octets of payload; nothing longer is decoded."""

_VERSTAT = re.compile(rb"verstat=TN-Validation-Passed-([ABC])\b", re.IGNORECASE)
"""What a carrier that verified the token itself leaves in the number's URI (3GPP TS 24.229 section 7.2A.20; the level
behind it is the carriers' own custom)."""


class Identity(Struct, frozen=True, gc=False):
    """`names`: the caller's names, the one to show first. `private`: the number is not for the called party's eyes."""

    names: tuple[str, ...]
    private: bool = False
    attestation: Attestation = ""


def identity(message: Message) -> Identity:
    """What an INVITE says of its caller."""
    sender = message.ends()[0]
    name = user(sender)
    if _TELLING.isdisjoint(message.first):
        return Identity((name,), _asks_to_hide(sender) if name in ANONYMOUS else False)
    told = [name]
    for header in ASSERTED:
        if header in message.first:
            told += [user(uri_of(value)) for value in listed(message.values(header))]
    known = tuple(one for one in told if one.lower() not in ANONYMOUS)
    return Identity(known or (name,), _asks_to_hide(sender) or _withheld(message), _attestation(message))


def _asks_to_hide(sender: bytes) -> bool:
    """RFC 3323 section 4.1.1.3: the From of a caller who wants to be nobody."""
    return sender[-17:].lower() == b"anonymous.invalid"


def _withheld(message: Message) -> bool:
    wished = message.get(b"Privacy").lower().replace(b" ", b"").split(b";")
    if b"none" in wished:
        return False
    for value in listed(message.values(b"Remote-Party-ID")):
        wished.append((param(read_address(value).params, b"privacy") or b"").lower())
    return not WITHHELD.isdisjoint(wished)


class _Passport(Struct):
    """The claims of a PASSporT (RFC 8225) that matter here; `attest` is that of RFC 8588."""

    attest: str = ""


_claims = msgspec.json.Decoder(_Passport)


def _attestation(message: Message) -> Attestation:
    """The level that the first token with one tells. In the compact form (RFC 8224 section 4) there is nothing to read."""
    for value in listed(message.values(b"Identity")):
        if found := _LEVELS.get(_told_by(value.partition(b";")[0].strip()), ""):
            return found
    for header in (b"P-Asserted-Identity", b"From"):
        if (verified := _VERSTAT.search(message.get(header))) is not None:
            return _LEVELS[verified[1].decode().upper()]
    return ""


def _told_by(token: bytes) -> str:
    parts = token.split(b".")
    if len(parts) != 3 or not parts[1] or len(parts[1]) > PASSPORT_MAX_BYTES:
        return ""
    try:
        return _claims.decode(urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4))).attest
    except (ValueError, msgspec.DecodeError, RecursionError):
        return ""
