"""The kind `hep`: HEP over UDP, and files that hold it."""

from collections.abc import Iterator
from pathlib import Path

from collectors.contract import Batch, Context, Kind
from collectors.hep.collect import HepCollector
from collectors.hep.config import HepConfig
from collectors.hep.read import read, sniff
from collectors.hep.stream import HepStream
from collectors.sip.join import join
from collectors.sip.leg import SipLeg
from collectors.sip.limits import Limits
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker


def _tracker(config: HepConfig) -> Tracker:
    site = Site(pbx=config.pbx, trunks=config.trunks, services=config.services, devices={**config.devices})
    return Tracker(Limits(calls=config.calls), site)


def _open(config: HepConfig, context: Context) -> HepCollector:
    return HepCollector(config, context, lambda: _tracker(config))


def _read(path: Path, config: HepConfig) -> Iterator[Batch]:
    """A file is no open door: what stands in it is read whatever key it carries."""
    return read(path, HepStream(_tracker(config)))


KIND = Kind(name="hep", config=HepConfig, leg=SipLeg, join=join, open=_open, read=_read, sniff=sniff)
