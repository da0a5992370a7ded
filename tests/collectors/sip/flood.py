"""A flood beside calls that are known: `python -m tests.collectors.sip.flood KIND COUNT` runs one, and prints what came of it.

A process of its own, so that its memory is the flood's. 200 calls talk meanwhile: half of them began before, half begin in
its midst. Everything is made as it is fed, so that nothing but the tracker keeps anything.
"""

import heapq
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from socket import inet_ntoa

from collectors.hep.stream import HepStream
from collectors.sip.dissect import Dissector
from collectors.sip.leg import SipLeg
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from tests.collectors.hep import packets as hep
from tests.collectors.net import wrap
from tests.collectors.sip.flows import PBX, Exchange, at, ethernet, ip, phone, split_address, tcp, udp

KNOWN = 200
FLOOD_FROM_S, FLOOD_S = 20.0, 100.0
"""A million packets are 10,000 a second."""
TALK_MS = 61_234

INVITE = (
    b"INVITE sip:%d@10.0.0.10 SIP/2.0\r\nVia: SIP/2.0/UDP %b;branch=z9hG4bK%d\r\nMax-Forwards: 70\r\n"
    b"From: <sip:%d@198.51.100.9>;tag=%d\r\nTo: <sip:%d@10.0.0.10>\r\nCall-ID: %d@198.51.100.9\r\nCSeq: 1 INVITE\r\n"
    b"Contact: <sip:%d@198.51.100.9>\r\nUser-Agent: x\r\nContent-Length: 0\r\n\r\n"
)
REGISTER = (
    b"REGISTER sip:10.0.0.10 SIP/2.0\r\nVia: SIP/2.0/UDP %b;branch=z9hG4bK%d\r\nMax-Forwards: 70\r\n"
    b"From: <sip:%d@10.0.0.10>;tag=%d\r\nTo: <sip:%d@10.0.0.10>\r\nCall-ID: %d@198.51.100.9\r\nCSeq: 1 REGISTER\r\n"
    b"Contact: <sip:%d@198.51.100.9>\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
)
GRANTED = (
    b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP %b;branch=z9hG4bK%d\r\nFrom: <sip:%d@10.0.0.10>;tag=%d\r\n"
    b"To: <sip:%d@10.0.0.10>;tag=p\r\nCall-ID: %d@198.51.100.9\r\nCSeq: 1 REGISTER\r\n"
    b"Contact: <sip:%d@198.51.100.9>;expires=3600\r\nContent-Length: 0\r\n\r\n"
)
WITHIN = (
    b"%b sip:101@10.0.0.10 SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.1.1;branch=z9hG4bK%d\r\nFrom: <sip:100@office.example>;tag=fk0\r\n"
    b"To: <sip:200@office.example>;tag=tk0\r\nCall-ID: k0\r\nCSeq: %d %b\r\nContent-Length: 0\r\n\r\n"
)
RINGING = (
    b"SIP/2.0 180 Ringing\r\nVia: SIP/2.0/UDP 10.0.1.1;branch=z9hG4bK1\r\nFrom: <sip:1@office.example>;tag=fk%d\r\n"
    b"To: <sip:2@office.example>;tag=x%d\r\nCall-ID: k%d\r\nCSeq: 1 INVITE\r\nContact: <sip:%d@10.0.0.10>\r\n"
    b"Content-Length: 0\r\n\r\n"
)


def _source(number: int) -> tuple[str, bytes]:
    text = f"198.{18 + (number >> 16) % 2}.{number >> 8 & 255}.{number & 255}:5060"
    return text, text.encode()


def invites(number: int) -> tuple[str, str, str, bytes]:
    text, source = _source(number)
    return "udp", text, PBX, INVITE % (number, source, number, number, number, number, number, number)


def registers(number: int) -> tuple[str, str, str, bytes]:
    """Half of them are granted: a million contacts."""
    text, source = _source(number // 2)
    words = (source, *[number // 2] * 6)
    return ("udp", PBX, text, GRANTED % words) if number % 2 else ("udp", text, PBX, REGISTER % words)


def streams(number: int) -> tuple[str, str, str, bytes]:
    """Beginnings of messages, 60 kB each, each of a connection of its own."""
    text, source = _source(number)
    return "tcp", text, PBX, (INVITE % (number, source, *[number] * 6))[:-2] + b"X-Pad: " + bytes(60_000)


def within(number: int) -> tuple[str, str, str, bytes]:
    """Requests in a call that talks, none of them answered."""
    method = (b"UPDATE", b"INVITE", b"INFO", b"REFER")[number % 4]
    return "udp", phone(0), PBX, WITHIN % (method, number, number + 2, method)


def tags(number: int) -> tuple[str, str, str, bytes]:
    """Early answers of ever more branches to the known calls, with the tags of none."""
    call = KNOWN // 2 + number % (KNOWN // 2)
    return "udp", PBX, phone(call), RINGING % (call, number, call, number)


def alike(number: int) -> tuple[str, str, str, bytes]:
    """One caller's attempts to reach one number, which the phone system passes on, each with a Call-ID of its own."""
    text, source = _source(number // 2)
    told = 7, source, number, 7, number, 7, number, 7
    return ("udp", PBX, phone(250), INVITE % told) if number % 2 else ("udp", text, PBX, INVITE % told)


def long(number: int) -> tuple[str, str, str, bytes]:
    """64 kB in each INVITE: what is kept of it must not be."""
    text, source = _source(number)
    data = INVITE % (number, source, *[number] * 6)
    return "udp", text, PBX, data.replace(b"User-Agent: x", b"User-Agent: " + b"x" * 64_000)


KINDS: dict[str, Callable[[int], tuple[str, str, str, bytes]]] = {
    **{one.__name__: one for one in (invites, registers, streams, within, tags, alike, long)},
    "hep": invites,
}


# --- frames that are never whole


def fragments(number: int) -> bytes:
    """The first piece of a datagram whose second never comes."""
    text, source = _source(number)
    data = INVITE % (number, source, *[number] * 6)
    return ethernet(wrap.piece(wrap.ipv4(text, PBX, 17, udp(text, PBX, data)), 0, data[:200], True, number))


def segments(number: int) -> bytes:
    """A segment behind a gap, each on a connection of its own."""
    text, source = _source(number)
    data = INVITE % (number, source, *[number] * 6)
    opened = number % 2
    return ethernet(ip(text, PBX, 6, tcp(text, PBX, 5_000 * opened, data * opened, 0x18 if opened else 0x02)))


FRAMES: dict[str, Callable[[int], bytes]] = {one.__name__: one for one in (fragments, segments)}


def known() -> Iterator[SipPacket]:
    calls: list[Iterable[SipPacket]] = []
    for number in range(KNOWN):
        start = number / 20 if number < KNOWN // 2 else FLOOD_FROM_S + number / 10
        exchange = Exchange(f"k{number}", phone(number), PBX, str(100 + number), str(400 + number))
        calls.append(exchange.talk(start, start + 6, start + 6 + TALK_MS / 1000))
    return heapq.merge(*calls, key=lambda packet: packet.at_us)


def flood(kind: str, count: int) -> Iterator[SipPacket]:
    make = KINDS[kind]
    start_us, step_us = at(FLOOD_FROM_S), FLOOD_S * 1e6 / count
    for number in range(count):
        yield SipPacket(start_us + int(number * step_us), *make(number))


def in_hep(packet: SipPacket) -> bytes:
    """As an agent beside the phone system reports it."""
    (source, sport), (target, dport) = split_address(packet.src), split_address(packet.dst)
    heard_at = hep.at(*divmod(packet.at_us, 1_000_000))
    ends = hep.ends4(inet_ntoa(source), inet_ntoa(target), sport, dport)
    return hep.hep3(ends, heard_at, hep.chunk(11, b"\1"), hep.chunk(12, bytes(4)), hep.chunk(15, packet.payload))


def captured(dissector: Dissector, kind: str, count: int) -> Iterator[SipPacket]:
    """What a dissector makes of a flood of frames: it counts what it has to let go."""
    for number in range(count):
        at_us = at(FLOOD_FROM_S) + int(number * FLOOD_S * 1e6 / count)
        yield from dissector.feed(at_us, 1, FRAMES[kind](number))
    yield from dissector.finish()


def run(kind: str, count: int) -> dict[str, int]:
    tracker, dissector = Tracker(), Dissector()
    right = last_us = calls = 0
    attack = captured(dissector, kind, count) if kind in FRAMES else flood(kind, count)
    packets = heapq.merge(known(), attack, key=lambda packet: packet.at_us)
    reported = HepStream(tracker)
    for seen, packet in enumerate(packets):
        if kind == "hep":
            reported.packet(in_hep(packet), packet.at_us, "")
        else:
            tracker.feed(packet)
        if seen % 4096 == 0:
            right, calls = _count(tracker, right, calls)
        last_us = packet.at_us
    tracker.finish(last_us + 10_000_000)
    right, calls = _count(tracker, right, calls)
    return {**dissector.counters, **tracker.counters, "right": right, "calls": calls}


def _count(tracker: Tracker, right: int, calls: int) -> tuple[int, int]:
    """Known calls that ended as they did: by their BYE, after the time that they talked. And all calls."""
    for record in tracker.drain()[0]:
        if isinstance(record, SipLeg):
            calls += not record.index
            if (
                record.call_id[0] == "k"
                and record.ending == "confirmed"
                and record.answered_at_ms
                and not record.forked
            ):
                right += record.ended_at_ms - record.answered_at_ms == TALK_MS
    return right, calls


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))
