"""Call classes, against numbers whose meaning is public knowledge."""

import pytest

from agent.metering.catalogue import CLASSES
from agent.metering.classes import classify
from agent.metering.pattern import matches
from agent.metering.rules import DialPlan

NEW_YORK = DialPlan(country="US", area="212", outside_line="9", service=("*.", "4XX"), on_net=("8XXXX", "+1914555."))
BERLIN = DialPlan(country="DE", area="30", outside_line="0", extensions=("XX", "XXX"))
LONDON = DialPlan(country="GB", area="20")


@pytest.mark.parametrize(
    ("plan", "digits", "call_class", "country"),
    [
        (NEW_YORK, "101", "internal", ""),
        (NEW_YORK, "911", "emergency", ""),
        (NEW_YORK, "9911", "emergency", ""),
        (NEW_YORK, "*97", "service", ""),
        (NEW_YORK, "400", "service", ""),
        (NEW_YORK, "81234", "internal", ""),
        (NEW_YORK, "+19145551234", "on_net", ""),
        (NEW_YORK, "5550199", "local", ""),
        (NEW_YORK, "92125550123", "local", ""),
        (NEW_YORK, "(212) 555-0123", "local", ""),
        (NEW_YORK, "16465550123", "national", ""),
        (NEW_YORK, "011442079460000", "international", "GB"),
        (NEW_YORK, "9011442079460000", "international", "GB"),
        (NEW_YORK, "+4917612345678", "international", "DE"),
        (NEW_YORK, "+18765551234", "international", "JM"),
        (NEW_YORK, "18005551234", "toll_free", ""),
        (NEW_YORK, "19005551234", "premium", ""),
        (NEW_YORK, "s", "service", ""),
        (BERLIN, "10", "internal", ""),
        (BERLIN, "110", "emergency", ""),
        (BERLIN, "0110", "emergency", ""),
        (BERLIN, "030123456", "local", ""),
        (BERLIN, "0017612345678", "mobile", ""),
        (BERLIN, "000442079460000", "international", "GB"),
        (BERLIN, "08001234567", "toll_free", ""),
        (LONDON, "02079460000", "local", ""),
        (LONDON, "07400123456", "mobile", ""),
        (LONDON, "999", "emergency", ""),
        (LONDON, "0033142685300", "international", "FR"),
    ],
)
def test_digits_have_their_class(plan: DialPlan, digits: str, call_class: str, country: str) -> None:
    found = classify(digits, plan)
    assert (found.call_class, found.country) == (call_class, country)
    assert call_class in CLASSES


def test_what_left_over_a_trunk_is_no_extension() -> None:
    assert classify("81234", NEW_YORK, outward=True).call_class == "on_net"
    assert classify("5550199", NEW_YORK, outward=True).call_class == "local"


def test_own_prefixes_outrank_the_countrys() -> None:
    plan = DialPlan(country="US", area="212", international_prefix="00", trunk_prefix="0")
    assert classify("00442079460000", plan).country == "GB"
    assert classify("06465550123", plan).call_class == "national"


@pytest.mark.parametrize("digits", ["", "+", "0" * 50, "++1", "\x00", "anonymous", "١٢٣", "101;ext=5", "9" * 400])
def test_no_digits_are_too_odd(digits: str) -> None:
    assert classify(digits, NEW_YORK).call_class in CLASSES
    assert classify(digits, NEW_YORK, outward=True).call_class in CLASSES


@pytest.mark.parametrize(
    ("pattern", "number", "fits"),
    [
        ("1XX", "101", True),
        ("1XX", "1011", False),
        ("_NZX", "215", True),
        ("NZX", "115", False),
        ("NZX", "205", False),
        ("*.", "*97", True),
        ("*.", "*", False),
        ("+49.", "+4930", True),
        ("a.b", "aXb", False),
    ],
)
def test_patterns_are_asterisks(pattern: str, number: str, fits: bool) -> None:
    assert matches((pattern,), number) is fits


def test_no_patterns_match_nothing() -> None:
    assert not matches((), "")
