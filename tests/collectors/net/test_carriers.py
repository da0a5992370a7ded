"""The same call, whatever carries it: every link layer, tunnel, fragmentation and transport gives the same messages."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.sip.dissect import Dissector
from collectors.sip.packets import SipPacket
from tests.collectors.net import wrap
from tests.collectors.net.wrap import LINKS, TRANSPORTS, TUNNELS, every, fragments
from tests.collectors.sip.flows import PBX, Exchange, ethernet, phone, sdp, track

ENDS = {"IPv4": (phone(101), PBX), "IPv6": ("[2001:db8::1]:5060", "[2001:db8::2]:5060")}


def call(transport: str = "udp", family: str = "IPv4") -> list[SipPacket]:
    src, dst = ENDS[family]
    return Exchange("a", src, dst, "101", "102", transport=transport).talk(0, 5, 65)


def carried(packets: list[SipPacket], transport: str, *tunnels: str, cuts: range = every(100_000)) -> list[SipPacket]:
    """The messages read where each IP packet, in its tunnels, is cut into fragments."""
    dissector = Dissector()
    found = []
    for at_us, packet in TRANSPORTS[transport](packets):
        for tunnel in tunnels:
            packet = TUNNELS[tunnel](packet)
        for fragment in fragments(packet, cuts):
            found += dissector.feed(at_us, 1, ethernet(fragment))
    assert dissector.finish() == []
    assert dissector.counters.get("other_udp", 0) == 0
    assert "fragmented_lost" not in dissector.counters
    return found


@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("link", LINKS)
def test_every_link_layer_gives_the_same_call(link: str, family: str) -> None:
    number, wrapped = LINKS[link]
    dissector = Dissector()
    packets = call("udp", family)
    found = [one for at_us, packet in wrap.over_udp(packets) for one in dissector.feed(at_us, number, wrapped(packet))]
    assert found == packets
    assert track(found).call.talk_ms == 60_000


@pytest.mark.parametrize("cuts", [every(100_000), every(576), every(8)], ids=["whole", "fragments", "octets"])
@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_gives_the_same_call_in_fragments_too(transport: str, family: str, cuts: range) -> None:
    packets = call(transport, family)
    assert carried(packets, transport, cuts=cuts) == packets


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("family", ENDS)
@pytest.mark.parametrize("tunnel", TUNNELS)
def test_every_tunnel_gives_the_same_call_in_fragments_too(tunnel: str, family: str, transport: str) -> None:
    packets = call(transport, family)
    assert carried(packets, transport, tunnel) == packets
    assert carried(packets, transport, tunnel, cuts=every(200)) == packets


def test_the_legs_are_those_of_the_call_itself() -> None:
    packets = call()
    assert track(carried(packets, "udp", "GTP-U", "ERSPAN II", cuts=every(160))).legs == track(packets).legs


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_tunnels_in_tunnels_with_fragments_between_in_any_order_give_the_same_call(data: st.DataObject) -> None:
    transport = data.draw(st.sampled_from(list(TRANSPORTS)))
    packets = call(transport, data.draw(st.sampled_from(list(ENDS))))
    tunnels = data.draw(st.lists(st.sampled_from(list(TUNNELS)), max_size=3))
    cuts = data.draw(st.lists(st.integers(1, 200), max_size=5))
    link, wrapped = LINKS[data.draw(st.sampled_from(list(LINKS)))]
    dissector, found = Dissector(dedup=False), []
    for at_us, packet in TRANSPORTS[transport](packets):
        pieces = fragments(packet, cuts)
        for tunnel in tunnels:
            pieces = [part for one in pieces for part in fragments(TUNNELS[tunnel](one), cuts)]
        pieces = data.draw(st.permutations(pieces)) if len(pieces) < 20 else pieces[::-1]
        found += [message for one in pieces for message in dissector.feed(at_us, link, wrapped(one))]
    assert found == packets


@pytest.mark.parametrize("transport", ["tcp", "sctp", "ws"])
def test_a_message_with_a_body_of_64_kilobytes_is_whole(transport: str) -> None:
    exchange = Exchange("a", *ENDS["IPv4"], "101", "102", transport=transport)
    packets = [exchange.invite(0, body=sdp(more="a=x:" + "y" * 65_400 + "\r\n")), exchange.bye(1)]
    assert len(packets[0].payload) > 65_536
    assert carried(packets, transport) == packets
    assert track(packets).counters["messages"] == 2


def test_a_frame_that_nests_for_ever_ends() -> None:
    _, packet = next(wrap.over_udp(call()))
    for _ in range(40):
        packet = TUNNELS["4 in 4, 6 in 4"](packet)
    dissector = Dissector()
    assert dissector.feed(1, 1, ethernet(packet)) == []
    assert dissector.counters["too_deep"] == 1
    assert dissector.feed(1, 1, ethernet(call()[0].payload, [(0x8100, 1)] * 60)) == []


def test_what_a_tunnel_cannot_be_read_of_is_counted() -> None:
    inner = next(wrap.over_udp(call()))[1]
    source_route = wrap.ipv4(wrap.NEAR, wrap.FAR, 47, b"\x40\0\x08\0" + bytes(8) + inner)
    other_version = wrap.ipv4(wrap.NEAR, wrap.FAR, 47, b"\x20\x02\x08\0" + bytes(4) + inner)
    endless = wrap._udp(2152, b"\x34\xff" + bytes(9) + b"\x85" + bytes(40))
    dissector = Dissector()
    for packet in (source_route, other_version, endless):
        assert dissector.feed(1, 1, ethernet(packet)) == []
    assert (dissector.counters["gre"], dissector.counters["bad_tunnel"]) == (2, 1)


def test_a_tunnels_port_is_nobodys_property() -> None:
    packets = Exchange("a", "10.0.1.1:2152", "10.0.0.10:4789", "101", "102").talk(0, 1, 2)
    assert carried(packets, "udp") == packets


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_no_frame_raises_whatever_its_octets(data: st.DataObject) -> None:
    link, wrapped = LINKS[data.draw(st.sampled_from(list(LINKS)))]
    packet = next(TRANSPORTS[data.draw(st.sampled_from(list(TRANSPORTS)))](call()))[1]
    for tunnel in data.draw(st.lists(st.sampled_from(list(TUNNELS)), max_size=2)):
        packet = TUNNELS[tunnel](packet)
    frame = bytearray(wrapped(packet))
    for at, octet in data.draw(st.lists(st.tuples(st.integers(0, 150), st.integers(0, 255)), max_size=6)):
        if at < len(frame):
            frame[at] = octet
    dissector = Dissector()
    dissector.feed(1, link, bytes(frame[: data.draw(st.integers(0, len(frame)))]))
    dissector.finish()
