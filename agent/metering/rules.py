"""The site's rules for metering: its dial plan, how minutes are billed, what a seat is, which levels there are.

These structs are the `[site.dialplan]` and `[metering]` tables of the configuration file as they stand; they hold no behaviour.
Patterns are Asterisk's: `X` is a digit, `Z` 1 to 9, `N` 2 to 9, a trailing `.` one or more of anything, all else itself.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

Digits = Annotated[str, Meta(pattern=r"^[0-9*#+]*$")]
Seconds = Annotated[int, Meta(ge=0, le=86_400)]


class DialPlan(Struct, frozen=True, forbid_unknown_fields=True):
    """How digits dialled at this site are to be read. `country` (ISO 3166) and `area` complete a short number; the
    trunk and international prefixes are the country's own (numbering plan library) unless they are given here."""

    country: Annotated[str, Meta(pattern=r"^[A-Z]{2}$")] = "US"
    area: Digits = ""
    international_prefix: Digits = ""
    trunk_prefix: Digits = ""
    outside_line: Digits = ""
    extensions: tuple[str, ...] = ("XX", "XXX", "XXXX", "XXXXX", "XXXXXX")
    service: tuple[str, ...] = ("*.",)
    on_net: tuple[str, ...] = ()


class Level(Struct, frozen=True, forbid_unknown_fields=True):
    """A feature level: a seat-day's level is the first in the list that holds all the features the seat used."""

    name: str
    features: tuple[str, ...] = ()


class Metering(Struct, frozen=True, forbid_unknown_fields=True):
    """Minutes are billed in steps of `increment_s` and not below `minimum_s` (60/60, 30/6, 1/1 ...)."""

    increment_s: Annotated[int, Meta(ge=1, le=3600)] = 60
    minimum_s: Seconds = 60
    seat_when: tuple[Literal["registered", "active"], ...] = ("registered", "active")
    levels: tuple[Level, ...] = ()
    numbers: Literal["full", "masked", "none"] = "masked"


SITE_ID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
PROVIDER = r"^[a-z0-9][a-z0-9-]{0,62}$"
"""A label of a name, as it may stand in a URN."""


class Site(Struct, frozen=True, forbid_unknown_fields=True):
    """Who and where the site is. `id` is the UUID that the platform knows it by; `provider` stands in its URN."""

    id: Annotated[str, Meta(pattern=SITE_ID)]
    provider: Annotated[str, Meta(pattern=PROVIDER)]
    name: str = ""
    timezone: str = "UTC"
    dialplan: DialPlan = DialPlan()

    @property
    def urn(self) -> str:
        return f"urn:{self.provider}:site:{self.id}"
