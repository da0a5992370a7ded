"""What the month comes to by the rate card, of the ledger's sums: for the status page and `pegcount status`."""

from sqlite_utils import Database

from agent.config.tables import Config
from agent.ledger import usage
from agent.ledger.snapshot import EstimateView, PriceView, UnpricedView
from agent.metering.catalogue import UNITS
from agent.metering.days import local_day
from agent.rating.card import QUANTITY_DIGITS, Price, Tier, decimal_text
from agent.rating.rate import WORTH_DIGITS, Line, rate


def estimate(db: Database, config: Config, now_ms: int) -> EstimateView | None:
    """None where there is no rate card. A seat that is charged by the month has no charge by the day, and the other way round:
    the one without a price is not told as unpriced."""
    rates = config.rates
    if rates is None:
        return None
    month = local_day(now_ms, config.site.timezone)[:7]
    priced = {price.meter for price in rates.price}
    levels = [level.name for level in config.metering.levels]
    by_month = usage.SEAT_MONTH in priced
    uses = usage.uses(db, month, levels, by_month)
    rated = rate(
        rates, [use for use in uses if not (by_month and use.meter == usage.SEAT_DAY and use.meter not in priced)]
    )
    standing = usage.counted(db)
    return EstimateView(
        month=month,
        currency=rates.currency,
        version=rates.version,
        digest=rates.digest,
        total=_fixed(rated.total, rates.minor_digits),
        exact=decimal_text(rated.worth, WORTH_DIGITS),
        prices=tuple(_view(line) for line in rated.lines),
        unpriced=tuple(_unpriced(kind, amount) for kind, amount in sorted(rated.unpriced.items())),
        waiting=standing.waiting,
        from_ms=standing.from_ms if local_day(standing.from_ms, config.site.timezone)[:7] == month else 0,
    )


def _view(line: Line) -> PriceView:
    price = line.price
    return PriceView(
        meter=price.meter,
        unit=price.unit,
        only=tuple(value for values in price.conditions().values() for value in values),
        quantity=_quantity(line.quantity),
        free=_quantity(line.free),
        price=_in_words(price),
        amount=decimal_text(line.worth, WORTH_DIGITS),
    )


def _unpriced(kind: tuple[str, ...], amount: int) -> UnpricedView:
    meter, *told = kind
    return UnpricedView(meter=meter, unit=UNITS[meter], only=tuple(told), quantity=_quantity(amount))


def _in_words(price: Price) -> str:
    """`0.02`, or `graduated: 0.02 up to 1000, 0.01 above`."""
    if price.amount is not None:
        return price.amount
    return f"{price.tiers_mode}: {', '.join(map(_tier, price.tiers))}"


def _tier(tier: Tier) -> str:
    return f"{tier.amount} up to {tier.up_to}" if tier.up_to else f"{tier.amount} above"


def _quantity(amount: int) -> str:
    return decimal_text(amount, QUANTITY_DIGITS)


def _fixed(value: int, digits: int) -> str:
    """With all digits of the minor unit: 123450 with 2 -> `1234.50`."""
    whole, part = divmod(value, 10**digits)
    return f"{whole}.{part:0{digits}d}" if digits else str(whole)
