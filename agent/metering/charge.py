"""What a record comes to: amounts per slot, and which seats it makes active on which day.

Laws
- A slot names everything that decides the price of an amount: meter, subject, day, class, country, and the meter's own detail.
  If one of them changes by a later record, the amount leaves the old slot and enters the new one; nothing is rewritten.
- Amounts are whole millionths of the meter's unit. A difference of two amounts is exact, so corrections net to the truth.
"""

from functools import lru_cache

from msgspec import Struct

UNIT = 1_000_000


class Slot(Struct, frozen=True, array_like=True, gc=False):
    """Where an amount is booked. `day` is the site's; `call_class` and `country` are empty for meters that have none. `detail`
    is the meter's own: the outcome of a call, the code of a feature, the level of a seat-day."""

    meter: str
    subject: str
    day: str
    call_class: str = ""
    country: str = ""
    detail: str = ""


class Measure(Struct, frozen=True, gc=False):
    """An amount in a slot, with the attributes that are told but not priced."""

    slot: Slot
    amount: int
    told: dict[str, str | int]


class SeatUse(Struct, frozen=True, array_like=True, gc=False):
    """A record made `seat` active (or shows it registered) on a local `day`, using `features`."""

    seat: str
    day: str
    active: bool
    features: tuple[str, ...] = ()


class Charge(Struct, frozen=True, gc=False):
    """All that one call, registration or feature use comes to. `time_ms` is the time of its events."""

    key: str
    time_ms: int
    measures: tuple[Measure, ...]
    seats: tuple[SeatUse, ...]
    call_class: str = ""
    billed_s: int = 0


@lru_cache(maxsize=4096)
def decimal_text(amount: int) -> str:
    """Millionths as an exact decimal: 1_500_000 -> `1.5`."""
    sign = "-" if amount < 0 else ""
    whole, part = divmod(abs(amount), UNIT)
    return f"{sign}{whole}.{part:06d}".rstrip("0") if part else f"{sign}{whole}"


def minutes_amount(seconds: int) -> int:
    """Billed seconds as millionths of a minute, half to even."""
    quotient, rest = divmod(seconds * UNIT, 60)
    return quotient + (rest * 2 > 60 or (rest * 2 == 60 and quotient % 2 == 1))
