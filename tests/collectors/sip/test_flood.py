"""Memory is bounded whatever the traffic, and a flood takes nothing from calls that are up.

Each flood is a process of its own (see `flood.py`), so that its peak memory is what was needed.
"""

import json

from benchmarks.measure import once, python
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flood import INVITE, KNOWN, flood
from tests.collectors.sip.flows import PBX, Exchange, Told, at, in_order, phone, track

RSS_MAX_BYTES = 150_000_000


def under(kind: str, count: int, rss_max_bytes: int = RSS_MAX_BYTES) -> dict[str, int]:
    run = once([python(), "-m", "tests.collectors.sip.flood", kind, str(count)])
    told: dict[str, int] = json.loads(run.output)
    assert run.rss_bytes < rss_max_bytes
    assert told["right"] == KNOWN, "calls that are known end by their BYE, after the time that they talked"
    return told


def test_a_million_invites_are_followed_in_bounded_memory() -> None:
    told = under("invites", 1_000_000)
    assert told["calls"] == 1_000_000 + KNOWN, "each attempt is a call of its own, handed in"
    assert told["calls_evicted"] >= 1_000_000 - Limits().calls


def test_a_million_contacts_do_not_grow_the_registrar() -> None:
    assert under("registers", 100_000, 100_000_000)["messages"] == 101_400


def test_unfinished_messages_of_many_connections_do_not_grow_without_bound() -> None:
    told = under("streams", 10_000, 80_000_000)
    assert told["streams_evicted"] + told["stream_messages_lost"] == 10_000


def test_pieces_whose_rest_never_comes_do_not_grow_without_bound() -> None:
    told = under("fragments", 40_000, 60_000_000)
    assert told["fragmented_evicted"] + told["fragmented_lost"] == 40_000


def test_connections_that_begin_and_say_nothing_are_bounded() -> None:
    assert under("segments", 40_000)["tcp_streams_evicted"] > 30_000


def test_the_same_through_hep() -> None:
    assert under("hep", 60_000)["calls"] == 60_000 + KNOWN


def test_what_is_asked_within_one_call_does_not_grow_it() -> None:
    under("within", 50_000, 40_000_000)


def test_ever_more_branches_do_not_grow_a_call() -> None:
    under("tags", 50_000, 40_000_000)


def test_attempts_that_are_all_alike_cost_no_more_than_others() -> None:
    assert under("alike", 40_000)["calls"] == 20_000 + KNOWN, "what the phone system passes on is no call of its own"


def test_words_of_64_kilobytes_are_not_kept_as_they_are() -> None:
    under("long", 10_000)


# --- who goes first


def invite(number: int, seconds: float) -> SipPacket:
    source = f"198.51.100.{number % 256}:5060"
    return SipPacket(at(seconds), "udp", source, PBX, INVITE % (number, source.encode(), *[number] * 6))


def crowded(calls: int, *parts: list[SipPacket]) -> Told:
    return track(in_order(*parts), limits=Limits(calls=calls))


def ended(told: Told) -> dict[str, str]:
    """How each call ended; what is heard of one that was handed in already comes as another one, last."""
    return {leg.call_id: leg.ending for leg in reversed(told.legs) if leg.call_id[0] == "k"}


def test_a_call_that_talks_stays_and_unanswered_ones_go() -> None:
    talking = [Exchange(f"k{n}", phone(n), PBX, str(100 + n), str(200 + n)).talk(n, n + 2, 600) for n in range(8)]
    told = crowded(10, *talking, [invite(n, 20 + n / 10) for n in range(100)])
    assert set(ended(told).values()) == {"confirmed"}
    assert told.counters["calls_evicted"] == 98


def test_a_call_that_rings_goes_after_those_that_nobody_answered_and_before_one_that_talks() -> None:
    rings = Exchange("kr", phone(1), PBX, "101", "201").talk(0, 50, 600)
    talks = Exchange("kt", phone(2), PBX, "102", "202").talk(1, 2, 600)
    assert ended(crowded(4, rings, talks, [invite(n, 5 + n / 10) for n in range(20)])) == {
        "kr": "confirmed",
        "kt": "confirmed",
    }
    others = [Exchange(f"o{n}", phone(10 + n), PBX, str(300 + n), "1").talk(5 + n, 6 + n, 900) for n in range(4)]
    assert ended(crowded(4, rings, talks, *others)) == {"kr": "assumed", "kt": "assumed"}


def test_of_two_that_talk_the_one_that_nothing_was_heard_of_since_it_was_looked_at_goes() -> None:
    first, second, *others = (Exchange(f"k{n}", phone(n), PBX, str(100 + n), str(200 + n)) for n in range(1, 5))
    refreshed = [first.request(30, "UPDATE", 5), first.answer(30.1, 200, "5 UPDATE")]
    looked_at = [invite(n, 20 + n) for n in range(2)]
    later = [other.talk(60 + 9 * n, 62 + 9 * n, 600) for n, other in enumerate(others)]
    told = crowded(3, first.talk(0, 2, 600), second.talk(1, 3, 600), looked_at, refreshed, *later)
    assert ended(told) == {"k1": "confirmed", "k2": "assumed", "k3": "confirmed", "k4": "confirmed"}


def test_who_goes_first_is_the_same_after_a_restart() -> None:
    talking = [
        Exchange(f"k{n}", phone(n), PBX, str(100 + n), str(200 + n)).talk(n / 5, n / 5 + 2, 90) for n in range(12)
    ]
    packets = in_order(*talking, list(flood("invites", 100))[:40])
    whole = Tracker(Limits(calls=10))
    for packet in packets:
        whole.feed(packet)
    whole.finish(at(1000))
    records = repr(whole.drain()[0])
    for cut in range(0, len(packets), 7):
        first, second = Tracker(Limits(calls=10)), Tracker(Limits(calls=10))
        for packet in packets[:cut]:
            first.feed(packet)
        before = first.drain()[0]
        second.restore(first.snapshot())
        for packet in packets[cut:]:
            second.feed(packet)
        second.finish(at(1000))
        assert repr(before + second.drain()[0]) == records, cut
        assert second.counters == whole.counters


def test_two_long_words_that_begin_alike_stay_two() -> None:
    calls = [Exchange("x" * 300 + end, phone(1), PBX, "101", "y" * 300 + end).talk(0, 2, 60) for end in ("a", "b")]
    told = track(in_order(*calls))
    assert len({leg.call_id for leg in told.legs}) == len({call.key for call in told.calls}) == 2
    assert max(len(leg.call_id) for leg in told.legs) == max(len(leg.dialled) for leg in told.legs) == 256
    assert [call.talk_ms for call in told.calls] == [58_000, 58_000]
