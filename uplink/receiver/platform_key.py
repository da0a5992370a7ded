"""The platform's own keys, with which it signs receipts: one document of kind `receiver_key`. It holds the private key in use
and the public ones of all that were before, each with the statement by which agents know the next one (`uplink.succession`).

Laws
- All receivers over one store have the same key; whichever comes first makes it. It is as secret as the store.
- A change of key is a change of this one document: it is made or it is not. The old private key is then no more.
- What a receiver knows of it may be CACHE_S old: so long may receipts be signed by the key before.
"""

import base64
import time

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from uplink.enrolment import PlatformKey, PlatformKeysTold, encoded
from uplink.keys import PrivateKey
from uplink.receiver.answers import json_answer
from uplink.receiver.storage import Document, Documents, StoreUnavailable
from uplink.succession import introduce

KIND, CURRENT = "receiver_key", "current"
CACHE_S = 5.0
KEYS_MAX = 1000
"""One each month for eighty years. All of them are told, some 200 bytes each."""


class Past(Struct, frozen=True, kw_only=True):
    """A key that was in use until then."""

    key: PlatformKey
    made_ms: int
    until_ms: int


class Kept(Struct, frozen=True, kw_only=True):
    """`private`: base64 of the 32 octets of RFC 8032. `by`, `sig`: the statement of the key before. `past`: the newest
    first."""

    private: str
    made_ms: int
    by: str = ""
    sig: str = ""
    past: tuple[Past, ...] = ()

    @property
    def signing(self) -> PrivateKey:
        return PrivateKey(Ed25519PrivateKey.from_private_bytes(base64.b64decode(self.private)))

    @property
    def public(self) -> PlatformKey:
        key = self.signing
        return PlatformKey(key=key.id, public=encoded(key.public), by=self.by, sig=self.sig)


class TooManyKeys(Exception):
    """There were KEYS_MAX changes."""


class PlatformKeys:
    """The keys, read from the store when they are needed."""

    def __init__(self, documents: Documents, now_ms: int) -> None:
        self._documents = documents
        self._now_ms = now_ms
        self._known: tuple[Kept, PrivateKey] | None = None
        self._until_s = 0.0

    async def current(self) -> PrivateKey:
        return (await self._current())[1]

    async def public(self) -> tuple[PlatformKey, ...]:
        """What an agent that comes in is told: the one in use."""
        return ((await self._current())[0].public,)

    async def get_keys(self, _request: web.Request) -> web.StreamResponse:
        kept, _ = await self._current()
        return json_answer(PlatformKeysTold(keys=(kept.public, *(past.key for past in kept.past))))

    async def _current(self) -> tuple[Kept, PrivateKey]:
        """A store that is away for a moment costs no receipt for what it took before."""
        if self._known is None or time.monotonic() >= self._until_s:
            try:
                kept = await standing(self._documents, self._now_ms)
            except StoreUnavailable:
                if self._known is None:
                    raise
            else:
                self._known, self._until_s = (kept, kept.signing), time.monotonic() + CACHE_S
        assert self._known is not None
        return self._known


async def standing(documents: Documents, now_ms: int) -> Kept:
    """What the store holds; the first key is made where there is none."""
    document = await documents.get(KIND, CURRENT)
    if document is None:
        await documents.put(KIND, CURRENT, _first(now_ms), 0)
        document = await documents.get(KIND, CURRENT)
    assert document is not None
    return _read(document)


async def rotate(documents: Documents, now_ms: int, disowned: bool = False) -> Kept:
    """Another key from now on; returns what holds then. `disowned`: the key before has no word any more (somebody else may have
    it), so that agents know the new one by nothing but another enrolment. Raises TooManyKeys."""
    while True:
        await standing(documents, now_ms)
        document = await documents.get(KIND, CURRENT)
        assert document is not None
        kept = _read(document)
        if len(kept.past) >= KEYS_MAX:
            raise TooManyKeys(f"the platform has had {KEYS_MAX} keys")
        made = PrivateKey.make()
        told = None if disowned else introduce(kept.signing, made.public)
        following = Kept(
            private=encoded(made.key.private_bytes_raw()),
            made_ms=now_ms,
            by=told.by if told else "",
            sig=told.sig if told else "",
            past=(Past(key=kept.public, made_ms=kept.made_ms, until_ms=now_ms), *kept.past),
        )
        if await documents.put(KIND, CURRENT, msgspec.json.encode(following), document.revision) is not None:
            return following


def _first(now_ms: int) -> bytes:
    return msgspec.json.encode(Kept(private=encoded(PrivateKey.make().key.private_bytes_raw()), made_ms=now_ms))


def _read(document: Document) -> Kept:
    return msgspec.json.decode(document.body, type=Kept)
