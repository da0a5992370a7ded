"""What the configuration may tell of a site beyond what SIP shows by itself. All of it is optional."""

from msgspec import Struct

from collectors.sip.packets import host


class Site(Struct, frozen=True, kw_only=True):
    """`pbx`: addresses (`ip` or `ip:port`) of one phone system that speaks from several of them. `trunks`: a trunk's name
    and its address. `services`: a dialled user and the feature that answers it (`300 = "auto_attendant"`). `devices`: patterns
    of User-Agents and the class of device, before the built-in table."""

    pbx: tuple[str, ...] = ()
    trunks: dict[str, str] = {}
    services: dict[str, str] = {}
    devices: dict[str, str] = {}


PBX = "pbx"
"""Stands for every address that `Site.pbx` lists."""


def place(site: Site, address: str) -> str:
    """The address, or the one name that all addresses of the site's phone system share."""
    if site.pbx and (address in site.pbx or host(address) in site.pbx):
        return PBX
    return address


def service(site: Site, number: str) -> str:
    """The feature that answers this number: as configured, or a park orbit by its usual names (`park`, `callpark`, and
    FreeSWITCH's `park+701`, which phones with a park key use as well)."""
    known = site.services.get(number)
    if known is not None:
        return known
    return "park" if number in ("park", "callpark") or number.startswith("park+") else ""


def trunk(site: Site, address: str) -> str:
    """The name of the trunk at this address, or nothing."""
    for name, at in site.trunks.items():
        if at in (address, host(address)):
            return name
    return ""
