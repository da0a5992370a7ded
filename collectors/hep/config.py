"""The configuration of a `hep` source."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from collectors.contract import SourceMisconfigured
from collectors.io.listeners import Listener, Tls, listeners, needs_lock
from collectors.sip.device_table import DeviceClass
from collectors.sip.limits import Limits


class HepConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="hep"):
    """`listen`: an address and port, for UDP as it stands, else with `tcp://` or `tls://` before it; or a list of them.
    `password`: what chunk 14 of every packet must hold; needed as soon as an address is not loopback. `tls_certificate`,
    `tls_key`, `tls_client_ca`: paths of PEM files. `journal_limit_mb`: how much disk what waits for the ledger may take.
    `media`: whether reports of media go into the calls. `pbx`, `trunks`, `services`, `devices`: see
    `collectors.sip.site.Site`. `calls`: how many calls are followed at once; beyond, the oldest is handed in as it stands."""

    listen: str | tuple[str, ...] = "127.0.0.1:9060"
    password: str = ""
    tls_certificate: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    journal_limit_mb: Annotated[int, Meta(ge=16, le=65_536)] = 256
    media: Literal["off", "rtcp"] = "off"
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
                self._refuse_tls_without_certificate(listener)
        except SourceMisconfigured as error:
            raise ValueError(f"{error}; {error.hint}") from error

    @property
    def listeners(self) -> tuple[Listener, ...]:
        return listeners(self.listen)

    @property
    def tls(self) -> Tls:
        return Tls(self.tls_certificate, self.tls_key, self.tls_client_ca)

    def refuse_open_door(self, listener: Listener) -> None:
        """Whoever can reach the port can invent calls: from outside this machine only with a password, or a certificate."""
        locked = self.password or (listener.transport == "tls" and self.tls_client_ca)
        if not locked and needs_lock(listener):
            raise SourceMisconfigured(
                f"listening on {listener.host} without a password lets anybody on the network invent calls",
                "set password, and the same in the HEP agent, or listen on 127.0.0.1",
            )

    def _refuse_tls_without_certificate(self, listener: Listener) -> None:
        if listener.transport == "tls" and not self.tls_certificate:
            raise SourceMisconfigured(
                f"listening on {listener} needs a certificate",
                "set tls_certificate and tls_key to the paths of PEM files",
            )
