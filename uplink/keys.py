"""Ed25519 keys (RFC 8032): a site's own, and the platform's for its receipts.

Laws
- A private key is made where it is used and never leaves that machine; its file is readable by its owner only.
- A key's id is derived from the public key (the first 16 octets of its SHA-256), so that it cannot be given to another one.
"""

import base64
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from uplink.durable import OWNER_ONLY, sync_folder, write_aside

PUBLIC_BYTES = 32
KEY_FILE_MAX_BYTES = 4096
"""A PEM of this kind has 119 octets."""


class KeyUnusable(Exception):
    """A key's file is missing, unreadable, or holds something else. The message says which."""


def key_id(public: bytes) -> str:
    """22 characters of base64url."""
    return base64.urlsafe_b64encode(hashlib.sha256(public).digest()[:16]).rstrip(b"=").decode()


class PrivateKey:
    """A private key in use. `public` is the raw public key, `id` its id."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self.key = key
        self.public = key.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    @classmethod
    def make(cls) -> "PrivateKey":
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path) -> "PrivateKey":
        """Raises KeyUnusable."""
        try:
            with path.open("rb") as file:
                pem = file.read(KEY_FILE_MAX_BYTES)
        except OSError as error:
            raise KeyUnusable(f"{path}: {error.strerror}") from error
        try:
            key = load_pem_private_key(pem, None)
        except (ValueError, TypeError) as error:
            raise KeyUnusable(f"{path}: this is no private key in PEM without a password") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise KeyUnusable(f"{path}: this is no Ed25519 key")
        return cls(key)

    def save(self, path: Path) -> None:
        """Durable on return, and whole or not there; never over another one. Raises OSError."""
        pem = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        aside = path.with_name(path.name + ".new")
        write_aside(aside, pem, OWNER_ONLY)
        try:
            os.link(aside, path)
        finally:
            aside.unlink()
        sync_folder(path.parent)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


def verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether `signature` is this public key's over `message`; False for what is no public key as well."""
    if len(public) != PUBLIC_BYTES:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
