"""The kind `sip`: SIP out of a capture file (pcap or pcapng), or captured live on an interface."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from msgspec import Meta, Struct

from collectors.contract import Batch, Collector, Context, Kind, Probe, Sink
from collectors.net.frames import MAGIC_BYTES, PCAP_MAGIC, PCAPNG_MAGIC, unzipped_head
from collectors.sip.device_table import DeviceClass
from collectors.sip.dissect import OnMedia
from collectors.sip.join import join
from collectors.sip.leg import SipLeg
from collectors.sip.limits import Limits
from collectors.sip.live.ports import parse_ports
from collectors.sip.media.desk import MediaSetting
from collectors.sip.read import Capture, Reader
from collectors.sip.site import Site

DONE = b"done"
"""The checkpoint of a file that was read to its end."""


class SipConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="sip"):
    """Either `path`, a capture file, or `interface`, to capture on (`any`: on all). `engine`: what captures there;
    `pyshark` reads a file through tshark as well. `keylog`, `decode_as`: what tshark is told of a file. `ports`:
    where SIP over TCP and SCTP is spoken, and UDP that does not look like SIP matters (keep-alives, TLS); SIP over UDP is
    told by its looks on whatever port. `tunnels`: carriers whose frames are taken whole, to be looked into. `media_ports`:
    UDP ports that are taken whatever they hold. `capture_socket`: where the capture service is met. `buffer_mb`: how much it
    keeps for an agent that is away. `media`: what of the calls' media is read. `pbx`, `trunks`, `services`, `devices`: see
    `collectors.sip.site.Site`. `calls`: how many calls are followed at once; beyond, the oldest is handed in as it stands."""

    path: str = ""
    interface: Annotated[str, Meta(pattern=r"^[^\s/]{0,15}$")] = ""
    engine: Literal["afpacket", "dumpcap", "pyshark"] = "afpacket"
    keylog: str = ""
    decode_as: tuple[Annotated[str, Meta(pattern=r"^[a-z0-9._]+==[0-9a-z.:-]+,[a-z0-9._-]+$")], ...] = ()
    ports: tuple[str, ...] = ("5060-5061", "5080")
    tunnels: tuple[Literal["gre", "erspan", "vxlan", "geneve", "ipip", "gtp", "pppoe"], ...] = ()
    media_ports: tuple[str, ...] = ()
    capture_socket: str = "/run/pegcount/capture.sock"
    buffer_mb: Annotated[int, Meta(ge=16, le=4_096)] = 64
    ring: bool = True
    restart_packets: Annotated[int, Meta(ge=1_000, le=10_000_000)] = 20_000
    media: MediaSetting = "off"
    pbx: tuple[str, ...] = ()
    trunks: dict[str, str] = {}
    services: dict[str, str] = {}
    devices: dict[str, DeviceClass] = {}
    calls: Annotated[int, Meta(ge=100, le=1_000_000)] = Limits().calls

    def __post_init__(self) -> None:
        """Raises ValueError, so that a wrong configuration is told with its place in the file."""
        if (self.keylog or self.decode_as) and self.engine != "pyshark":
            raise ValueError('`keylog` and `decode_as` are for tshark: set engine = "pyshark"')
        if self.keylog and self.interface:
            raise ValueError("`keylog` is for a capture file: a tshark that is replaced loses the keys of a connection")
        if self.engine == "pyshark" and self.media != "off":
            raise ValueError('engine = "pyshark" gives signalling only: leave `media` off')
        for key, texts in (("ports", self.ports), ("media_ports", self.media_ports)):
            try:
                parse_ports(texts)
            except ValueError as error:
                raise ValueError(f"{key} {error}") from error

    @property
    def site(self) -> Site:
        return Site(pbx=self.pbx, trunks=self.trunks, services=self.services, devices={**self.devices})

    @property
    def limits(self) -> Limits:
        return Limits(calls=self.calls)

    def capture(self, path: Path) -> Capture:
        if self.engine == "pyshark":
            return Capture(path, self.site, self.limits, self.media, self._through_tshark)
        return Capture(path, self.site, self.limits, self.media)

    def _through_tshark(self, file: BinaryIO, limits: Limits, on_media: OnMedia | None) -> Reader:
        from collectors.sip.wireshark.reader import TsharkReader  # here: pyshark takes a third of a second

        return TsharkReader(file, self.decode_as, self.keylog)


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


def _open(config: SipConfig, context: Context) -> Collector:
    if not config.interface:
        return SipCollector(config, context)
    from collectors.sip.live.open import open_live  # here, since who only reads a file needs none of it

    return open_live(config, context)


def read(path: Path, config: SipConfig) -> Iterator[Batch]:
    """The batches of one file. Raises SourceUnavailable and SourceMisconfigured."""
    return config.capture(path).batches()


def sniff(name: str, head: bytes) -> int:
    """A capture is told by its first octets; that there is SIP in it, only by reading it."""
    magic = unzipped_head(head)[:MAGIC_BYTES]
    return 90 if magic in PCAP_MAGIC or magic == PCAPNG_MAGIC else 0


KIND = Kind(name="sip", config=SipConfig, leg=SipLeg, join=join, open=_open, read=read, sniff=sniff)
