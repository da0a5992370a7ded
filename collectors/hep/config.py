"""The configuration of a `hep` source."""

from typing import Annotated

from msgspec import Meta, Struct

from collectors.contract import SourceMisconfigured
from collectors.io.datagrams import is_loopback, parse_listen
from collectors.sip.device_table import DeviceClass
from collectors.sip.limits import Limits


class HepConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="hep"):
    """`listen`: address and port of the UDP socket. `password`: what chunk 14 of every datagram must hold; needed as
    soon as the address is not loopback. `journal_limit_mb`: how much disk what waits for the ledger may take. `pbx`,
    `trunks`, `services`, `devices`: see `collectors.sip.site.Site`. `calls`: how many calls are followed at once;
    beyond, the oldest is handed in as it stands."""

    listen: str = "127.0.0.1:9060"
    password: str = ""
    journal_limit_mb: Annotated[int, Meta(ge=16, le=65_536)] = 256
    pbx: tuple[str, ...] = ()
    trunks: dict[str, str] = {}
    services: dict[str, str] = {}
    devices: dict[str, DeviceClass] = {}
    calls: Annotated[int, Meta(ge=100, le=1_000_000)] = Limits().calls

    def __post_init__(self) -> None:
        """Raises ValueError, so that a wrong configuration is told with its place in the file."""
        try:
            refuse_open_door(parse_listen(self.listen)[0], self.password)
        except SourceMisconfigured as error:
            raise ValueError(f"{error}; {error.hint}") from error


def refuse_open_door(host: str, password: str) -> None:
    """Whoever can reach the port can invent calls: from outside this machine only with a password."""
    if not password and not is_loopback(host):
        raise SourceMisconfigured(
            f"listening on {host} without a password lets anybody on the network invent calls",
            "set password, and the same in the HEP agent, or listen on 127.0.0.1",
        )
