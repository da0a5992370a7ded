"""What a call comes to. Expected figures are worked out by hand."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.metering.charge import UNIT, Charge, decimal_text, minutes_amount
from agent.metering.corrections import NOTHING, Booked, book
from agent.metering.days import day_bounds, local_day
from agent.metering.media import volume_amount
from agent.metering.meter import Meter, billed_seconds
from agent.metering.rules import DialPlan, Level, Metering, Site
from collectors.records import Call, FeatureUse, MediaFlow, Party, Registration

SITE = Site(
    id="018f2f6c-0000-7000-8000-00000000c0de",
    provider="msp",
    timezone="America/New_York",
    dialplan=DialPlan(country="US", area="212", extensions=("1XX", "2XX")),
)
METER = Meter(SITE, Metering())


def call(**changes: Any) -> Call:
    fields: dict[str, Any] = {
        "key": "c1",
        "started_at_ms": 1_795_194_000_000,
        "answered_at_ms": 1_795_194_005_000,
        "ended_at_ms": 1_795_194_066_000,
        "talk_ms": 61_000,
        "outcome": "answered",
        "caller": Party("101", "101"),
        "dialled": "102",
        "answered_by": Party("102", "102"),
        "offered": ("102",),
    }
    return Call(**{**fields, **changes})


def slots(charge: Charge) -> dict[tuple[str, str, str, str, str], str]:
    return {
        (m.slot.meter, m.slot.subject, m.slot.call_class, m.slot.country, m.slot.detail): decimal_text(m.amount)
        for m in charge.measures
    }


@pytest.mark.parametrize(
    ("talk_ms", "increment_s", "minimum_s", "billed_s"),
    [
        (0, 60, 60, 60),
        (1, 60, 60, 60),
        (60_000, 60, 60, 60),
        (60_001, 60, 60, 120),
        (1_000, 6, 30, 30),
        (31_000, 6, 30, 36),
        (7_000, 1, 1, 7),
        (7_001, 1, 1, 8),
        (0, 1, 0, 0),
    ],
)
def test_started_increments_are_billed_and_not_less_than_the_minimum(
    talk_ms: int, increment_s: int, minimum_s: int, billed_s: int
) -> None:
    assert billed_seconds(talk_ms, increment_s, minimum_s) == billed_s


def test_an_internal_call_is_the_callers() -> None:
    assert slots(METER.call(call())) == {
        ("call", "101", "internal", "", "answered"): "1",
        ("voice.minutes", "101", "internal", "", ""): "2",
    }


def test_an_inbound_call_is_the_seats_that_answered() -> None:
    charge = METER.call(call(caller=Party("+442079460000", "carrier"), trunk_in="carrier", dialled="+12125550102"))
    assert ("call", "102", "inbound", "", "answered") in slots(charge)
    assert [use.seat for use in charge.seats] == ["102"]


def test_an_inbound_call_nobody_answered_is_the_only_seats_it_rang_at_or_the_numbers() -> None:
    missed = {"caller": Party("+442079460000", ""), "answered_at_ms": None, "talk_ms": 0, "outcome": "no_answer"}
    one = METER.call(call(**missed, answered_by=None, dialled="+12125550102"))
    two = METER.call(call(**missed, answered_by=None, dialled="+12125550200", offered=("102", "103")))
    assert slots(one) == {("call", "102", "inbound", "", "no_answer"): "1"}
    assert slots(two) == {("call", "+12125550200", "inbound", "", "no_answer"): "1"}
    assert {use.seat for use in two.seats} == {"102", "103"}


def test_an_extension_that_rang_is_internal_even_if_its_digits_are_an_emergency_number() -> None:
    plan = DialPlan(country="DE", extensions=("1XX",))
    meter = Meter(Site(id=SITE.id, provider="msp", dialplan=plan), Metering())
    rang = call(dialled="110", offered=("110",), answered_by=Party("110", "110"))
    assert ("call", "101", "internal", "", "answered") in slots(meter.call(rang))
    gone_out = call(dialled="110", offered=("carrier",), answered_by=Party("110", "carrier"), trunk_out="carrier")
    assert ("call", "101", "emergency", "", "answered") in slots(meter.call(gone_out))


def test_a_phone_with_a_name_of_its_own_is_the_seat_that_its_number_says() -> None:
    named = METER.call(call(caller=Party("101", "alice")))
    assert ("call", "101", "internal", "", "answered") in slots(named)
    over_a_trunk = METER.call(call(caller=Party("101", "carrier"), trunk_in="carrier"))
    assert ("call", "102", "inbound", "", "answered") in slots(over_a_trunk)


def test_feature_uses_are_counted_by_seat_and_code() -> None:
    hold = FeatureUse(code="hold", endpoint="102", at_ms=0)
    group = FeatureUse(code="ring_group", endpoint="carrier", at_ms=0)
    charge = METER.call(call(features=(hold, hold, group)))
    assert slots(charge)["feature.use", "102", "", "", "hold"] == "2"
    assert slots(charge)["feature.use", "101", "", "", "ring_group"] == "1"


def test_outside_numbers_are_masked_before_they_leave_the_site_and_the_offices_own_are_not() -> None:
    told = METER.call(call(dialled="+442079460123", answered_by=Party("+442079460123", "carrier"))).measures[0].told
    assert (told["caller"], told["dialled"]) == ("101", "+44207946xxxx")
    silent = Meter(SITE, Metering(numbers="none")).call(call(dialled="+442079460123")).measures[0].told
    assert "dialled" not in silent


def test_a_call_that_ended_without_word_says_so() -> None:
    assert METER.call(call(ending="assumed")).measures[0].told["ending"] == "assumed"
    assert "ending" not in METER.call(call()).measures[0].told


def test_a_call_tells_what_only_signalling_knows_where_its_source_does() -> None:
    told = METER.call(call(post_dial_ms=2_300, status=486, cause=17, attestation="A")).measures[0].told
    assert [told[name] for name in ("pdd_ms", "status", "cause", "attestation")] == [2_300, 486, 17, "A"]
    assert (
        METER.call(call()).measures[0].told.keys().isdisjoint(("pdd_ms", "status", "cause", "attestation", "private"))
    )


def test_a_call_whose_beginning_was_not_heard_is_billed_for_what_was_heard_and_not_the_minimum() -> None:
    charge = METER.call(call(partial=True))
    assert (slots(charge)["voice.minutes", "101", "internal", "", ""], charge.measures[0].told["partial"]) == ("2", 1)
    bye_alone = METER.call(call(partial=True, talk_ms=0))
    assert [measure.slot.meter for measure in bye_alone.measures] == ["call"]


def test_the_number_of_an_outsider_who_wants_it_withheld_does_not_leave_the_site() -> None:
    outside = (
        METER.call(call(caller=Party("+442079460000", "carrier"), trunk_in="carrier", private=True)).measures[0].told
    )
    assert (outside["private"], "caller" in outside) == (1, False)
    seat = METER.call(call(private=True))
    assert (seat.measures[0].slot.subject, seat.measures[0].told["caller"]) == ("101", "101")
    assert "private" not in seat.measures[0].told


def test_a_registration_counts_for_the_day_it_was_made_on() -> None:
    late = int(datetime(2026, 11, 20, 23, 59, tzinfo=ZoneInfo("America/New_York")).timestamp() * 1000)
    registered = Registration(key="k", endpoint="101", contact="sip:101@192.0.2.1", at_ms=late, expires_at_ms=late)
    assert [(use.seat, use.day) for use in METER.registration(registered).seats] == [("101", "2026-11-20")]
    trunk = Registration(key="k", endpoint="carrier", contact="sip:192.0.2.9", at_ms=late, expires_at_ms=late)
    assert METER.registration(trunk).seats == ()


def test_levels_are_cumulative_and_the_lowest_that_holds_all_counts() -> None:
    levels = (Level("basic", ("voicemail_deposit",)), Level("standard", ("hold",)), Level("premium", ("conference",)))
    meter = Meter(SITE, Metering(levels=levels))
    assert meter.level([]) == "basic"
    assert meter.level(["voicemail_deposit", "hold"]) == "standard"
    assert meter.level(["conference"]) == "premium"
    assert meter.level(["queue"]) == "basic"
    assert METER.level(["hold"]) == ""


@pytest.mark.parametrize(
    ("day", "hours"), [("2026-03-08", 23), ("2026-11-01", 25), ("2026-11-20", 24), ("2026-12-31", 24)]
)
def test_the_two_odd_days_of_the_year_are_right(day: str, hours: int) -> None:
    start, end = day_bounds(day, "America/New_York")
    assert end - start == hours * 3_600_000
    assert local_day(start, "America/New_York") == day
    assert local_day(end - 1, "America/New_York") == day
    assert local_day(end, "America/New_York") != day


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_amounts_are_exact_and_differences_net_to_the_truth(first_s: int, second_s: int) -> None:
    from decimal import Decimal

    first, second = minutes_amount(first_s), minutes_amount(second_s)
    assert Decimal(decimal_text(first)) + Decimal(decimal_text(second - first)) == Decimal(decimal_text(second))
    assert abs(Decimal(first_s) / 60 - Decimal(decimal_text(first))) <= Decimal("0.0000005")


def test_amounts_are_written_without_exponents_or_needless_zeros() -> None:
    assert [decimal_text(amount) for amount in (UNIT, 0, -1_500_000, 116_667, 10 * UNIT)] == [
        "1",
        "0",
        "-1.5",
        "0.116667",
        "10",
    ]


def flow(**changes: Any) -> MediaFlow:
    fields: dict[str, Any] = {
        "kind": "audio",
        "codec": "PCMU",
        "src": "10.0.1.1:4000",
        "dst": "10.0.0.10:4000",
        "from_caller": True,
        "started_at_ms": 0,
        "ended_at_ms": 61_000,
        "packets": 3_050,
        "octets": 488_000,
        "mos": 439,
    }
    return MediaFlow(**{**fields, **changes})


def test_media_is_metered_in_gigabytes_of_both_ways() -> None:
    charge = METER.call(call(media=(flow(), flow(from_caller=False, octets=487_840))))
    assert slots(charge)["media.gb", "101", "", "", ""] == "0.000976"
    [measure] = [one for one in charge.measures if one.slot.meter == "media.gb"]
    assert measure.told == {"octets": 975_840}
    assert all(one.slot.meter != "media.gb" for one in METER.call(call()).measures)


@pytest.mark.parametrize(
    ("octets", "told"), [(0, "0"), (499, "0"), (500, "0"), (1_500, "0.000002"), (10**9, "1"), (2**30, "1.073742")]
)
def test_a_gigabyte_is_a_thousand_million_octets_and_told_to_a_thousand(octets: int, told: str) -> None:
    assert decimal_text(volume_amount(octets)) == told


def test_pages_of_a_fax_are_metered_by_t38() -> None:
    charge = METER.call(
        call(media=(flow(kind="image", codec="T38", pages=3), flow(kind="image", codec="T38", pages=0)))
    )
    assert slots(charge)["fax.pages", "101", "", "", "yes"] == "3"
    [event] = [one for one in book(SITE.id, "pbx", charge).events if one.meter == "fax.pages"]
    assert (event.quantity, event.unit, event.data["t38"]) == ("3", "page", "yes")


def test_a_call_tells_how_its_worse_half_sounded() -> None:
    worse = flow(from_caller=False, packets=950, lost=50, jitter_us=12_345, mos=310, digits=4)
    told = METER.call(call(media=(flow(), worse))).measures[0].told
    assert {name: told[name] for name in ("codec", "mos", "loss_percent", "jitter_ms", "digits")} == {
        "codec": "PCMU",
        "mos": "3.10",
        "loss_percent": "5.00",
        "jitter_ms": "12.34",
        "digits": 4,
    }
    reported = flow(told_by="rtcp", packets=1_000, lost=50, mos=None)
    told = METER.call(call(media=(reported,))).measures[0].told
    assert (told["loss_percent"], "mos" in told) == ("5.00", False)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 300),
            st.sampled_from(["102", "+442079460123", "*97"]),
            st.integers(0, 10**10),
            st.integers(0, 3),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_whatever_the_history_the_events_net_to_the_last_charge_and_no_id_comes_twice(
    history: list[tuple[int, str, int, int]],
) -> None:
    booked: Booked = NOTHING
    nets: dict[tuple[str, str], int] = {}
    ids: list[str] = []
    for talk_s, dialled, octets, pages in history:
        media = (flow(octets=octets, pages=pages),)
        charge = METER.call(call(talk_ms=talk_s * 1000, dialled=dialled, offered=(), media=media))
        booking = book(SITE.id, "pbx", charge, booked)
        booked = booking.booked
        for event in booking.events:
            ids.append(event.id)
            slot = (event.meter, str(event.data.get("class", "")) + str(event.data.get("country", "")))
            whole, _, part = event.quantity.partition(".")
            sign = -1 if whole.startswith("-") else 1
            nets[slot] = nets.get(slot, 0) + int(whole) * UNIT + sign * int(part.ljust(6, "0") if part else 0)
    expected = {(m.slot.meter, m.slot.call_class + m.slot.country): m.amount for m in charge.measures}
    assert {slot: amount for slot, amount in nets.items() if amount} == {s: a for s, a in expected.items() if a}
    assert len(ids) == len(set(ids))
    assert book(SITE.id, "pbx", charge, booked).events == []
