"""The kind `hep`: HEP over UDP, TCP and TLS, and files that hold it."""

from collections.abc import Iterator
from pathlib import Path

from collectors.contract import Batch, Context, Kind
from collectors.hep.config import HepConfig
from collectors.hep.decode import packet_length
from collectors.hep.read import read, sniff
from collectors.hep.stream import HepStream
from collectors.io.journaled import Ears, JournaledCollector
from collectors.sip.join import join
from collectors.sip.leg import SipLeg
from collectors.sip.limits import Limits
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker


def _tracker(config: HepConfig) -> Tracker:
    site = Site(pbx=config.pbx, trunks=config.trunks, services=config.services, devices={**config.devices})
    return Tracker(Limits(calls=config.calls), site, config.media)


def _open(config: HepConfig, context: Context) -> JournaledCollector:
    ears = Ears(
        listeners=config.listeners,
        tls=config.tls,
        own_length=packet_length,
        journal_limit_bytes=config.journal_limit_mb * 1024 * 1024,
        check=config.refuse_open_door,
    )
    return JournaledCollector(ears, context, lambda: HepStream(_tracker(config), config.password.encode()))


def _read(path: Path, config: HepConfig) -> Iterator[Batch]:
    """A file is no open door: what stands in it is read whatever key it carries, and its times are those it tells."""
    return read(path, HepStream(_tracker(config), clocks=False))


KIND = Kind(name="hep", config=HepConfig, leg=SipLeg, join=join, open=_open, read=_read, sniff=sniff)
