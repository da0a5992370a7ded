"""The tables of the configuration file that belong to the agent itself, and the whole file as one value.

`[site]`, `[site.dialplan]` and `[metering]` are the metering's own structs, `[uplink]` is the uplink's, and each
`[[source]]` and `[[destination]]` is its kind's. What a key means is written in `agent/config/meanings.py`, from which the
reference is made.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from agent.config.findings import Finding
from agent.metering.rules import Metering, Site
from agent.rating.card import Rates
from uplink.destinations import PegcountSettings
from uplink.destinations.settings import HttpTakerSettings, TakerSettings

Days = Annotated[int, Meta(ge=1, le=3660)]
Megabytes = Annotated[int, Meta(ge=16, le=1_048_576)]


class Ledger(Struct, frozen=True, forbid_unknown_fields=True):
    """`[ledger]`: where the records are kept, and how much."""

    path: str = "/var/lib/pegcount/ledger.db"
    retention_days: Days = 92
    max_size_mb: Megabytes = 2048
    max_rejects: Annotated[int, Meta(ge=0, le=10_000_000)] = 10_000


class Web(Struct, frozen=True, forbid_unknown_fields=True):
    """`[web]`: the status page."""

    enabled: bool = True
    listen: str = "127.0.0.1:8042"
    allow_remote: bool = False
    hosts: tuple[str, ...] = ()


class Log(Struct, frozen=True, forbid_unknown_fields=True):
    """`[log]`: what goes to stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """`[policy]`: what the platform may set at this site (`agent.config.policy`)."""

    allow: tuple[Literal["schedule", "metering", "privacy", "seats", "rates"], ...] = (
        "schedule",
        "metering",
        "seats",
        "rates",
    )


class Source(Struct, frozen=True):
    """One `[[source]]`: its unique name, its kind's name, and the kind's own struct with all the other keys."""

    name: str
    kind: str
    config: Struct


class Destination(Struct, frozen=True):
    """One `[[destination]]`: its unique name, its kind's name, and the kind's own settings."""

    name: str
    kind: str
    settings: HttpTakerSettings | TakerSettings


class Config(Struct, frozen=True, kw_only=True):
    """The whole file. `uplink` is None where nothing is to be sent, `rates` where there is no rate card; `warnings` are
    findings that stop nothing; `text` is what was read from `path`; `governed` are the keys that the platform's policy has set,
    such as `schedule.interval_s`."""

    site: Site
    metering: Metering = Metering()
    ledger: Ledger = Ledger()
    sources: tuple[Source, ...] = ()
    uplink: PegcountSettings | None = None
    destinations: tuple[Destination, ...] = ()
    web: Web = Web()
    log: Log = Log()
    policy: Policy = Policy()
    rates: Rates | None = None
    path: Path = Path()
    warnings: tuple[Finding, ...] = ()
    text: str = ""
    governed: tuple[str, ...] = ()

    @property
    def goes_to(self) -> str:
        """Where events go, in words: `https://meter.example.net, lago`; `nothing` where they go nowhere."""
        names = [self.uplink.url] if self.uplink else []
        return ", ".join([*names, *(one.name for one in self.destinations)]) or "nothing"
