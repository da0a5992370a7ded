"""The rate card: what a unit of each meter costs. The structs are the `[rates]` table of the configuration as it stands.

Laws
- A price is an exact decimal for one unit of its meter, the catalogue's; nothing of it is binary floating point.
- A use has the first price of the list whose meter it is and whose conditions it fits; all uses of one price are pooled before
  anything is included or a tier is reached.
- A card decides what is shown, and never what is recorded: no event knows of it.
"""

import hashlib
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct, field

from agent.rating.currencies import MINOR_DIGITS

PRICE_DIGITS = 8
"""Behind the point: a GB-hour costs some 0.0001, and the eighth digit is a millionth of that."""
QUANTITY_DIGITS = 6
"""Behind the point: events count millionths (`agent.metering.charge`)."""
PRICES_MAX = 200
"""In one card: 20 meters, and voice minutes by 100 zones of countries. A policy of 64 KiB holds some 700."""
TIERS_MAX = 20
"""Of one price. Published tariffs have three to six."""

Amount = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,8})(\.[0-9]{1,8})?\Z")]
Quantity = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?\Z")]
OpenQuantity = Annotated[str, Meta(pattern=r"^((0|[1-9][0-9]{0,11})(\.[0-9]{1,6})?)?\Z")]


class Tier(Struct, frozen=True, forbid_unknown_fields=True):
    """Units up to and with `up_to` cost `amount` each; the last tier has no end."""

    amount: Amount
    up_to: OpenQuantity = ""


class Price(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a unit of `meter` costs: `amount`, or by `tiers`: `graduated`, where each unit has its own tier's price, or
    `volume`, where all units have that of the tier that the whole quantity reaches. `included` units of a month are free. The
    other keys are conditions; without any, each use of the meter fits."""

    meter: str
    unit: str
    amount: Amount | None = None
    tiers_mode: Literal["graduated", "volume"] | None = None
    tiers: tuple[Tier, ...] = ()
    included: Quantity = "0"
    call_class: tuple[str, ...] = field(default=(), name="class")
    country: tuple[str, ...] = ()
    level: tuple[str, ...] = ()
    feature: tuple[str, ...] = ()
    outcome: tuple[str, ...] = ()

    def conditions(self) -> dict[str, tuple[str, ...]]:
        """Those that are given, by their keys."""
        named = {key: getattr(self, attribute) for key, attribute in ATTRIBUTES.items()}
        return {key: values for key, values in named.items() if values}


ATTRIBUTES = {"class": "call_class", "country": "country", "level": "level", "feature": "feature", "outcome": "outcome"}
"""A condition's key -> its attribute of `Price`."""
CONDITIONS: dict[str, tuple[str, ...]] = {
    "call": ("class", "country", "outcome"),
    "voice.minutes": ("class", "country"),
    "seat.day": ("level",),
    "seat.month": ("level",),
    "feature.use": ("feature",),
}
"""Which conditions a meter's events can be told apart by; the others have none."""


class Rates(Struct, frozen=True, forbid_unknown_fields=True):
    """`[rates]`: the rate card. `currency` is ISO 4217; `version` is the provider's own name of the card."""

    currency: Annotated[str, Meta(pattern=r"^[A-Z]{3}\Z")]
    version: Annotated[str, Meta(max_length=40)] = ""
    price: tuple[Price, ...] = ()

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that are another card's only if it says the same."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:16]

    @property
    def minor_digits(self) -> int:
        return MINOR_DIGITS[self.currency]


def scaled(text: str, digits: int) -> int:
    """An exact decimal as whole 10^-digits: `0.02` with 8 -> 2_000_000."""
    whole, _, part = text.partition(".")
    return int(whole + part.ljust(digits, "0"))


def decimal_text(value: int, digits: int) -> str:
    """And back, without idle zeros: 2_000_000 with 8 -> `0.02`."""
    sign, value = "-" if value < 0 else "", abs(value)
    whole, part = divmod(value, 10**digits)
    return f"{sign}{whole}" + (f".{part:0{digits}d}".rstrip("0") if part else "")
