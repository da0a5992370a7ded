"""A capture file as batches.

Laws
- The legs of a call come in one batch. Batches are made every BATCH_PACKETS of SIP, so that memory stays bounded.
- A file that breaks off or goes wrong gives everything before, and a `Reject` that says where. A file that is no capture at
  all raises SourceMisconfigured.
"""

import os
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Protocol

from msgspec import Struct

from collectors.contract import Batch, SourceMisconfigured, SourceUnavailable
from collectors.net.frames import Damaged, NotACapture
from collectors.records import Reject
from collectors.sip.capture import CaptureReader
from collectors.sip.dissect import OnMedia
from collectors.sip.limits import Limits
from collectors.sip.media.desk import MediaSetting
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker

BATCH_PACKETS = 4_096
"""About a thousand legs: a transaction of a size that the ledger likes."""


class Reader(Protocol):
    """What gives the packets of a file, in their order: `CaptureReader`, or tshark's."""

    @property
    def counters(self) -> dict[str, int]: ...

    @property
    def packets(self) -> int: ...

    @property
    def at_us(self) -> int: ...

    @property
    def offset(self) -> int: ...

    def __iter__(self) -> Iterator[SipPacket]: ...


OpenReader = Callable[[BinaryIO, Limits, OnMedia | None], Reader]


class Capture(Struct):
    """One reading of one file, from its start to its end. `bytes_read` and `bytes_total` tell how far it is."""

    path: Path
    site: Site
    limits: Limits
    media: MediaSetting = "off"
    open_reader: OpenReader = CaptureReader
    heard_at_ms: int = 0
    bytes_read: int = 0
    bytes_total: int = 0
    counters: dict[str, int] = {}

    def batches(self) -> Iterator[Batch]:
        """Raises SourceUnavailable and SourceMisconfigured."""
        try:
            with self.path.open("rb", buffering=0) as file:
                self.bytes_total = os.fstat(file.fileno()).st_size
                tracker = Tracker(self.limits, self.site, self.media)
                reader = self.open_reader(file, self.limits, tracker.media)
                yield from self._batches(reader, tracker)
        except NotACapture as fault:
            raise SourceMisconfigured(
                f"{self.path}: {fault}", "give the path of a capture made by tcpdump, dumpcap or sngrep"
            ) from fault
        except OSError as fault:
            raise SourceUnavailable(
                f"{self.path} cannot be read: {fault.strerror}", "check that it exists and that this user may read it"
            ) from fault

    def _batches(self, reader: Reader, tracker: Tracker) -> Iterator[Batch]:
        damage: tuple[Reject, ...] = ()
        fed = 0
        try:
            feed = tracker.feed
            for packet in reader:
                feed(packet)
                fed += 1
                if fed == BATCH_PACKETS:
                    fed = 0
                    yield self._batch(reader, tracker, ())
        except Damaged as fault:
            damage = (_damage(self.path, fault, reader.at_us),)
        tracker.finish(reader.at_us)
        yield self._batch(reader, tracker, damage)

    def _batch(self, reader: Reader, tracker: Tracker, more: tuple[Reject, ...]) -> Batch:
        records, rejects = tracker.drain()
        self.heard_at_ms = reader.at_us // 1000
        self.bytes_read = reader.offset
        self.counters = {**reader.counters, **tracker.counters, "packets": reader.packets}
        return Batch(records=records, rejects=(*rejects, *more), source_time_ms=reader.at_us // 1000)


def _damage(path: Path, fault: Damaged, at_us: int) -> Reject:
    return Reject(
        key=blake2b(f"{path.name} {fault}".encode("utf-8", "surrogatepass"), digest_size=16).hexdigest(),
        reason="capture_damaged",
        message=f"{path.name}: {fault}; all packets before were read",
        excerpt=b"",
        position=f"{path.name}:{fault.offset}",
        at_ms=at_us // 1000,
    )
