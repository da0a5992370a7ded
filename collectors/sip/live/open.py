"""A live `sip` source put together: its engine, its stream, its collector; and the capture service that it is fed by."""

from collections.abc import Iterable
from pathlib import Path

from collectors.contract import Collector, Context
from collectors.sip.dissect import Dissector
from collectors.sip.kind import SipConfig
from collectors.sip.live.bpf import Program, program
from collectors.sip.live.collect import LiveCollector
from collectors.sip.live.engines import ENGINES
from collectors.sip.live.ports import parse_ports
from collectors.sip.live.service import CaptureService
from collectors.sip.live.stream import LiveStream
from collectors.sip.tracker import Tracker


def open_live(config: SipConfig, context: Context) -> Collector:
    """A mirror port gives both copies of a packet, a bridge or `any` each of its ways: duplicates are looked for."""

    def stream() -> LiveStream:
        tracker = Tracker(config.limits, config.site, config.media)
        return LiveStream(Dissector(config.limits, tracker.media, dedup=True), tracker)

    return LiveCollector(ENGINES[config.engine](config, context), stream)


def open_service(config: SipConfig, users: Iterable[int]) -> CaptureService:
    """`users`: ids of those who may have what is captured. Raises SourceError where the socket cannot be made."""
    return CaptureService(
        config.interface, _filter(config), Path(config.capture_socket), config.buffer_mb << 20, frozenset(users)
    )


def _filter(config: SipConfig) -> Program:
    return program(parse_ports(config.ports), config.tunnels, config.media, parse_ports(config.media_ports))
