"""SIP in WebSocket: masked and fragmented frames, control frames between, any cut, joined in the midst."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.net.websocket import unmask
from collectors.sip.dissect import Dissector
from collectors.sip.limits import Limits
from collectors.sip.stream import SipStream, is_upgrade
from tests.collectors.net.wrap import ASKS, GRANTS, PING, over_websocket, ws_frame, ws_message
from tests.collectors.sip.flows import Exchange, ethernet, message, track

A, B = "10.0.1.101:40001", "10.0.0.10:443"
EXCHANGE = Exchange("a", A, B, "101", "102", transport="ws")
CALL = EXCHANGE.talk(0, 5, 65)
MESSAGES = [packet.payload for packet in CALL]
MASK = b"\x37\xfa\x21\x3d"


def stream() -> SipStream:
    return SipStream(Limits().message_bytes, from_start=True)


def fed(reader: SipStream, data: bytes, size: int) -> list[bytes]:
    return [found for at in range(0, len(data), size) for found in reader.feed(data[at : at + size])]


@pytest.mark.parametrize("size", [1, 3, 100, 1460, 65_000])
def test_a_call_over_websocket_is_the_call_itself(size: int) -> None:
    dissector = Dissector()
    found = [one for at_us, packet in over_websocket(CALL, size) for one in dissector.feed(at_us, 1, ethernet(packet))]
    assert found == CALL
    assert track(found).call.talk_ms == 60_000


@settings(deadline=None)
@given(st.data())
def test_any_framing_and_any_cut_gives_the_messages(data: st.DataObject) -> None:
    mask = data.draw(st.sampled_from([b"", MASK]))
    cuts = data.draw(st.lists(st.integers(1, 600), max_size=4))
    whole = (ASKS if mask else GRANTS) + b"".join(ws_message(one, cuts, mask) for one in MESSAGES)
    edges = sorted(data.draw(st.sets(st.integers(1, len(whole) - 1), max_size=12)))
    reader = stream()
    found = [one for a, b in zip([0, *edges], [*edges, len(whole)], strict=True) for one in reader.feed(whole[a:b])]
    assert found == MESSAGES
    assert reader.transport == "ws"


def test_lengths_of_seven_sixteen_and_sixty_four_bits() -> None:
    def options(size: int) -> bytes:
        head = [("Call-ID", "x"), ("CSeq", "1 OPTIONS"), ("From", "<sip:a@b>;tag=1"), ("To", "<sip:a@b>")]
        return message("OPTIONS sip:a SIP/2.0", head, "x" * size)

    short, middle, long = b"OPTIONS sip:a SIP/2.0\r\nCall-ID: x\r\n\r\n", options(5_000), options(70_000)
    reader = SipStream(100_000)
    assert fed(reader, GRANTS + b"".join(ws_frame(one) for one in (short, middle, long)), 999) == [short, middle, long]


@pytest.mark.parametrize("mask", [b"", MASK], ids=["from the server", "from the client"])
@pytest.mark.parametrize("size", [1, 10, 5000])
def test_a_connection_joined_in_its_midst_is_told_by_its_first_frame(mask: bytes, size: int) -> None:
    reader = SipStream(Limits().message_bytes)
    assert fed(reader, b"".join(ws_message(one, (), mask) for one in MESSAGES), size) == MESSAGES
    assert reader.transport == "ws"


def test_after_bytes_that_were_never_captured_the_next_frame_goes_on() -> None:
    reader = stream()
    first, second, third = (ws_message(one, [50], MASK) for one in MESSAGES[:3])
    assert reader.feed(ASKS + first) == MESSAGES[:1]
    assert reader.feed(second[:80]) == []
    reader.gap()
    assert reader.feed(second[100:]) == []
    assert reader.feed(third) == MESSAGES[2:3]
    assert reader.broken == 1


def test_keep_alives_in_frames_are_no_messages() -> None:
    reader = stream()
    assert reader.feed(GRANTS + ws_frame(b"\r\n\r\n") + PING + ws_frame(MESSAGES[0])) == MESSAGES[:1]


def test_a_message_beyond_the_limit_and_a_compressed_one_are_given_up_and_counted() -> None:
    reader = SipStream(1_000, from_start=True)
    assert reader.feed(GRANTS + ws_frame(MESSAGES[0])) == MESSAGES[:1]
    assert reader.feed(ws_frame(bytes(3_000))) == []
    assert reader.feed(ws_frame(MESSAGES[1])) == MESSAGES[1:2]
    compressed = bytes([ws_frame(MESSAGES[2])[0] | 0x40]) + ws_frame(MESSAGES[2])[1:]
    assert reader.feed(compressed + ws_frame(MESSAGES[3])) == MESSAGES[3:4]
    assert reader.broken == 1


def test_a_message_without_a_length_of_its_own_keeps_its_body() -> None:
    packets = [
        type(one)(one.at_us, one.transport, one.src, one.dst, one.payload.replace(b"Content-Length", b"X-Length"))
        for one in CALL
    ]
    dissector = Dissector()
    found = [one for at_us, data in over_websocket(packets) for one in dissector.feed(at_us, 1, ethernet(data))]
    assert found == packets
    assert track(found).call.talk_ms == 60_000


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (ASKS, True),
        (GRANTS, True),
        (GRANTS.replace(b"Sec-WebSocket-Protocol: sip\r\n", b""), True),
        (ASKS.replace(b": sip", b": msrp, sip"), True),
        (ASKS.replace(b": sip", b": chat"), False),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", False),
    ],
)
def test_an_upgrade_is_told_by_its_head(head: bytes, told: bool) -> None:
    assert is_upgrade(head) == told
    reader = stream()
    assert bool(reader.feed(head + ws_frame(MESSAGES[0]))) == told
    assert bool(reader.other) != told


def test_a_websocket_that_carries_something_else_is_left_alone() -> None:
    reader = stream()
    upgrade = GRANTS.replace(b"Sec-WebSocket-Protocol: sip\r\n", b"")
    assert reader.feed(upgrade + ws_frame(b'{"jsonrpc":"2.0"}') + ws_frame(MESSAGES[0])) == []
    assert reader.other == "tcp_other_streams"


@given(st.binary(max_size=50))
def test_masking_twice_is_nothing(data: bytes) -> None:
    assert unmask(unmask(data, MASK), MASK) == data


@settings(deadline=None)
@given(st.lists(st.binary(max_size=60), max_size=8), st.sampled_from([b"", GRANTS, ASKS, ws_frame(MESSAGES[0])]))
def test_no_bytes_raise(parts: list[bytes], head: bytes) -> None:
    reader = stream()
    for part in (head, *parts):
        reader.feed(part)
    reader.gap()
    reader.feed(MESSAGES[0])
