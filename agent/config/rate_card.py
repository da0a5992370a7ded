"""What is wrong with a rate card beyond its types. Pure.

Errors are what could not be charged by, or not as it was meant: a meter that does not exist, tiers that overlap, a price that
no use can reach. A level that this site does not have is a warning: a card may be for many sites.
"""

from collections.abc import Collection, Iterator
from typing import get_args

import phonenumbers

from agent.config.findings import Fault, Path, dotted
from agent.config.wording import near_miss
from agent.metering.catalogue import CLASSES, FEATURES, UNITS
from agent.metering.classes import NO_COUNTRY
from agent.rating.card import CONDITIONS, PRICES_MAX, QUANTITY_DIGITS, TIERS_MAX, Price, Rates, scaled
from agent.rating.currencies import MINOR_DIGITS
from collectors.records import Outcome

_KNOWN: dict[str, Collection[str]] = {
    "class": CLASSES,
    "country": frozenset({*phonenumbers.SUPPORTED_REGIONS, NO_COUNTRY}),
    "feature": FEATURES,
    "outcome": get_args(Outcome),
}


def rate_faults(rates: Rates, levels: Collection[str]) -> Iterator[Fault]:
    """Every fault of a card whose types are right. `levels`: the names of the site's levels."""
    if rates.currency not in MINOR_DIGITS:
        yield _fault(("rates", "currency"), f"ISO 4217 has no currency `{rates.currency}`", _near(rates.currency))
    if len(rates.price) > PRICES_MAX:
        yield _fault(("rates", "price"), f"{len(rates.price)} prices; a card has {PRICES_MAX} at most")
        return
    for index, price in enumerate(rates.price):
        path: Path = ("rates", "price", index)
        yield from _counted(price, path)
        yield from _charged(price, path)
        yield from _conditions(price, levels, path)
        yield from _unreachable(rates, index)
    yield from _twice(rates)


def _fault(path: Path, message: str, hint: str = "") -> Fault:
    return Fault(path=path, message=f"`{dotted(path)}`: {message}", hint=hint)


def _near(code: str) -> str:
    return near_miss(code, MINOR_DIGITS) or "three letters, such as `EUR`"


def _counted(price: Price, path: Path) -> Iterator[Fault]:
    unit = UNITS.get(price.meter)
    if unit is None:
        hint = near_miss(price.meter, UNITS) or "docs/reference/meters.md lists what can have a price"
        yield _fault((*path, "meter"), f"there is no meter `{price.meter}` that could have a price", hint)
    elif price.unit != unit:
        yield _fault((*path, "unit"), f"`{price.meter}` is counted in `{unit}`, not `{price.unit}`")


def _charged(price: Price, path: Path) -> Iterator[Fault]:
    if (price.amount is None) != bool(price.tiers):
        yield Fault(path=path, message=f"`{dotted(path)}` needs either `amount` or `tiers`", at="key")
    elif bool(price.tiers) != bool(price.tiers_mode):
        hint = "`graduated`: each unit at its tier's price; `volume`: all units at that of the tier that is reached"
        yield Fault(path=path, message=f"`{dotted(path)}`: `tiers` and `tiers_mode` go together", hint=hint, at="key")
    elif price.tiers:
        yield from _tiers(price, path)


def _tiers(price: Price, path: Path) -> Iterator[Fault]:
    if len(price.tiers) > TIERS_MAX:
        yield _fault((*path, "tiers"), f"{len(price.tiers)} tiers; a price has {TIERS_MAX} at most")
    begin = "0"
    *inner, last = enumerate(price.tiers)
    for index, tier in inner:
        place = (*path, "tiers", index, "up_to")
        if not tier.up_to:
            yield _fault(place, "only the last tier has no end")
        elif scaled(tier.up_to, QUANTITY_DIGITS) <= scaled(begin, QUANTITY_DIGITS):
            yield _fault(place, f"overlaps the tier before, which ends at {begin}", "from the smallest to the largest")
        begin = tier.up_to or begin
    if last[1].up_to:
        yield _fault(
            (*path, "tiers", last[0], "up_to"), "the last tier must have no end, or what is above has no price"
        )


def _conditions(price: Price, levels: Collection[str], path: Path) -> Iterator[Fault]:
    if price.meter not in UNITS:
        return
    for key, values in price.conditions().items():
        if key not in CONDITIONS.get(price.meter, ()):
            yield _fault((*path, key), f"events of `{price.meter}` do not tell it", _told(price.meter))
            continue
        for place, value in enumerate(values):
            if key == "level" and value not in levels:
                warned = f"`{dotted((*path, key, place))}`: this site has no level `{value}`"
                yield Fault(path=(*path, key, place), severity="warning", message=warned)
            elif key != "level" and value not in _KNOWN[key]:
                yield _fault((*path, key, place), f"there is no {key} `{value}`", near_miss(value, _KNOWN[key]))


def _told(meter: str) -> str:
    keys = CONDITIONS.get(meter)
    return f"they tell {', '.join(keys)}" if keys else "it has one price for all"


def _unreachable(rates: Rates, index: int) -> Iterator[Fault]:
    """A use has the first price that it fits: one that fits all that a later one does leaves it nothing."""
    price = rates.price[index]
    for number, earlier in enumerate(rates.price[:index], 1):
        if earlier.meter == price.meter and _holds(earlier.conditions(), price.conditions()):
            path: Path = ("rates", "price", index)
            message = f"`{dotted(path)}`: price {number} takes every use that this one fits"
            yield Fault(path=path, message=message, hint="put the narrower price first", at="key")
            return


def _holds(wide: dict[str, tuple[str, ...]], narrow: dict[str, tuple[str, ...]]) -> bool:
    """Whether all that the narrow conditions let pass, the wide ones do too."""
    return all(key in narrow and set(narrow[key]) <= set(among) for key, among in wide.items())


def _twice(rates: Rates) -> Iterator[Fault]:
    meters = [price.meter for price in rates.price]
    if "seat.day" in meters and "seat.month" in meters:
        yield Fault(
            path=("rates", "price", meters.index("seat.month"), "meter"),
            severity="warning",
            message="`seat.day` and `seat.month` have prices both: each seat is charged twice",
        )
