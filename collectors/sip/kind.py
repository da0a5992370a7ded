"""The kind `sip`: SIP out of a capture file (pcap or pcapng)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from collectors.contract import Batch, Context, Kind, Probe, Sink
from collectors.net.frames import MAGIC_BYTES, PCAP_MAGIC, PCAPNG_MAGIC
from collectors.sip.join import join
from collectors.sip.leg import SipLeg
from collectors.sip.limits import Limits
from collectors.sip.read import Capture
from collectors.sip.site import Site

DONE = b"done"
"""The checkpoint of a file that was read to its end."""


class SipConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="sip"):
    """`path`: the capture file. `pbx`, `trunks`, `services`: see `collectors.sip.site.Site`. `calls`: how many calls are
    followed at once; beyond, the oldest is handed in as it stands."""

    path: str = ""
    pbx: tuple[str, ...] = ()
    trunks: dict[str, str] = {}
    services: dict[str, str] = {}
    calls: Annotated[int, Meta(ge=100, le=1_000_000)] = Limits().calls

    def capture(self, path: Path) -> Capture:
        site = Site(pbx=self.pbx, trunks=self.trunks, services=self.services)
        return Capture(path, site, Limits(calls=self.calls))


class SipCollector:
    """Reads the file that the configuration names, once. Killed in its midst, it reads it again from the start: what it
    handed in already has the same keys."""

    def __init__(self, config: SipConfig, context: Context) -> None:
        self._name = config.path
        self._capture = config.capture(Path(config.path))
        self._done = False

    async def run(self, sink: Sink, checkpoint: bytes | None) -> None:
        """Returns at the end of the file. Raises SourceUnavailable and SourceMisconfigured."""
        import asyncio  # here, since it takes a quarter of the start, and who only reads a file needs no event loop

        if checkpoint != DONE:
            batches = self._capture.batches()
            while (batch := await asyncio.to_thread(next, batches, None)) is not None:
                await sink.put(batch)
            await sink.put(Batch(checkpoint=DONE, source_time_ms=self._capture.heard_at_ms))
        self._done = True

    def probe(self) -> Probe:
        capture = self._capture
        return Probe(
            detail=f"{self._name}: {'read to its end' if self._done else 'being read'}",
            heard_at_ms=capture.heard_at_ms,
            backlog_bytes=capture.bytes_total - capture.bytes_read,
            counters=capture.counters,
        )


def read(path: Path, config: SipConfig) -> Iterator[Batch]:
    """The batches of one file. Raises SourceUnavailable and SourceMisconfigured."""
    return config.capture(path).batches()


def sniff(name: str, head: bytes) -> int:
    """A capture is told by its first octets; that there is SIP in it, only by reading it."""
    magic = head[:MAGIC_BYTES]
    return 90 if magic in PCAP_MAGIC or magic == PCAPNG_MAGIC else 0


KIND = Kind(name="sip", config=SipConfig, leg=SipLeg, join=join, open=SipCollector, read=read, sniff=sniff)
