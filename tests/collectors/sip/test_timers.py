"""Timers come when they are due, once, in order; whatever the clock does in between."""

from hypothesis import given
from hypothesis import strategies as st

from collectors.sip.timers import Timers

instants = st.integers(0, 300_000_000)


@given(st.lists(st.one_of(st.tuples(st.just("set"), instants), st.tuples(st.just("due"), instants))))
def test_each_timer_is_due_once_at_the_first_time_that_is_not_before_it(steps: list[tuple[str, int]]) -> None:
    timers, waiting = Timers(), []
    for number, (step, at_us) in enumerate(steps):
        if step == "set":
            timers.set(at_us, number)
            waiting.append((at_us, number))
        else:
            assert timers.due(at_us) == sorted(timer for timer in waiting if timer[0] <= at_us)
            waiting = [timer for timer in waiting if timer[0] > at_us]
        assert len(timers) == len(waiting)


def test_a_clock_that_jumps_by_years_takes_no_longer() -> None:
    timers = Timers()
    timers.set(5, 1)
    timers.set(10**17, 2)
    assert timers.due(10**16) == [(5, 1)]
    assert timers.due(10**18) == [(10**17, 2)]


def test_what_is_cleared_is_due_no_more() -> None:
    timers = Timers()
    timers.set(5, 1)
    timers.clear()
    assert (timers.due(10), len(timers)) == ([], 0)
