"""Who may report and read: bearer tokens, known by their SHA-256 only.

Laws
- A token is never stored, logged or compared as text: its SHA-256 is looked up. How long that takes tells about the
  hash of what was tried, which nobody can steer towards a stored one; so it tells nothing about any token.
- A token is for one site, or for every site (`*`), and for one thing: an agent's token writes and reads nothing, a reading
  token reads, and an operator's token reads and asks sites for something.
"""

import hashlib
import re
from collections.abc import Mapping

from msgspec import Struct

EVERY_SITE = "*"
TOKEN_MAX_CHARS = 512

_HASH = re.compile(r"[0-9a-f]{64}\Z")


def token_hash(token: str) -> str:
    """How a token is written in the receiver's settings."""
    return hashlib.sha256(token.encode()).hexdigest()


class Tokens(Struct, frozen=True, kw_only=True):
    """`write`, `read`, `operate`: SHA-256 of a token (hexadecimal) -> site, or `*`."""

    write: Mapping[str, str]
    read: Mapping[str, str] = {}
    operate: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        for digest in (*self.write, *self.read, *self.operate):
            if not _HASH.match(digest):
                raise ValueError("a token is given as its SHA-256, 64 hexadecimal digits in lower case")


def writer_of(tokens: Tokens, authorization: str) -> str | None:
    """The site (or `*`) that this Authorization header may report for; None where it is nobody's."""
    return _granted(tokens.write, authorization)


def reader_of(tokens: Tokens, authorization: str) -> str | None:
    return _granted(tokens.read, authorization) or operator_of(tokens, authorization)


def operator_of(tokens: Tokens, authorization: str) -> str | None:
    return _granted(tokens.operate, authorization)


def named(authorization: str) -> str:
    """A token that is known here, by what its line in the settings begins with."""
    return f"token {token_hash(authorization.partition(' ')[2].strip())[:8]}"


def _granted(grants: Mapping[str, str], authorization: str) -> str | None:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not 0 < len(token) <= TOKEN_MAX_CHARS:
        return None
    return grants.get(token_hash(token.strip()))
