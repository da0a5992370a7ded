"""SIPREC: a recording session is no call, but shows that one is being recorded (RFC 7866, metadata by RFC 7865). Pure.

Laws
- It is known by its INVITE alone: `Require: siprec`, `+sip.src` in its Contact, or metadata in its body.
- Metadata is searched, not parsed: it comes from the wire, and no more than the names in it are wanted.
"""

import re

from msgspec import Struct

from collectors.sip.address import user
from collectors.sip.message import Message

NAMES_MAX = 16
"""Participants of one recorded call that are looked at; a conference may have more."""

_AOR = re.compile(rb"""<(?:\w+:)?nameID\s[^<>]{0,512}?\baor\s*=\s*["']([^"'<>\s]{1,256})""")
_SESSION = re.compile(rb"<(?:\w+:)?sipSessionID>\s*([0-9A-Fa-f;=a-z]{32,256})\s*<")


class Recorded(Struct, frozen=True, gc=False):
    """What the metadata says of the call: its Session-ID (RFC 7989, empty where there is none), and who takes part."""

    session: bytes = b""
    names: tuple[str, ...] = ()


def is_recording(message: Message) -> bool:
    if b"Require" in message.first and b"siprec" in message.get(b"Require").lower():
        return True
    return message.body.find(b"rs-metadata") >= 0 or message.get(b"Contact").find(b"+sip.src") >= 0


def recorded(message: Message) -> Recorded:
    session = _SESSION.search(message.body)
    names = [user(found[1]) for found in list(_AOR.finditer(message.body))[:NAMES_MAX]]
    return Recorded(session[1] if session else b"", tuple(dict.fromkeys(name for name in names if name)))
