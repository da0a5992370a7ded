"""The kind `syslog`: SIP in the logs that adapters, phones and gateways send, over UDP and TCP; and files of such logs."""

from collections.abc import Iterator
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from collectors.contract import Batch, Context, Kind, SourceMisconfigured
from collectors.io.journaled import Ears, JournaledCollector
from collectors.io.listeners import Listener, Tls, listeners, needs_lock
from collectors.sip.device_table import DeviceClass
from collectors.sip.join import join
from collectors.sip.leg import SipLeg
from collectors.sip.limits import Limits
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker
from collectors.syslog.read import read, sniff
from collectors.syslog.stream import SyslogStream


class SyslogConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="syslog"):
    """`listen`: an address and port, for UDP as it stands, with `tcp://` before it for TCP; or a list of them. `senders`:
    addresses and networks that are listened to; needed as soon as an address is not loopback. `journal_limit_mb`: how much
    disk what waits for the ledger may take. `pbx`, `trunks`, `services`, `devices`: see `collectors.sip.site.Site`. `calls`:
    how many calls are followed at once; beyond, the oldest is handed in as it stands."""

    listen: str | tuple[str, ...] = "127.0.0.1:5514"
    senders: tuple[str, ...] = ()
    journal_limit_mb: Annotated[int, Meta(ge=16, le=65_536)] = 256
    pbx: tuple[str, ...] = ()
    trunks: dict[str, str] = {}
    services: dict[str, str] = {}
    devices: dict[str, DeviceClass] = {}
    calls: Annotated[int, Meta(ge=100, le=1_000_000)] = Limits().calls

    def __post_init__(self) -> None:
        """Raises ValueError, so that a wrong configuration is told with its place in the file."""
        try:
            for listener in self.listeners:
                self.refuse_open_door(listener)
        except SourceMisconfigured as error:
            raise ValueError(f"{error}; {error.hint}") from error
        _ = self.networks

    @property
    def listeners(self) -> tuple[Listener, ...]:
        return listeners(self.listen)

    @property
    def networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(sender, strict=False) for sender in self.senders)

    @property
    def tracker(self) -> Tracker:
        site = Site(pbx=self.pbx, trunks=self.trunks, services=self.services, devices={**self.devices})
        return Tracker(Limits(calls=self.calls), site)

    def refuse_open_door(self, listener: Listener) -> None:
        """Syslog has no password: from outside this machine only named senders are listened to."""
        if listener.transport == "tls":
            raise SourceMisconfigured(f"listening on {listener}: syslog over TLS is not read", "use tcp://")
        if not self.senders and needs_lock(listener):
            raise SourceMisconfigured(
                f"listening on {listener.host} without senders lets anybody on the network invent calls",
                "set senders to the devices' addresses or their network, or listen on 127.0.0.1",
            )


def _no_length(_: memoryview) -> int:
    return 0


def _open(config: SyslogConfig, context: Context) -> JournaledCollector:
    ears = Ears(
        listeners=config.listeners,
        tls=Tls(),
        own_length=_no_length,
        journal_limit_bytes=config.journal_limit_mb * 1024 * 1024,
        check=config.refuse_open_door,
    )
    return JournaledCollector(ears, context, partial(_stream, config))


def _stream(config: SyslogConfig) -> SyslogStream:
    return SyslogStream(config.tracker, config.networks)


def _read(path: Path, config: SyslogConfig) -> Iterator[Batch]:
    """A file is no open door: whoever logged what stands in it."""
    return read(path, SyslogStream(config.tracker))


KIND = Kind(name="syslog", config=SyslogConfig, leg=SipLeg, join=join, open=_open, read=_read, sniff=sniff)
