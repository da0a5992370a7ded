"""Who this machine is to its platform: a folder beside the ledger with the key and what the platform said at enrolment.

    <key id>.pem       a private key
    enrolment.json     in force: the answer of the platform; it names its key
    last-head.json     see `uplink.witness`
    pending.json       asked for and not answered yet: which key, and by which token or for which old key

Laws
- Each file is whole or not there, and durable before the next step. `enrolment.json` alone decides: it changes from one key to
  another in one rename, after the platform has said that it knows the new one.
- A key of the platform that was known once stays known, for the receipts that it signed; which may sign new ones is the
  platform's word, or that of a key that may (`uplink.succession`).
- One process at a time changes `enrolment.json`, of what stands there then.
- What was begun is gone on with: the same token, or the same old key, leads to the same new key, so that a lost answer is
  asked for again and never makes a second agent.
- The token itself is not kept, only its SHA-256.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
from msgspec import UNSET, Struct, structs
from yarl import URL

from uplink.durable import OWNER_ONLY, read_record, sync_folder, write_aside
from uplink.enrolment import Enrolled, PlatformKey, decoded_key
from uplink.keys import KeyUnusable, PrivateKey
from uplink.line import CredentialsUnreadable
from uplink.signing import sign
from uplink.succession import introduced
from uplink.uploader import wall_clock_ms

FOLDER = "identity"
ENROLMENT, PENDING = "enrolment.json", "pending.json"
SIGNING_KEYS_MAX = 50
"""The newest: of a platform that changed its key so often while a site was away, the last ones sign."""
PAST_KEYS_MAX = 100
"""Of the platform, for the receipts that they signed; receipts go with their events, in months."""


def identity_folder(ledger: str | Path) -> Path:
    """Beside the ledger's file, so that both are backed up, moved and lost together."""
    return Path(ledger).absolute().parent / FOLDER


class Enrolment(Struct, frozen=True, kw_only=True):
    """`enrolment.json`: where, by which token, and what the platform answered. `past_keys`: the platform's earlier ones."""

    url: str
    token_sha256: str
    answer: Enrolled
    past_keys: tuple[PlatformKey, ...] = ()

    @property
    def all_keys(self) -> tuple[PlatformKey, ...]:
        return (*self.answer.platform_keys, *self.past_keys)


class Pending(Struct, frozen=True, kw_only=True):
    """`pending.json`: `cause` is the token's SHA-256, or the id of the key that is to be replaced; `key` is the new one's."""

    cause: str
    key: str


class Identity(Struct, frozen=True, kw_only=True):
    """An enrolled machine. `platform_keys`: key id -> public key, of those that may sign receipts."""

    enrolment: Enrolment
    key: PrivateKey
    platform_keys: dict[str, bytes]

    @property
    def site(self) -> str:
        return self.enrolment.answer.site

    @property
    def provider(self) -> str:
        return self.enrolment.answer.provider


def token_sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def load(folder: Path) -> Identity | None:
    """None where this machine is not enrolled. Raises CredentialsUnreadable where it was, and something cannot be used."""
    enrolment = read_enrolment(folder)
    if enrolment is None:
        return None
    try:
        key = PrivateKey.load(key_file(folder, enrolment.answer.key))
        keys = {each.key: decoded_key(each.public) for each in enrolment.answer.platform_keys}
    except (KeyUnusable, ValueError) as error:
        raise CredentialsUnreadable(f"{error}; enrol this machine again: pegcount enrol") from None
    if key.id != enrolment.answer.key:
        raise CredentialsUnreadable(f"{key_file(folder, enrolment.answer.key)} holds another key than it says")
    return Identity(enrolment=enrolment, key=key, platform_keys=keys)


def is_half(folder: Path) -> bool:
    """A key is there, and neither an enrolment nor one that is on its way: somebody took something away. Of a folder that
    cannot be looked into nothing is said."""
    try:
        names = os.listdir(folder)
    except OSError:
        return False
    return any(name.endswith(".pem") for name in names) and not {ENROLMENT, PENDING} & set(names)


def read_enrolment(folder: Path) -> Enrolment | None:
    """Raises CredentialsUnreadable."""
    return read_record(folder / ENROLMENT, Enrolment, CredentialsUnreadable)


def new_key(folder: Path, cause: str) -> PrivateKey:
    """The key to ask with: the one that was begun for this cause, or one that is made now; durable. Raises
    CredentialsUnreadable and OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    begun = read_record(folder / PENDING, Pending, CredentialsUnreadable)
    if begun is not None and begun.cause == cause:
        try:
            return PrivateKey.load(key_file(folder, begun.key))
        except KeyUnusable as error:
            raise CredentialsUnreadable(str(error)) from None
    key = PrivateKey.make()
    key.save(key_file(folder, key.id))
    _write(folder / PENDING, Pending(cause=cause, key=key.id))
    return key


def take(folder: Path, enrolment: Enrolment) -> None:
    """From here on this is who the machine is; keys that are no longer used go. A policy is not kept here. Raises
    CredentialsUnreadable and OSError."""
    with _locked(folder):
        before = read_enrolment(folder)
        answer = structs.replace(enrolment.answer, policy=UNSET)
        named = {each.key for each in answer.platform_keys}
        past = tuple(each for each in (before.all_keys if before else ()) if each.key not in named)
        _write(folder / ENROLMENT, structs.replace(enrolment, answer=answer, past_keys=past[:PAST_KEYS_MAX]))
        (folder / PENDING).unlink(missing_ok=True)
        for file in folder.glob("*.pem*"):
            if file != key_file(folder, enrolment.answer.key):
                file.unlink(missing_ok=True)


def learn(folder: Path, told: Sequence[PlatformKey]) -> None:
    """Keep the keys of `told` that one which signs receipts introduces: they sign receipts too. Raises CredentialsUnreadable
    and OSError."""
    with _locked(folder):
        before = read_enrolment(folder)
        if before is None:
            return
        own = before.answer.platform_keys
        fresh = introduced({each.key: decoded_key(each.public) for each in own}, told)
        if not fresh:
            return
        named = {each.key for each in fresh}
        past = tuple(each for each in before.past_keys if each.key not in named)
        keys = (*fresh[::-1], *own)
        answer = structs.replace(before.answer, platform_keys=keys[:SIGNING_KEYS_MAX])
        past = (*keys[SIGNING_KEYS_MAX:], *past)[:PAST_KEYS_MAX]
        _write(folder / ENROLMENT, structs.replace(before, answer=answer, past_keys=past))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One at a time. The folder itself is what is locked, so that whoever may read it can, root or the agent's user."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def key_file(folder: Path, key: str) -> Path:
    return folder / f"{key}.pem"


def _write(path: Path, content: Struct) -> None:
    write_durably(path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def signature(key: PrivateKey, method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The fields of a signature made now, with a nonce of its own. The URL is signed in the form in which it is requested."""
    return sign(key, method, str(URL(url)), headers, wall_clock_ms() // 1000, os.urandom(16).hex())


def write_durably(path: Path, content: bytes) -> None:
    """The whole of it or what was there before, and durable on return; for its owner's eyes. Raises OSError."""
    aside = path.with_name(path.name + ".new")
    write_aside(aside, content, OWNER_ONLY)
    aside.replace(path)
    sync_folder(path.parent)
