"""Operators: who may log in, as documents of kind `operator` by name; their passwords as scrypt (RFC 7914).

Laws
- A password is never stored, logged or shown; what is stored says how it was worked out, so that it can be made costlier later.
- Checking takes the same time whether there is such an operator or not.
"""

import hashlib
import hmac
import re
import secrets
from typing import Literal

import msgspec
from msgspec import Struct

from uplink.receiver.storage import Documents

KIND = "operator"
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")
PASSWORD_MIN_CHARS = 12
"""NIST SP 800-63B asks for 8 beside a second factor; there is none here."""
PASSWORD_MAX_CHARS = 256
SALT_BYTES = 16
COST, BLOCK, LANES = 2**15, 8, 3
"""32 MiB and about a third of a second each time (OWASP's second choice of equal strength)."""
COST_MAX = 2**20
"""What a document may ask of this machine: 1 GiB."""

Role = Literal["admin", "viewer"]
ROLES: tuple[Role, ...] = ("admin", "viewer")


class Password(Struct, frozen=True, kw_only=True):
    """scrypt's `salt`, N, r, p, and what came of it."""

    salt: bytes
    digest: bytes
    cost: int = COST
    block: int = BLOCK
    lanes: int = LANES


class Operator(Struct, frozen=True, kw_only=True):
    """A `viewer` sees everything; an `admin` gives names to sites, too, asks them to send again, and revokes their keys."""

    name: str
    role: Role
    password: Password
    changed_ms: int


def check_name(name: str) -> str:
    """Raises ValueError."""
    if not NAME.match(name):
        raise ValueError("an operator's name is 1 to 32 small letters, digits, '.', '_' or '-'")
    return name


def hashed(password: str) -> Password:
    """Slow. Raises ValueError where the password is too short or too long."""
    if not PASSWORD_MIN_CHARS <= len(password) <= PASSWORD_MAX_CHARS:
        raise ValueError(f"a password has {PASSWORD_MIN_CHARS} to {PASSWORD_MAX_CHARS} characters")
    made = Password(salt=secrets.token_bytes(SALT_BYTES), digest=b"")
    return msgspec.structs.replace(made, digest=_digest(password, made))


_NOBODY = Password(salt=bytes(SALT_BYTES), digest=bytes(32))


def is_password(kept: Password | None, password: str) -> bool:
    """Slow. `kept` is None where there is no such operator; that takes as long."""
    against = kept or _NOBODY
    if len(password) > PASSWORD_MAX_CHARS:
        return False
    return hmac.compare_digest(_digest(password, against), against.digest) and kept is not None


def _digest(password: str, how: Password) -> bytes:
    if how.cost > COST_MAX:
        raise ValueError(f"scrypt's cost {how.cost} is more than {COST_MAX}")
    # OpenSSL wants a bound: N blocks of 128 r bytes, and as much again.
    memory_bytes = 2 * 128 * how.cost * how.block
    return hashlib.scrypt(
        password.encode(), salt=how.salt, n=how.cost, r=how.block, p=how.lanes, maxmem=memory_bytes, dklen=32
    )


async def find(documents: Documents, name: str) -> tuple[Operator, int] | None:
    """The operator, and the revision that stands. Raises StoreUnavailable."""
    document = await documents.get(KIND, name) if NAME.match(name) else None
    return (msgspec.json.decode(document.body, type=Operator), document.revision) if document else None


async def save(documents: Documents, operator: Operator, expected: int) -> bool:
    """False where another revision than `expected` stands (0: none may). Raises StoreUnavailable."""
    return await documents.put(KIND, operator.name, msgspec.json.encode(operator), expected) is not None
