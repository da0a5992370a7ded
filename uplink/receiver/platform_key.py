"""The platform's own key, with which it signs receipts: one document of kind `receiver_key`, made at the first start.

Law: all receivers over one store have the same key; whichever comes first makes it. It is as secret as the store.
"""

import base64

import msgspec
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from uplink.enrolment import PlatformKey, encoded
from uplink.keys import PrivateKey
from uplink.receiver.answers import json_answer
from uplink.receiver.storage import Documents

KIND, CURRENT = "receiver_key", "current"


class _Kept(Struct, frozen=True, kw_only=True):
    """`private`: base64 of the 32 octets of RFC 8032."""

    private: str
    made_ms: int


class PlatformKeys:
    """The key in use, read from the store when it is first needed."""

    def __init__(self, documents: Documents, now_ms: int) -> None:
        self._documents = documents
        self._now_ms = now_ms
        self._current: PrivateKey | None = None

    async def current(self) -> PrivateKey:
        if self._current is None:
            self._current = await self._kept() or await self._made()
        return self._current

    async def public(self) -> tuple[PlatformKey, ...]:
        key = await self.current()
        return (PlatformKey(key=key.id, public=encoded(key.public)),)

    async def get_keys(self, _request: web.Request) -> web.StreamResponse:
        return json_answer({"keys": await self.public()})

    async def _kept(self) -> PrivateKey | None:
        document = await self._documents.get(KIND, CURRENT)
        if document is None:
            return None
        raw = base64.b64decode(msgspec.json.decode(document.body, type=_Kept).private)
        return PrivateKey(Ed25519PrivateKey.from_private_bytes(raw))

    async def _made(self) -> PrivateKey:
        made = PrivateKey.make()
        body = msgspec.json.encode(_Kept(private=encoded(made.key.private_bytes_raw()), made_ms=self._now_ms))
        await self._documents.put(KIND, CURRENT, body, 0)
        return await self._kept() or made
