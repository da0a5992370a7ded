"""The legs of a call make one call, in whatever order they come."""

from itertools import permutations

from collectors.sip.join import join
from tests.collectors.sip.flows import PBX, Exchange, in_order, phone, track


def test_the_order_of_the_legs_does_not_matter() -> None:
    told = track(
        in_order(
            Exchange("a", phone(104), PBX, "104", "200").talk(0, 6, 66),
            Exchange("b1", PBX, phone(101), "104", "101").cancelled(0.1, 5.9),
            Exchange("b2", PBX, phone(102), "104", "102").talk(0.1, 5.9, 66),
            Exchange("b3", PBX, phone(103), "104", "103").cancelled(0.1, 5.9),
        )
    )
    assert len(told.legs) == 4
    assert {repr(join(legs)) for legs in permutations(told.legs)} == {repr(told.call)}


def test_a_far_leg_alone_still_makes_a_call() -> None:
    """As much as a ledger knows when the other legs are missing."""
    told = track(
        in_order(
            Exchange("a", phone(101), PBX, "101", "102").talk(0, 5.2, 65.2),
            Exchange("b", PBX, phone(102), "101", "102").talk(0.1, 5, 65.1),
        )
    )
    [far] = [leg for leg in told.legs if leg.side == "callee"]
    call = join([far])
    assert (call.key, call.talk_ms, call.caller.number, call.dialled) == (told.call.key, 60_100, "101", "102")


def test_a_leg_without_a_heard_end_lasts_as_long_as_the_leg_behind_it() -> None:
    near = Exchange("a", phone(101), PBX, "101", "102")
    packets = in_order(
        [*near.ring(0), near.accept(5), near.ack(5.1)], Exchange("b", PBX, phone(102), "101", "102").talk(0.1, 4.9, 65)
    )
    call = track(packets).call
    assert (call.ending, call.talk_ms) == ("assumed", 60_000)
