"""Token buckets: never more than the rate allows, never fewer than it promises, and never more of them than there may be."""

from hypothesis import given
from hypothesis import strategies as st

from uplink.receiver.limits import Rate
from uplink.receiver.rates import Buckets, address_key


def test_a_burst_passes_and_then_one_at_a_time() -> None:
    buckets = Buckets(Rate(2.0, 3))
    assert [buckets.wait_s("a", 10.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert buckets.wait_s("a", 10.25) == 0.25
    assert buckets.wait_s("a", 10.5) == 0.0
    assert buckets.wait_s("a", 10.5) == 0.5
    assert buckets.wait_s("b", 10.5) == 0.0
    assert buckets.refused == 3


@given(st.lists(st.floats(0, 5, allow_nan=False), min_size=1, max_size=80), st.integers(1, 9), st.floats(0.5, 20))
def test_never_more_pass_than_the_burst_and_the_rate_since(gaps: list[float], burst: int, per_s: float) -> None:
    buckets, now_s, passed = Buckets(Rate(per_s, burst)), 0.0, 0
    for gap in gaps:
        now_s += gap
        passed += buckets.wait_s("a", now_s) == 0
    assert passed <= burst + per_s * (now_s - gaps[0]) + 1e-6


@given(st.floats(0.5, 20), st.integers(1, 9), st.integers(1, 30))
def test_who_waits_as_long_as_he_is_told_passes(per_s: float, burst: int, times: int) -> None:
    buckets, now_s = Buckets(Rate(per_s, burst)), 0.0
    for _ in range(times):
        wait_s = buckets.wait_s("a", now_s)
        if wait_s:
            now_s += wait_s + 1e-6
            assert buckets.wait_s("a", now_s) == 0


def test_there_are_never_more_buckets_than_allowed_and_the_oldest_goes() -> None:
    buckets = Buckets(Rate(1.0, 1), size_max=3)
    for key in ("a", "b", "c", "a", "d"):
        buckets.wait_s(key, 0.0)
    assert len(buckets) == 3
    assert buckets.wait_s("a", 0.0) > 0
    assert buckets.wait_s("b", 0.0) == 0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    buckets = Buckets(Rate(1.0, 1))
    assert buckets.wait_s("a", 100.0) == 0
    assert buckets.wait_s("a", 50.0) == 1.0


def test_an_ipv6_network_counts_as_one() -> None:
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::ffff") == "2001:db8:1:2::"
    assert address_key("::ffff:192.0.2.7") == address_key("192.0.2.7") == "192.0.2.7"
    assert address_key("x" * 5000) == "x" * 64
