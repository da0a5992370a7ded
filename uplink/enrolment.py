"""What agent and platform say to each other when a machine is enrolled, or changes its key. Shapes and texts; pure.

Laws
- A key is registered only with proof that its private half is there: enrolment is signed by the new key itself, a change of key
  by the old one, with the new one's signature of `change_text` in the body.
- Asked again with the same token and key (or the same two keys) the platform gives the same answer: a lost one costs nothing.
"""

import base64
import binascii

from msgspec import UNSET, Struct, UnsetType

from uplink.keys import PUBLIC_BYTES

ENROL_PATH = "/v1/enrol"
PLATFORM_KEYS_PATH = "/v1/keys"


def keys_path(site: str) -> str:
    return f"/v1/sites/{site}/keys"


class EnrolRequest(Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/enrol`. `public_key`: base64 of the 32 octets. `version` and `machine` are shown to operators."""

    public_key: str
    version: str = ""
    machine: str = ""


class ChangeRequest(Struct, frozen=True, kw_only=True):
    """The body of `POST /v1/sites/{site}/keys`. `proof`: base64 of the new key's signature of `change_text`."""

    public_key: str
    proof: str
    version: str = ""
    machine: str = ""


class PlatformKey(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key that the platform signs receipts with: its id, and base64 of its public octets. `by`, `sig`: the id of the key
    before it, and that one's signature (base64) of `uplink.succession`'s text; the first key has none."""

    key: str
    public: str
    by: str = ""
    sig: str = ""


class PlatformKeysTold(Struct, frozen=True, kw_only=True):
    """The answer of `GET /v1/keys`: the key in use, then those before it."""

    keys: tuple[PlatformKey, ...]


class GivenPolicy(Struct, frozen=True, kw_only=True):
    """A site's policy: its text (TOML), and the ETag by which the platform knows it, the SHA-256 of the text."""

    etag: str
    text: str


class Enrolled(Struct, frozen=True, kw_only=True):
    """The answer to both. `policy` is told at enrolment: the site's, or None where it has none."""

    site: str
    agent: str
    key: str
    provider: str
    platform_keys: tuple[PlatformKey, ...] = ()
    policy: GivenPolicy | UnsetType | None = UNSET


def change_text(site: str, old: str, new: str) -> bytes:
    """What a new key signs to show that it takes the place of `old` (key ids)."""
    return f"pegcount-key-1\n{site}\n{old}\n{new}\n".encode()


def encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def decoded(text: str, octets: int) -> bytes:
    """Raises ValueError where it is not base64 of so many octets."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None
    if len(raw) != octets:
        raise ValueError(f"{len(raw)} octets instead of {octets}")
    return raw


def decoded_key(text: str) -> bytes:
    """Raises ValueError where it is no public key in base64."""
    return decoded(text, PUBLIC_BYTES)
