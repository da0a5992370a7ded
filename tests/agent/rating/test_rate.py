"""What uses cost by a rate card: examples worked out by hand, and what must hold of any card."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.rating.card import Price, Rates, Tier, decimal_text, scaled
from agent.rating.rate import WORTH_DIGITS, Rated, Use, rate, rounded

UNIT = 1_000_000
TIERS = (Tier(amount="0.03", up_to="100"), Tier(amount="0.02", up_to="1000"), Tier(amount="0.01"))


def use(meter: str, quantity: str, **told: str) -> Use:
    return Use(meter, int(Decimal(quantity) * UNIT), {key.removeprefix("call_"): value for key, value in told.items()})


def price(meter: str = "voice.minutes", **keys: Any) -> Price:
    return Price(meter=meter, unit="min", **keys)


def cost(priced: Price, quantity: str) -> str:
    rated = rate(Rates("EUR", price=(priced,)), [use(priced.meter, quantity)])
    return decimal_text(rated.worth, WORTH_DIGITS)


def card(*prices: Price, currency: str = "EUR") -> Rates:
    return Rates(currency, price=prices)


@pytest.mark.parametrize(
    ("quantity", "unit", "included", "graduated", "volume"),
    [
        ("0", "0", "0", "0", "0"),
        ("1", "0.02", "0", "0.03", "0.03"),
        ("100", "2", "0", "3", "3"),
        ("100.000001", "2.00000002", "0.00000002", "3.00000002", "2.00000002"),
        ("101", "2.02", "0.02", "3.02", "2.02"),
        ("1000", "20", "18", "21", "20"),
        ("1001", "20.02", "18.02", "21.01", "10.01"),
        ("1.016667", "0.02033334", "0", "0.03050001", "0.03050001"),
        ("-5", "0", "0", "0", "0"),
    ],
)
def test_each_way_to_charge(quantity: str, unit: str, included: str, graduated: str, volume: str) -> None:
    assert cost(price(amount="0.02"), quantity) == unit
    assert cost(price(amount="0.02", included="100"), quantity) == included
    assert cost(price(tiers_mode="graduated", tiers=TIERS), quantity) == graduated
    assert cost(price(tiers_mode="volume", tiers=TIERS), quantity) == volume


def test_tiers_begin_behind_what_is_included() -> None:
    assert cost(price(tiers_mode="graduated", tiers=TIERS, included="50"), "160") == "3.2"  # 100 at 0.03, 10 at 0.02


def test_what_a_month_of_an_office_costs() -> None:
    """By hand: 12 seats at 9.50 and 3 at 14.90; 1,500 minutes of which 1,000 are free, at 0.015; 20 to France and 10 to
    Germany at 0.09, 2.5 elsewhere at 0.45; 40 pages at 0.08; 730 GB.h at 0.00014; 6.25 channel-hours at 0.2."""
    rates = card(
        price("seat.month", level=("basic", "standard"), amount="9.50"),
        price("seat.month", level=("premium",), amount="14.90"),
        price(call_class=("national", "mobile"), amount="0.015", included="1000"),
        price(country=("FR", "DE"), amount="0.09"),
        price(call_class=("international",), amount="0.45"),
        price("fax.pages", amount="0.08"),
        price("storage.gb_hours", amount="0.00014"),
        price("channel.hours", amount="0.2"),
    )
    rated = rate(
        rates,
        [
            use("seat.month", "10", level="basic"),
            use("seat.month", "2", level="standard"),
            use("seat.month", "3", level="premium"),
            use("voice.minutes", "1100", call_class="national"),
            use("voice.minutes", "400", call_class="mobile"),
            use("voice.minutes", "20", call_class="international", country="FR"),
            use("voice.minutes", "10", call_class="international", country="DE"),
            use("voice.minutes", "2.5", call_class="international", country="US"),
            use("voice.minutes", "300", call_class="internal"),
            use("fax.pages", "40"),
            use("storage.gb_hours", "730"),
            use("channel.hours", "6.25"),
            use("call", "912", call_class="national"),
        ],
    )
    assert [decimal_text(line.worth, WORTH_DIGITS) for line in rated.lines] == [
        *("114", "44.7", "7.5", "2.7", "1.125", "3.2", "0.1022", "1.25"),
    ]
    assert decimal_text(rated.worth, WORTH_DIGITS) == "174.5772"
    assert rated.total == 17458
    assert rated.unpriced == {("voice.minutes", "internal"): 300 * UNIT, ("call",): 912 * UNIT}


@pytest.mark.parametrize(
    ("currency", "quantity", "total"),
    [("EUR", "0.5", 1), ("EUR", "0.499999", 0), ("JPY", "50", 1), ("JPY", "49.999999", 0), ("KWD", "0.05", 1)],
)
def test_the_total_is_rounded_half_up_to_the_minor_unit(currency: str, quantity: str, total: int) -> None:
    """At 0.01 a unit: half a cent, half a yen, half a fils."""
    rates = card(price(amount="0.01"), currency=currency)
    assert rate(rates, [use("voice.minutes", quantity)]).total == total


def test_it_is_rounded_once() -> None:
    rates = card(price("call", amount="0.004"), price("message", amount="0.004"))
    assert rate(rates, [use("call", "1"), use("message", "1")]).total == 1


def test_the_digest_is_another_one_when_anything_is() -> None:
    cards = [card(price(amount="0.02")), card(price(amount="0.03")), card(price(amount="0.02"), currency="CHF")]
    assert len({each.digest for each in cards}) == 3
    assert cards[0].digest == card(price(amount="0.02")).digest


# --- what must hold of any card

amounts = st.integers(0, 10**8).map(lambda value: decimal_text(value, 8))
quantities = st.integers(0, 10**11)
ends = st.lists(st.integers(1, 10**10), min_size=1, max_size=5, unique=True).map(sorted)


@st.composite
def prices(draw: st.DrawFn, modes: tuple[str, ...] = ("unit", "graduated", "volume")) -> Price:
    mode, included = draw(st.sampled_from(modes)), decimal_text(draw(st.integers(0, 10**9)), 6)
    if mode == "unit":
        return price(amount=draw(amounts), included=included)
    tiers = [Tier(amount=draw(amounts), up_to=decimal_text(end, 6)) for end in draw(ends)]
    return price(tiers_mode=mode, tiers=(*tiers, Tier(amount=draw(amounts))), included=included)


def of(priced: Price, *amounts: int) -> Rated:
    return rate(card(priced), [Use(priced.meter, amount) for amount in amounts])


@given(prices(("unit", "graduated")), quantities, quantities)
def test_more_use_never_costs_less(priced: Price, one: int, more: int) -> None:
    assert of(priced, one).worth <= of(priced, one + more).worth


@given(prices(), st.lists(quantities, max_size=5))
def test_uses_of_one_price_are_pooled_in_whatever_order(priced: Price, parts: list[int]) -> None:
    assert of(priced, *parts).worth == of(priced, sum(parts)).worth == of(priced, *reversed(parts)).worth


@given(prices(("graduated",)), quantities)
def test_graduated_tiers_add_up(priced: Price, quantity: int) -> None:
    """Each unit at the price of the tier that it lies in, worked out tier by tier in decimals."""
    left = max(Decimal(0), Decimal(quantity) / UNIT - Decimal(priced.included))
    total, begin = Decimal(0), Decimal(0)
    for tier in priced.tiers:
        size = min(left, Decimal(tier.up_to) - begin) if tier.up_to else left
        total, left, begin = total + size * Decimal(tier.amount), left - size, Decimal(tier.up_to or 0)
    assert Decimal(of(priced, quantity).worth) / 10**WORTH_DIGITS == total


@given(st.lists(st.tuples(st.sampled_from(["call", "message", "media.gb"]), quantities), max_size=8), amounts, amounts)
def test_parts_sum_up_to_the_total_before_it_is_rounded(uses: list[tuple[str, int]], one: str, other: str) -> None:
    rates = card(price("call", amount=one), price("message", amount=other))
    rated = rate(rates, [Use(meter, amount) for meter, amount in uses])
    assert sum(line.worth for line in rated.lines) == rated.worth
    assert sum(line.quantity for line in rated.lines) + sum(rated.unpriced.values()) == sum(n for _, n in uses)
    exact = Decimal(rated.worth) / 10**WORTH_DIGITS
    assert Decimal(rated.total) / 100 == exact.quantize(Decimal("0.01"), ROUND_HALF_UP)


@given(st.integers(0, 10**30), st.integers(0, 14))
def test_text_and_number_are_the_same(value: int, digits: int) -> None:
    assert scaled(decimal_text(value, digits), digits) == value
    assert abs(rounded(value, digits) * 10**digits - value) * 2 <= 10**digits


def test_a_card_is_its_toml_again() -> None:
    rates = card(price(tiers_mode="volume", tiers=TIERS, call_class=("mobile",)))
    assert msgspec.convert(msgspec.to_builtins(rates), Rates) == rates
