"""Senders' clocks are brought to one, and what lies between two times of one sender stays what it was."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.hep.clocks import CLOCK_SET_US, SENDERS_MAX, TOLERANCE_US, Clocks

NOW_US = 1_790_000_000_000_000
MINUTE_US, HOUR_US = 60_000_000, 3_600_000_000


def counted() -> tuple[Clocks, dict[str, int]]:
    counters: dict[str, int] = {}
    return Clocks(counters), counters


def test_a_clock_that_is_some_minutes_off_is_believed() -> None:
    clocks, counters = counted()
    for off_us in (-9 * MINUTE_US, 0, 9 * MINUTE_US):
        assert clocks.instant("a", NOW_US + off_us, NOW_US) == NOW_US + off_us
    assert not any(counters.values())


def test_a_clock_that_is_ahead_is_moved_by_one_span() -> None:
    clocks, counters = counted()
    ahead_us = 3 * HOUR_US
    assert clocks.instant("a", NOW_US + ahead_us, NOW_US) == NOW_US
    # its call lasts 61.5 s, though the second packet was ten seconds on its way
    assert clocks.instant("a", NOW_US + ahead_us + 61_500_000, NOW_US + 71_500_000) == NOW_US + 61_500_000
    assert counters["clock_offset_senders"] == 1


def test_a_clock_that_is_put_right_is_believed_again() -> None:
    clocks, _ = counted()
    clocks.instant("a", NOW_US + HOUR_US, NOW_US)
    assert clocks.instant("a", NOW_US + 5_000_000, NOW_US + 5_000_000) == NOW_US + 5_000_000


def test_a_lone_sender_that_is_behind_may_be_a_recording() -> None:
    clocks, counters = counted()
    old_us = NOW_US - 9_000 * HOUR_US
    assert [clocks.instant("a", old_us + at, NOW_US) for at in (0, HOUR_US)] == [old_us, old_us + HOUR_US]
    assert (counters["clock_late_senders"], counters["clock_offset_senders"]) == (1, 0)


def test_where_several_send_one_that_was_never_right_is_moved() -> None:
    clocks, counters = counted()
    clocks.instant("right", NOW_US, NOW_US)
    behind_us = NOW_US - 2 * HOUR_US
    assert clocks.instant("behind", behind_us, NOW_US) == NOW_US
    assert clocks.instant("behind", behind_us + MINUTE_US, NOW_US + MINUTE_US) == NOW_US + MINUTE_US
    assert clocks.instant("right", NOW_US, NOW_US) == NOW_US
    assert counters["clock_offset_senders"] == 1


def test_what_a_right_sender_kept_while_the_network_was_down_keeps_its_time() -> None:
    clocks, _ = counted()
    clocks.instant("a", NOW_US, NOW_US)
    clocks.instant("b", NOW_US, NOW_US)
    later_us = NOW_US + HOUR_US
    kept = [NOW_US + MINUTE_US, NOW_US + 30 * MINUTE_US, later_us]
    assert [clocks.instant("a", told_us, later_us) for told_us in kept] == kept


def test_a_packet_without_a_time_is_timed_by_its_receipt() -> None:
    clocks, _ = counted()
    assert clocks.instant("a", 0, NOW_US) == NOW_US
    assert clocks.senders == {}


def test_a_machine_that_has_not_yet_been_told_the_time_believes_the_sender() -> None:
    clocks, _ = counted()
    assert clocks.instant("a", NOW_US, CLOCK_SET_US - 1) == NOW_US


def test_senders_are_bounded_and_the_longest_silent_goes() -> None:
    clocks, counters = counted()
    for number in range(SENDERS_MAX):
        clocks.instant(str(number), NOW_US, NOW_US)
    clocks.instant("0", NOW_US, NOW_US)
    clocks.instant("one more", NOW_US, NOW_US)
    assert (len(clocks.senders), counters["clock_senders_evicted"]) == (SENDERS_MAX, 1)
    assert "0" in clocks.senders
    assert "1" not in clocks.senders


@given(st.lists(st.integers(0, 300_000_000), min_size=2), st.integers(TOLERANCE_US + 300_000_001, 10**15))
def test_spans_of_a_clock_that_is_ahead_are_exact(delays_us: list[int], ahead_us: int) -> None:
    clocks, _ = counted()
    told = [NOW_US + ahead_us + number * 1_000_000 for number in range(len(delays_us))]
    heard = [
        clocks.instant("a", told_us, NOW_US + number * 1_000_000 + delay_us)
        for number, (told_us, delay_us) in enumerate(zip(told, delays_us, strict=True))
    ]
    assert [later - heard[0] for later in heard] == [told_us - told[0] for told_us in told]
