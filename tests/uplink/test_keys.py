"""Keys: their files, their ids, and RFC 8032's own vector."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from uplink.keys import KeyUnusable, PrivateKey, key_id, verifies

SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = bytes.fromhex(
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)
"""RFC 8032 section 7.1, test 2: the message is one octet, 0x72."""


def test_a_key_signs_as_the_rfc_says() -> None:
    key = PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(SECRET))
    assert (key.public, key.sign(b"\x72")) == (PUBLIC, SIGNATURE)
    assert verifies(PUBLIC, SIGNATURE, b"\x72")
    assert not verifies(PUBLIC, SIGNATURE, b"\x73")
    assert not verifies(PUBLIC[:-1], SIGNATURE, b"\x72")
    assert not verifies(PUBLIC, SIGNATURE[:-1], b"\x72")


def test_an_id_is_the_keys_own() -> None:
    assert len(key_id(PUBLIC)) == 22
    assert key_id(PUBLIC) == PrivateKey(ed25519.Ed25519PrivateKey.from_private_bytes(SECRET)).id
    assert PrivateKey.make().id != PrivateKey.make().id


def test_a_saved_key_is_the_owners_alone_and_never_written_over(tmp_path: Path) -> None:
    path, key = tmp_path / "key.pem", PrivateKey.make()
    key.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert PrivateKey.load(path).public == key.public
    with pytest.raises(FileExistsError):
        PrivateKey.make().save(path)
    assert PrivateKey.load(path).public == key.public
    assert [each.name for each in tmp_path.iterdir()] == ["key.pem"]


def test_what_is_no_key_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="No such file"):
        PrivateKey.load(tmp_path / "absent")
    path = tmp_path / "key.pem"
    path.write_bytes(b"-----BEGIN PRIVATE KEY-----\ngarbage\n-----END PRIVATE KEY-----\n")
    with pytest.raises(KeyUnusable, match="no private key"):
        PrivateKey.load(path)
    other = rsa.generate_private_key(65537, 2048)
    path.write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(KeyUnusable, match="Ed25519"):
        PrivateKey.load(path)
