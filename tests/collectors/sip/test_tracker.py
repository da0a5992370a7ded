"""The tracker as a whole: state that can be cut anywhere, order that does not matter, nothing that raises."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.records import Record, Reject
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import (
    CARRIER,
    PBX,
    Exchange,
    at,
    in_order,
    phone,
    register,
    sdp,
    track,
)

END = at(100_000)
Out = tuple[list[Record], list[Reject]]


def scenario(seed: int) -> list[SipPacket]:
    """An office's traffic of some minutes, all kinds of calls over each other; a few packets lost, doubled or late."""
    chance = random.Random(seed)
    parts = [part for number in range(chance.randint(1, 6)) for part in _one(chance, number)]
    packets = in_order(*parts)
    for _ in range(chance.randint(0, 4)):
        where = chance.randrange(len(packets))
        if chance.random() < 0.5:
            packets.insert(where, packets[where])
        elif len(packets) > 1:
            del packets[where]
    return packets


def _one(chance: random.Random, number: int) -> list[list[SipPacket]]:
    start = chance.uniform(0, 90)
    caller, callee = (str(chance.randint(101, 105)) for _ in range(2))
    a = Exchange(f"a{number}", phone(int(caller)), PBX, caller, callee)
    b = Exchange(f"b{number}", PBX, phone(int(callee)), caller, callee)
    kind = chance.randrange(12)
    if kind == 0:
        return [a.talk(start, start + 4, start + 30), b.talk(start + 0.1, start + 3.9, start + 30)]
    if kind == 1:
        return [a.cancelled(start, start + 9), b.cancelled(start + 0.1, start + 9)]
    if kind == 2:
        return [a.refused(start, start + 2, chance.choice([401, 302, 486, 603]))]
    if kind == 3:
        return [register(start, caller, expires=chance.choice([0, 60, 600]), cseq=number + 1)]
    if kind == 4:
        return [
            [
                a.invite(start),
                a.accept(start + 1),
                a.ack(start + 1.1),
                a.request(start + 9, "UPDATE", 3, body=sdp("inactive")),
            ]
        ]
    if kind == 5:
        refer = b.request(start + 9, "REFER", 3, by="callee", headers=[("Refer-To", "<sip:104@x>")])
        c = Exchange(f"c{number}", PBX, phone(104), caller, "104")
        return [
            a.talk(start, start + 4, start + 60),
            b.talk(start + 0.1, start + 4, start + 11),
            [refer, b.answer(start + 9.1, 202, "3 REFER", by="caller")],
            c.talk(start + 9.2, start + 15, start + 60),
        ]
    if kind == 6:  # a call that was up before, on both sides
        return [
            [*_again(a, start, 5), a.bye(start + 30), a.bye_ok(start + 30.1)],
            [b.bye(start + 30), b.bye_ok(start + 31)],
        ]
    if kind == 7:  # redirected under another Call-ID
        moved = a.answer(start + 1, 302, headers=[("Contact", "<sip:104@10.0.2.4>")])
        c = Exchange(f"c{number}", phone(int(caller)), "10.0.2.4:5060", caller, "104")
        return [[*a.ring(start), moved, a.ack(start + 1.1)], c.talk(start + 1.5, start + 5, start + 9)]
    if kind == 8:  # dialled digit by digit, and held
        more = Exchange(f"a{number}", a.src, a.dst, caller, callee + "0", from_tag=a.from_tag)
        packets = [
            a.invite(start),
            a.answer(start + 0.1, 484),
            more.invite(start + 5, cseq=2),
            more.accept(start + 6, cseq=2),
        ]
        return [[*packets, *_again(more, start + 9, 3, sdp("sendonly")), more.bye(start + 20)]]
    if kind == 9:  # recorded
        headers = [("Require", "siprec"), ("Session-ID", "0" * 31 + "1")]
        r = Exchange(f"r{number}", PBX, "10.0.0.50:5060", "pbx", "recorder", headers=headers)
        body = sdp() + f'<nameID aor="sip:{caller}@x"/>application/rs-metadata'
        invite = r.invite(start + 1, body=body)
        return [
            a.talk(start, start + 4, start + 30),
            [invite, r.accept(start + 1.1), r.bye(start + 30), r.bye_ok(start + 30.1)],
        ]
    if kind == 10:  # a box that fills
        body = f"Voice-Message: {number}/0"
        return [[a.request(start, "NOTIFY", 5, headers=[("Event", "message-summary")], body=body)]]
    junk = bytes(chance.randrange(256) for _ in range(30))
    data = a.invite(start).payload
    return [
        [SipPacket(at(start), "udp", CARRIER, PBX, junk + data), SipPacket(at(start), "tcp", CARRIER, PBX, data[:200])],
        [SipPacket(at(start + 1), "tcp", CARRIER, PBX, data[200:])],
    ]


def _again(one: Exchange, seconds: float, cseq: int, body: str = "") -> list[SipPacket]:
    return [one.request(seconds, "INVITE", cseq, body=body or sdp()), one.accept(seconds + 0.1, cseq=cseq)]


def run(tracker: Tracker, packets: list[SipPacket]) -> Out:
    for packet in packets:
        tracker.feed(packet)
    return tracker.drain()


def end(tracker: Tracker) -> Out:
    tracker.tick(END)
    tracker.tick(END + 40_000_000)
    return tracker.drain()


seeds = st.integers(0, 10_000)


@settings(deadline=None)
@given(seeds, st.floats(0, 1))
def test_a_tracker_that_is_cut_anywhere_goes_on_as_if_nothing_had_been(seed: int, share: float) -> None:
    packets = scenario(seed)
    where = round(len(packets) * share)
    whole = Tracker()
    expected = [run(whole, packets[:where]), run(whole, packets[where:]), end(whole)]
    first, second = Tracker(), Tracker()
    got = [run(first, packets[:where])]
    second.restore(first.snapshot())
    got += [run(second, packets[where:]), end(second)]
    assert got == expected
    assert second.counters == whole.counters


@settings(deadline=None)
@given(seeds, st.floats(0, 1), st.floats(0, 1))
def test_what_was_fed_since_the_snapshot_gives_the_same_records_when_it_is_fed_again(
    seed: int, share: float, further: float
) -> None:
    packets = scenario(seed)
    where = round(len(packets) * share)
    upto = where + round((len(packets) - where) * further)
    tracker = Tracker()
    run(tracker, packets[:where])
    state = tracker.snapshot()
    before_crash = run(tracker, packets[where:upto])
    again = Tracker()
    again.restore(state)
    assert run(again, packets[where:upto]) == before_crash
    assert [run(again, packets[upto:]), end(again)] == [run(tracker, packets[upto:]), end(tracker)]


@settings(deadline=None)
@given(seeds)
def test_a_snapshot_of_what_was_restored_is_the_same_snapshot(seed: int) -> None:
    tracker, again = Tracker(), Tracker()
    run(tracker, scenario(seed))
    again.restore(tracker.snapshot())
    assert again.snapshot() == tracker.snapshot()


@settings(deadline=None)
@given(seeds, seeds)
def test_calls_that_have_nothing_to_do_with_each_other_may_come_in_any_order(seed: int, other: int) -> None:
    """Each call keeps its own order; how two of them mix is chance."""
    chance = random.Random(other)
    flows = [
        Exchange(f"x{n}", f"10.{n}.0.1:5060", f"10.{n}.0.2:5060", f"1{n}", f"2{n}").talk(n, n + 3, n + 20 + seed % 7)
        for n in range(5)
    ]
    apart = track(in_order(*flows))
    mixed: list[SipPacket] = []
    while any(flows):
        flow = chance.choice([flow for flow in flows if flow])
        mixed.append(flow.pop(0))
    together = track(mixed)
    assert sorted(map(repr, together.calls)) == sorted(map(repr, apart.calls))


@settings(deadline=None)
@given(seeds, st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=8)), min_size=1, max_size=6))
def test_no_mutation_of_any_message_raises_and_every_message_is_told_or_counted(
    seed: int, changes: list[tuple[int, bytes]]
) -> None:
    packets = []
    for packet in scenario(seed):
        data = packet.payload
        for place, octets in changes:
            data = data[:place] + octets + data[place + 1 :]
        packets.append(SipPacket(packet.at_us, packet.transport, packet.src, packet.dst, data))
    told = track(packets, end=None)
    counted = told.counters
    datagrams = sum(packet.transport == "udp" for packet in packets)
    handled = sum(counted.get(name, 0) for name in ("messages", "rejects", "keepalives", "not_sip"))
    assert handled >= datagrams
    assert len(told.rejects) == counted.get("rejects", 0)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["udp", "tcp"]), st.binary(max_size=200)), max_size=20))
def test_no_bytes_raise(payloads: list[tuple[str, bytes]]) -> None:
    track([SipPacket(at(n), transport, PBX, CARRIER, data) for n, (transport, data) in enumerate(payloads)], end=None)


def test_messages_of_a_stream_may_be_cut_over_packets_and_over_a_snapshot() -> None:
    exchange = Exchange("a", phone(101), PBX, "101", "102", transport="tcp")
    packets = []
    for packet in exchange.talk(0, 5, 65):
        half = len(packet.payload) // 2
        for part in (packet.payload[:half], packet.payload[half:]):
            packets.append(SipPacket(packet.at_us, "tcp", packet.src, packet.dst, part))
    assert track(packets).call.talk_ms == 60_000
    first, second = Tracker(), Tracker()
    run(first, packets[:5])
    second.restore(first.snapshot())
    run(second, packets[5:])
    assert len(end(second)[0]) == 1


def test_unfinished_streams_are_bounded_and_counted() -> None:
    data = Exchange("a", phone(101), PBX, "101", "102").invite(0).payload
    packets = [SipPacket(at(n), "tcp", f"10.0.1.1:{5000 + n}", PBX, data[:50]) for n in range(20)]
    told = track(packets, limits=Limits(streams=8), end=None)
    assert (told.counters["streams_evicted"], told.counters["stream_messages_lost"]) == (12, 8)


def test_bytes_that_are_no_state_are_refused() -> None:
    for state in (b"", b"junk", b"\x93\x01\x02\x03"):
        with pytest.raises(ValueError, match="state"):
            Tracker().restore(state)


def test_a_site_is_configuration_and_no_state() -> None:
    packets = Exchange("a", CARRIER, PBX, "+12125551234", "101").talk(0, 5, 65)
    first, second = Tracker(), Tracker(site=Site(trunks={"carrier": CARRIER}))
    run(first, packets[:4])
    second.restore(first.snapshot())
    run(second, packets[4:])
    [leg] = end(second)[0]
    assert getattr(leg, "trunk_in", "") == "carrier"


def test_ticks_alone_end_what_is_due() -> None:
    tracker = Tracker()
    run(tracker, Exchange("a", phone(101), PBX, "101", "102").talk(0, 5, 65))
    assert tracker.drain() == ([], [])
    tracker.tick(at(68.2))
    assert len(tracker.drain()[0]) == 1
    assert tracker.drain() == ([], [])


def test_rejects_beyond_the_limit_are_counted() -> None:
    bad = [SipPacket(at(n), "udp", PBX, CARRIER, b"INVITE sip:a@b SIP/2.0\r\n\r\n") for n in range(15)]
    told = track(bad, limits=Limits(rejects=10))
    assert (len(told.rejects), told.counters["rejects"], told.counters["rejects_dropped"]) == (10, 15, 5)
