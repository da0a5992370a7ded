"""Uses and a rate card -> what they cost. Pure.

Laws
- Everything is whole numbers: quantities are millionths, prices 10^-8, what they come to 10^-14 of the currency. So parts add
  up to the total exactly, in whatever order.
- It is rounded once, at the end: the total, half up, to the currency's minor unit.
- A quantity that corrections brought below zero costs nothing.
- What no price fits costs nothing, and is told.
"""

from collections.abc import Iterable, Mapping

from msgspec import Struct

from agent.rating.card import PRICE_DIGITS, QUANTITY_DIGITS, Price, Rates, scaled

WORTH_DIGITS = PRICE_DIGITS + QUANTITY_DIGITS


class Use(Struct, frozen=True):
    """How much was used of a meter, in millionths of its unit, of one kind: `told` are its attributes by the keys of
    conditions, such as `class` or `level`."""

    meter: str
    amount: int
    told: Mapping[str, str] = {}


class Line(Struct, frozen=True, kw_only=True):
    """What one price comes to. `quantity` is all that was used, `free` what of it is included, both in millionths."""

    price: Price
    quantity: int
    free: int
    worth: int


class Rated(Struct, frozen=True, kw_only=True):
    """`lines` in the card's order, without those that nothing was used of. `unpriced`: a meter, and where it has prices the
    attributes that none of them fits, -> millionths. `worth` is the exact sum, `total` the rounded one, in minor units."""

    lines: tuple[Line, ...]
    unpriced: dict[tuple[str, ...], int]
    worth: int
    total: int


def rate(rates: Rates, uses: Iterable[Use]) -> Rated:
    pooled: dict[int, int] = {}
    unpriced: dict[tuple[str, ...], int] = {}
    priced = {price.meter for price in rates.price}
    conditions = [(price.meter, tuple(price.conditions().items())) for price in rates.price]
    for use in uses:
        place = next((place for place, (meter, asked) in enumerate(conditions) if _fits(use, meter, asked)), None)
        if place is None:
            kind = (use.meter, *(use.told.values() if use.meter in priced else ()))
            unpriced[kind] = unpriced.get(kind, 0) + use.amount
        else:
            pooled[place] = pooled.get(place, 0) + use.amount
    lines = tuple(_line(rates.price[place], quantity) for place, quantity in sorted(pooled.items()))
    total_worth = sum(line.worth for line in lines)
    return Rated(
        lines=lines, unpriced=unpriced, worth=total_worth, total=rounded(total_worth, WORTH_DIGITS - rates.minor_digits)
    )


def _fits(use: Use, meter: str, asked: tuple[tuple[str, tuple[str, ...]], ...]) -> bool:
    return meter == use.meter and all(use.told.get(key) in among for key, among in asked)


def _line(price: Price, quantity: int) -> Line:
    used = max(0, quantity)
    free = min(used, scaled(price.included, QUANTITY_DIGITS))
    return Line(price=price, quantity=quantity, free=free, worth=worth(price, used - free))


def worth(price: Price, quantity: int) -> int:
    """What so many millionths cost, in 10^-14."""
    if price.tiers_mode == "graduated":
        return _graduated(price, quantity)
    amount = price.amount
    if price.tiers_mode == "volume":
        amount = next(tier.amount for tier in price.tiers if not tier.up_to or quantity <= _end(tier.up_to))
    return quantity * scaled(amount or "0", PRICE_DIGITS)


def _graduated(price: Price, quantity: int) -> int:
    total = begin = 0
    for tier in price.tiers:
        end = min(quantity, _end(tier.up_to)) if tier.up_to else quantity
        if end > begin:
            total += (end - begin) * scaled(tier.amount, PRICE_DIGITS)
            begin = end
    return total


def _end(up_to: str) -> int:
    return scaled(up_to, QUANTITY_DIGITS)


def rounded(value: int, digits: int) -> int:
    """Without its last digits, half up: 2.345 -> 2.35, as on invoices. `value` is not negative."""
    unit: int = 10**digits
    return (2 * value + unit) // (2 * unit)
