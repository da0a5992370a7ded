"""Documents in a key-value bucket of JetStream.

Laws
- A bucket's revisions are numbers of its stream's messages: none comes back, for no key.
- Read from the leader: who asks after a change was made sees it.
- A kind and a key may be any text; in the bucket, what is neither letter nor digit nor `-` nor `_` is `=` and its byte in hex.
"""

import asyncio
import re
from collections.abc import Mapping

from nats.js import JetStreamContext, api
from nats.js.errors import APIError, BucketNotFoundError, KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError
from nats.js.kv import KeyValue

from uplink.receiver.storage import ANY, Document, StoreUnavailable
from uplink.receiver.storage.nats_place import OVERTAKEN, NatsPlace, answered

AT_ONCE = 200
"""Documents asked for or put at once: 10,000 of them in some 50 rounds."""
_PLAIN = re.compile(r"[0-9A-Za-z_-]")


class KvDocuments:
    """`Documents`, after `ensure_bucket`."""

    def __init__(self, js: JetStreamContext, place: NatsPlace) -> None:
        self._js = js
        self._bucket = f"{place.stream}_documents"
        self._replicas = place.replicas

    _kv: KeyValue

    async def ensure_bucket(self) -> None:
        """Raises StoreUnavailable."""
        try:
            self._kv = await answered(self._js.key_value(self._bucket), BucketNotFoundError)
        except BucketNotFoundError:
            wanted = api.KeyValueConfig(
                bucket=self._bucket, history=1, storage=api.StorageType.FILE, replicas=self._replicas, direct=False
            )
            self._kv = await answered(self._js.create_key_value(wanted))
        await self.check_bucket()

    async def check_bucket(self) -> None:
        """Raises StoreUnavailable where it is gone, and with it every key, or would lose some."""
        try:
            config = (await answered(self._js.stream_info(f"KV_{self._bucket}"))).config
        except NotFoundError as error:
            raise StoreUnavailable(f"the bucket {self._bucket} is gone") from error
        if config.storage != api.StorageType.FILE:
            raise StoreUnavailable(f"the bucket {self._bucket} is kept in memory")
        if config.max_age:
            raise StoreUnavailable(f"the bucket {self._bucket} forgets by age (its ttl must be 0)")

    async def get(self, kind: str, key: str) -> Document | None:
        revision, body = await self._standing(kind, key)
        return Document(key=key, revision=revision, body=body) if body else None

    async def put(self, kind: str, key: str, body: bytes, expected: int = ANY) -> int | None:
        if not body:
            raise ValueError("a document cannot be empty")
        if expected == ANY:
            return await answered(self._kv.put(_name(kind, key), body))
        revision, standing = await self._standing(kind, key)
        if expected != (revision if standing else 0):
            return None
        try:
            return await answered(self._kv.update(_name(kind, key), body, revision), KeyWrongLastSequenceError)
        except KeyWrongLastSequenceError:
            return None

    async def put_all(self, kind: str, bodies: Mapping[str, bytes]) -> None:
        waiting = list(bodies.items())
        for first in range(0, len(waiting), AT_ONCE):
            await asyncio.gather(*(self.put(kind, key, body) for key, body in waiting[first : first + AT_ONCE]))

    async def delete(self, kind: str, key: str, expected: int = ANY) -> bool:
        revision, standing = await self._standing(kind, key)
        if not standing or expected not in (ANY, revision):
            return False
        try:
            return await answered(self._kv.delete(_name(kind, key), revision), APIError)
        except APIError as error:
            if error.err_code not in OVERTAKEN:
                raise StoreUnavailable(str(error)) from error
            return False

    async def listed(self, kind: str, after: str = "", limit: int = 1000) -> list[Document]:
        """By the subjects that the bucket's stream holds. (A watch would do it in one request, but tells that it is at its end
        before it gave what had been delivered meanwhile: a list that now and then is too short.)"""
        found: list[Document] = []
        keys = [key for key in await answered(self._keys(kind)) if key > after]
        for first in range(0, len(keys), AT_ONCE):
            read = await asyncio.gather(*(self.get(kind, key) for key in keys[first : first + AT_ONCE]))
            found += [document for document in read if document is not None]
            if len(found) >= limit:
                break
        return found[:limit]

    async def _keys(self, kind: str) -> list[str]:
        """In their order; those of documents that were deleted are among them."""
        subjects = f"$KV.{self._bucket}.{_encoded(kind)}."
        info = await self._js.stream_info(f"KV_{self._bucket}", subjects_filter=f"{subjects}>")
        return sorted(_decoded(subject.removeprefix(subjects)) for subject in info.state.subjects or ())

    async def _standing(self, kind: str, key: str) -> tuple[int, bytes]:
        """The revision that stands there, 0 for none, and its body, empty where it was deleted."""
        try:
            entry = await answered(self._kv.get(_name(kind, key)), KeyNotFoundError)
        except KeyNotFoundError as gone:
            return (gone.entry.revision, b"") if gone.entry else (0, b"")
        return entry.revision or 0, entry.value or b""


def _name(kind: str, key: str) -> str:
    return f"{_encoded(kind)}.{_encoded(key)}"


def _encoded(text: str) -> str:
    return "".join(each if _PLAIN.match(each) else "".join(f"={byte:02X}" for byte in each.encode()) for each in text)


def _decoded(name: str) -> str:
    octets = re.sub(rb"=([0-9A-F]{2})", lambda found: bytes([int(found[1], 16)]), name.encode())
    return octets.decode()
