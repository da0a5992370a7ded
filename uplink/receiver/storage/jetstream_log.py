"""The stream of batches: one that keeps what it acknowledged, what its messages say, and where they are."""

import contextlib
from collections.abc import Awaitable
from typing import TypeVar

from nats.aio.client import Client
from nats.js import JetStreamContext, api
from nats.js.errors import NotFoundError

from uplink.batch import ENCODED_MAX_BYTES, BatchError, Head
from uplink.receiver.storage import Room, StoreUnavailable
from uplink.receiver.storage.logged import SHARDS, Logged, read, site_of, subject
from uplink.receiver.storage.nats_place import NatsPlace, answered, connect, parse

ANSWER_S = 10.0
STREAM_NOT_FOUND = 10059
"""JSStreamNotFoundErr of the server's error codes."""
MESSAGE_MAX_BYTES = ENCODED_MAX_BYTES + 64 * 1024
"""A body and its headers. NATS takes 1 MiB unless its `max_payload` says less."""
WINDOW_S = 120.0
"""Of message ids, JetStream's own default."""
_T = TypeVar("_T")


class MessageUnreadable(StoreUnavailable):
    """A message that is none of ours."""


class JetStreamLog:
    """The stream: what its messages say, and where they are. Make one with `await JetStreamLog.open(url)`."""

    def __init__(self, place: NatsPlace, client: Client) -> None:
        self.place = place
        self.client = client
        self.js: JetStreamContext = client.jetstream(timeout=ANSWER_S)

    @classmethod
    async def open(cls, url: str) -> "JetStreamLog":
        """Raises StoreUnavailable where the server is not to be had, or its stream would lose what it acknowledged."""
        place = parse(url)
        opened = cls(place, await connect(place))
        try:
            await opened._ensure_stream()
        except StoreUnavailable:
            await opened.close()
            raise
        return opened

    async def close(self) -> None:
        with contextlib.suppress(OSError):  # of a connection that is lost
            await self.client.close()

    async def _ensure_stream(self) -> None:
        if self.client.max_payload < MESSAGE_MAX_BYTES:
            raise StoreUnavailable(
                f"the server takes messages of {self.client.max_payload} bytes: max_payload must be 1MB"
            )
        try:
            info = await answered(self.js.stream_info(self.place.stream))
        except NotFoundError:
            info = await answered(self.js.add_stream(self._wanted()))
        if fault := _fault(info.config):
            raise StoreUnavailable(f"stream {self.place.stream} {fault}")

    def _wanted(self) -> api.StreamConfig:
        return api.StreamConfig(
            name=self.place.stream,
            subjects=["m.*.*"],
            retention=api.RetentionPolicy.LIMITS,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW,
            max_bytes=self.place.max_bytes,
            num_replicas=self.place.replicas,
            duplicate_window=WINDOW_S,
        )

    async def check(self) -> None:
        """Raises StoreUnavailable where the stream is gone, or was changed since so that it would lose something."""
        info = await of_stream(self.js.stream_info(self.place.stream))
        if fault := _fault(info.config):
            raise StoreUnavailable(f"stream {self.place.stream} {fault}")

    async def room(self) -> Room:
        """Of the stream. Raises StoreUnavailable."""
        info = await of_stream(self.js.stream_info(self.place.stream))
        most = info.config.max_bytes or -1
        return Room(used_bytes=info.state.bytes, free_bytes=max(0, most - info.state.bytes) if most > 0 else None)

    async def last(self, site: str) -> Logged | None:
        """The site's last message."""
        try:
            found = await of_stream(self.js.get_msg(self.place.stream, subject=subject(site)))
        except NotFoundError:
            return None
        return _read(found)

    async def next(self, site: str, seq: int) -> Logged | None:
        """The site's first message whose number is `seq` or later."""
        try:
            found = await of_stream(self.js.get_msg(self.place.stream, seq=seq, subject=subject(site), next=True))
        except NotFoundError:
            return None
        return _read(found)

    async def sites(self) -> list[str]:
        """All of which the log has a message, in the order of their subjects; asked for shard by shard, since a server tells at
        most 100,000 subjects at once."""
        found: list[str] = []
        for shard in range(SHARDS):
            info = await of_stream(self.js.stream_info(self.place.stream, subjects_filter=f"m.{shard:02x}.*"))
            found += sorted(map(site_of, info.state.subjects or ()))
        return found

    async def holding(self, site: str, epoch: str, number: int) -> Logged | None:
        """The site's first message by which `epoch` has reached `number`: by bisection, since no epoch ever goes back."""
        best = await self.last(site)
        if best is None or best.reached(epoch) < number:
            return None
        low, high = (await of_stream(self.js.stream_info(self.place.stream))).state.first_seq, best.seq
        while low < high:
            middle = (low + high) // 2
            found = await self.next(site, middle)
            if found is not None and found.reached(epoch) < number:
                low = found.seq + 1
            else:
                best, high = found or best, middle
        return best

    async def holds(self, site: str, head: Head) -> bool:
        """Whether messages that follow each other hold all events of the range of `head`."""
        expected = head.first
        found = await self.holding(site, head.epoch, expected)
        while found is not None and expected <= head.last:
            if found.head.epoch == head.epoch and found.head.last >= found.head.first:
                if found.head.first > expected:
                    return False
                expected = max(expected, found.head.last + 1)
            found = await self.next(site, found.seq + 1)
        return expected > head.last

    async def forget_before(self, site: str, seq: int) -> None:
        """Take the site's messages before `seq` out of the log."""
        await answered(self.js.purge_stream(self.place.stream, seq=seq, subject=subject(site)))


def _read(message: api.RawStreamMsg) -> Logged:
    try:
        return read(message.seq or 0, message.headers, message.data)
    except BatchError as error:
        raise MessageUnreadable(str(error)) from error


async def of_stream(work: Awaitable[_T]) -> _T:
    """What a stream answers. One that is gone is no empty one: StoreUnavailable; a message that is not there, NotFoundError."""
    try:
        return await answered(work)
    except NotFoundError as error:
        if error.err_code == STREAM_NOT_FOUND:
            raise StoreUnavailable("the stream is gone") from error
        raise


def _fault(config: api.StreamConfig) -> str:
    """Why a stream would not keep what it acknowledged, or nothing."""
    rules = (
        (config.storage == api.StorageType.FILE, "is kept in memory"),
        (config.discard == api.DiscardPolicy.NEW, "discards the old when it is full (it must discard new)"),
        (config.retention == api.RetentionPolicy.LIMITS, "forgets what was consumed (retention must be limits)"),
        (not config.max_age, "forgets by age (max_age must be 0)"),
        (config.max_msgs_per_subject <= 0, "forgets by number (max_msgs_per_subject must be -1)"),
        (
            not 0 <= (config.max_msg_size or -1) < MESSAGE_MAX_BYTES,
            f"refuses large batches (max_msg_size must be -1, or {MESSAGE_MAX_BYTES} or more)",
        ),
        (not config.no_ack, "acknowledges nothing (no_ack must be false)"),
        (not config.sealed, "is sealed"),
        ("m.*.*" in (config.subjects or []), "does not take the subjects m.*.*"),
    )
    return next((fault for holds, fault in rules if not holds), "")
