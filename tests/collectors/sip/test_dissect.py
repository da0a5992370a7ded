"""The dissector as its users meet it: media handed on, duplicates told once, state kept over a restart."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.net.duplicates import WINDOW_US
from collectors.sip.dissect import Dissector, OnMedia
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from tests.collectors.net import wrap
from tests.collectors.net.wrap import LINKS, TRANSPORTS, TUNNELS, fragments, ipv4
from tests.collectors.sip.flows import PBX, Exchange, at, ethernet, frame_of, ip, phone, udp

CALL = Exchange("a", phone(101), PBX, "101", "102").talk(0, 5, 65)
RTP = b"\x80\x00\x00\x01" + bytes(168)
A, B = "10.0.1.101:16384", "10.0.0.10:16386"
A6, B6 = "[2001:db8::1]:16384", "[2001:db8::2]:16386"


class Media:
    """What was offered as media; it takes what `takes` says."""

    def __init__(self, takes: bool = True) -> None:
        self.takes = takes
        self.heard: list[tuple[int, bytes, bytes]] = []

    def __call__(self, at_us: int, flow_key: bytes, buffer: bytes, begin: int, end: int) -> bool:
        self.heard.append((at_us, flow_key, buffer[begin:end]))
        return self.takes


def datagram(src: str, dst: str, payload: bytes) -> bytes:
    return ip(src, dst, 17, udp(src, dst, payload))


@pytest.mark.parametrize("payload", [RTP, b"\x00\x01T.38", b"\x16\xfe\xfdDTLS"], ids=["RTP", "UDPTL", "DTLS"])
def test_what_is_no_sip_is_offered_as_media_with_its_flow_and_no_copy_of_its_frame(payload: bytes) -> None:
    media = Media()
    dissector = Dissector(on_media=media)
    padded = ethernet(datagram(A, B, payload), padding=20)
    assert dissector.feed(5, 1, padded) == []
    dissector.feed(6, 1, ethernet(datagram(A6, B6, payload), [(0x8100, 3)]))
    four = bytes((10, 0, 1, 101, 10, 0, 0, 10)) + struct.pack(">HH", 16384, 16386)
    six = bytes.fromhex("20010db8000000000000000000000001" + "20010db8000000000000000000000002") + four[-4:]
    assert media.heard == [(5, four, payload), (6, six, payload)]
    assert dissector.counters == {}


def test_a_run_of_frames_in_one_buffer_is_offered_where_it_lies() -> None:
    frame = ethernet(datagram(A, B, RTP))
    buffer, seen = b"head" + frame + b"tail", []

    def on_media(at_us: int, flow_key: bytes, data: bytes, begin: int, end: int) -> bool:
        seen.append((data is buffer, data[begin:end]))
        return True

    assert list(Dissector(on_media=on_media).packets([(1, 1, buffer, 4, 4 + len(frame))])) == []
    assert seen == [(True, RTP)]


@pytest.mark.parametrize("on_media", [None, Media(takes=False)])
def test_what_nobody_takes_is_counted(on_media: OnMedia | None) -> None:
    dissector = Dissector(on_media=on_media, dedup=False)
    for link, wrapped in LINKS.values():
        dissector.feed(1, link, wrapped(datagram(A, B, RTP)))
    assert dissector.counters == {"other_udp": len(LINKS)}


def test_keep_alives_go_on_from_a_sip_port_only_and_junk_is_no_error() -> None:
    media = Media(takes=False)
    dissector = Dissector(on_media=media)
    stun = b"\x00\x01\x00\x00\x21\x12\xa4\x42" + bytes(12)
    for payload in (b"\r\n\r\n", b"\0\0\0\0", b"hello", stun, b""):
        assert [one.payload for one in dissector.feed(1, 1, ethernet(datagram(phone(1), PBX, payload)))] == [payload]
        assert dissector.feed(1, 1, ethernet(datagram(A, B, payload))) == []
    assert dissector.feed(1, 1, ethernet(datagram(phone(1), PBX, b"some junk on the port of SIP"))) == []
    assert dissector.counters == {"other_udp": 6}


# --- frames held twice


def heard(dissector: Dissector, frames: list[tuple[int, bytes]], link: int = 1) -> list[bytes]:
    return [one.payload for at_us, frame in frames for one in dissector.feed(at_us, link, frame)]


def test_a_capture_of_the_loopback_or_of_all_interfaces_tells_each_datagram_once() -> None:
    for name in ("Linux cooked", "Linux cooked 2", "BSD loopback", "OpenBSD loopback"):
        link, wrapped = LINKS[name]
        frames = [(one, wrapped(packet)) for one, packet in wrap.over_udp(CALL) for _ in (0, 1)]
        dissector = Dissector()
        assert heard(dissector, frames, link) == [packet.payload for packet in CALL]
        assert dissector.counters == {"duplicate_frames": len(CALL)}
        assert len(heard(Dissector(dedup=False), frames, link)) == 2 * len(CALL)


@pytest.mark.parametrize("tags", [[], [(0x8100, 1)]], ids=["plain", "VLAN"])
def test_on_ethernet_only_where_it_is_asked_for_media_too(tags: list[tuple[int, int]]) -> None:
    media = Media()
    frames = [(one.at_us, ethernet(datagram(one.src, one.dst, one.payload), tags)) for one in CALL for _ in (0, 1)]
    frames += [(9, ethernet(datagram(A, B, RTP), tags))] * 2
    dissector = Dissector(on_media=media, dedup=True)
    assert heard(dissector, frames) == [packet.payload for packet in CALL]
    assert (len(media.heard), dissector.counters) == (1, {"duplicate_frames": len(CALL) + 1})
    assert len(heard(Dissector(), frames)) == 2 * len(CALL)


def test_a_mirror_that_shows_one_copy_with_its_tag_and_one_without() -> None:
    packet = datagram(phone(1), PBX, CALL[0].payload)
    dissector = Dissector(dedup=True)
    assert len(heard(dissector, [(1, ethernet(packet)), (2, ethernet(packet, [(0x8100, 5)]))])) == 1


def test_fragments_held_twice_leave_nothing_behind() -> None:
    pieces = fragments(next(wrap.over_udp(CALL))[1], [20, 40])
    dissector = Dissector(dedup=True)
    assert heard(dissector, [(1, ethernet(one)) for one in pieces for _ in (0, 1)]) == [CALL[0].payload]
    dissector.finish()
    assert dissector.counters["duplicate_frames"] == 3
    assert "fragmented_lost" not in dissector.counters


def test_a_retransmission_another_hop_and_another_identification_are_no_duplicates() -> None:
    payload, segment = CALL[0].payload, udp(phone(1), PBX, CALL[0].payload)
    first = ethernet(ipv4(phone(1), PBX, 17, segment, ident=1))
    dissector = Dissector(dedup=True)
    assert heard(dissector, [(0, first), (500_000, first), (500_000 + WINDOW_US, first)]) == [payload] * 2
    assert heard(dissector, [(700_000, first), (700_001 + WINDOW_US, first)]) == [payload] * 2
    other_id = ethernet(ipv4(phone(1), PBX, 17, segment, ident=2))
    other_hop = ethernet(ipv4(PBX, phone(2), 17, udp(PBX, phone(2), payload), ident=1))
    assert len(heard(dissector, [(900_000, first), (900_001, other_id), (900_002, other_hop)])) == 3


def test_the_marks_of_duplicates_are_bounded() -> None:
    dissector = Dissector(dedup=True)
    for number in range(1_000):
        dissector.feed(number * 1_000, 1, ethernet(datagram(A, B, RTP + number.to_bytes(4, "big"))))
    marks = dissector._layers._duplicates
    assert len(marks._new) + len(marks._old) <= 101


# --- state


def frames_of(data: st.DataObject) -> list[tuple[int, bytes]]:
    """Calls over every transport, in tunnels and fragments, side by side, some frames lost."""
    frames = []
    for number, transport in enumerate(TRANSPORTS):
        exchange = Exchange(transport, f"10.0.1.{number}:5060", PBX, "101", "102", transport=transport)
        tunnel = data.draw(st.sampled_from([None, *TUNNELS]))
        for at_us, packet in TRANSPORTS[transport](exchange.talk(number / 10, 5, 65)):
            made = TUNNELS[tunnel](packet) if tunnel else packet
            frames += [
                (at_us, ethernet(one)) for one in fragments(made, data.draw(st.sampled_from([[], [9], [5, 40]])))
            ]
    lost = data.draw(st.sets(st.integers(0, len(frames) - 1), max_size=5))
    return sorted((frame for at_, frame in enumerate(frames) if at_ not in lost), key=lambda frame: frame[0])


TIGHT = Limits(streams=3, stream_bytes=2_000, streams_bytes=1_500, fragmented=2, fragmented_bytes=1_000)
"""Everything is pushed out all the time."""


def told(dissector: Dissector, frames: list[tuple[int, bytes]]) -> list[SipPacket]:
    return [one for at_us, frame in frames for one in dissector.feed(at_us, 1, frame)]


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_restored_snapshot_changes_nothing_of_what_follows(data: st.DataObject) -> None:
    frames = frames_of(data)
    here = data.draw(st.integers(0, len(frames)))
    limits = data.draw(st.sampled_from([Limits(), TIGHT]))
    whole, first, second = Dissector(limits), Dissector(limits), Dissector(limits)
    expected = [*told(whole, frames), *whole.finish()]
    before = told(first, frames[:here])
    state = first.snapshot()
    second.restore(state)
    assert second.snapshot() == state
    assert [*before, *told(second, frames[here:]), *second.finish()] == expected


@pytest.mark.parametrize("state", [b"", b"\xc1", b"\x95\x63\x92\x80\x80\x80\x90\x80", Dissector().snapshot()[:-1]])
def test_bytes_that_are_no_snapshot_are_refused(state: bytes) -> None:
    with pytest.raises(ValueError, match="state"):
        Dissector().restore(state)


def test_frames_and_time_are_told() -> None:
    dissector = Dissector()
    for packet in CALL:
        dissector.feed(packet.at_us, 1, frame_of(packet))
    assert (dissector.frames, dissector.at_us) == (len(CALL), at(65.01))
