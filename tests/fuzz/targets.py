"""The decoders, each as a function of bytes with its declared exceptions caught, and what to begin from.

A new decoder is a line in `TARGETS`. Where a target takes several packets, the first octets say how its bytes are cut.
"""

import io
import json
import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import cache, partial

from collectors.hep import quality
from collectors.hep.stream import HepStream
from collectors.io.origin import CHUNK, Origin
from collectors.net.bounds import Bounds
from collectors.net.frames import CaptureError, frames
from collectors.net.sctp import Associations
from collectors.net.websocket import WebSocket
from collectors.sip.address import address_problem, bare, listed, read_address, tag, uri_of, user
from collectors.sip.capture import CaptureReader
from collectors.sip.framing import Framer
from collectors.sip.limits import Limits
from collectors.sip.media import description, rtcp, rtp_stat, vq
from collectors.sip.media.t38 import Fax, Side, take
from collectors.sip.message import Malformed, parse
from collectors.sip.packets import SipPacket, is_keepalive, looks_like_sip
from collectors.sip.replaces import read_replaces, refer_target
from collectors.sip.sdp import held, media
from collectors.sip.tracker import Tracker
from collectors.syslog.stream import SyslogStream
from tests.collectors.hep import packets as hep_packets
from tests.collectors.net import wrap
from tests.collectors.sip import flows
from tests.collectors.sip.flows import PBX, START_US, Exchange, at, phone
from tests.collectors.sip.ways import agree
from tests.collectors.syslog import logs
from tests.fuzz.target import Target

HEADERS = (
    *(
        b"Call-ID: ",
        b"CSeq: ",
        b"Via: ",
        b"Contact: ",
        b"Content-Length: ",
        b"\r\nl: 9",
        b"\r\nm: <",
        b"\r\ni: ",
        b"\r\nt: <",
    ),
    *(
        b"Expires: ",
        b"Record-Route: ",
        b"Replaces: ",
        b"Refer-To: ",
        b"Session-ID: ",
        b"Diversion: ",
        b"History-Info: ",
    ),
    *(b"P-Asserted-Identity: ", b"Identity: ", b"Reason: ", b"Session-Expires: ", b"SIP/2.0", b"INVITE ", b"REGISTER "),
    *(b";tag=", b";expires=", b"sip:", b"tel:", b"sips:", b"a=sendonly", b"m=audio ", b"c=IN IP4 ", b"boundary="),
)


# --- seeds


@cache
def _talk() -> tuple[SipPacket, ...]:
    """Calls of several kinds, a registration, a transfer."""
    one = Exchange("a", phone(101), PBX, "101", "102")
    two = Exchange(
        "b", PBX, phone(102), "101", "102", headers=[("P-Asserted-Identity", '"Bob" <sip:101@x>, <tel:+12125550101>')]
    )
    told = ("Session-Expires", "1800;refresher=uac")
    more = [
        one.invite(
            1, headers=[told, ("Identity", "eyJhbGciOiJFUzI1NiJ9.eyJhdHRlc3QiOiJBIn0.c2ln;info=<https://x>;ppt=shaken")]
        ),
        one.request(20, "REFER", 3, headers=[("Refer-To", "<sip:103@x?Replaces=b%3Bto-tag%3Dtb%3Bfrom-tag%3Dfb>")]),
        one.answer(20.1, 202, "3 REFER"),
        one.request(21, "INVITE", 4, body=flows.sdp("sendonly", "m=image 5000 udptl t38\r\na=T38FaxVersion:0\r\n")),
        one.request(22, "MESSAGE", 5, body="hello"),
        one.request(22, "SUBSCRIBE", 6, headers=[("Event", "dialog;id=7"), ("Expires", "600")]),
        two.answer(23, 302, headers=[("Contact", "<sip:105@x>;q=0.5"), ("Diversion", "<sip:102@x>;reason=user-busy")]),
        two.answer(
            24,
            486,
            headers=[("Reason", 'Q.850;cause=17;text="busy"'), ("History-Info", "<sip:1@x?Reason=SIP>;index=1")],
        ),
    ]
    packets = [
        *one.talk(0, 4, 60),
        *two.cancelled(0.1, 9),
        *flows.register(5, "101", contact='<sip:101@h>;+sip.instance="<u>"'),
    ]
    return (*packets, *more)


@cache
def messages() -> Sequence[bytes]:
    folded = b"SIP/2.0 200 OK\r\nv: a\r\n b\r\nf: A <sip:a@b>;tag=1\r\nt: sip:c@d\r\ni: x\r\nCSeq: 1\r\n\tBYE\r\nl: 0\r\n\r\n"
    return [*(packet.payload for packet in _talk()), folded, b"\r\n\r\n", b"\0" * 4]


@cache
def _frames() -> Sequence[flows.Timed]:
    datagrams = [(packet.at_us, flows.frame_of(packet)) for packet in _talk()]
    first = _talk()[0]
    segment = flows.tcp(first.src, first.dst, 1000, first.payload)
    return [
        *datagrams[:6],
        (START_US, flows.ethernet(flows.ip(first.src, first.dst, 6, segment), [(0x8100, 5)])),
        (
            START_US,
            flows.ethernet(
                flows.ip(
                    "[2001:db8::1]:5060", "[2001:db8::2]:5060", 17, flows.udp("[2001:db8::1]:5060", PBX, first.payload)
                )
            ),
        ),
    ]


@cache
def _captures() -> Sequence[bytes]:
    return [
        flows.pcap(_frames()),
        flows.pcap(_frames()[:2], order=">", nanoseconds=True),
        flows.pcapng(_frames()),
        flows.pcapng(_frames()[:3], order=">"),
        flows.pcap([(START_US, frame[14:]) for _, frame in _frames()[:2]], link=101),
        *(flows.pcap(_ethernet(carried)) for carried in _carried()),
        flows.pcap(
            _ethernet(
                (at_us, piece) for at_us, ip in wrap.over_udp(_talk()[:2]) for piece in wrap.fragments(ip, (20, 50))
            )
        ),
    ]


def _carried() -> Sequence[wrap.Carried]:
    packets = _talk()[:4]
    return [wrap.over_tcp(packets, 300), wrap.over_sctp(packets), wrap.over_websocket(packets)]


def _ethernet(carried: Iterable[flows.Timed]) -> list[flows.Timed]:
    return [(at_us, flows.ethernet(ip)) for at_us, ip in carried]


@cache
def _wrapped() -> Sequence[bytes]:
    """One message in each link layer and tunnel."""
    [(_, packet)] = wrap.over_udp(_talk()[:1])
    tunnels = [flows.ethernet(tunnel(packet)) for tunnel in wrap.TUNNELS.values()]
    return [*tunnels, *(link(packet) for _, link in wrap.LINKS.values())]


@cache
def _heps() -> Sequence[bytes]:
    invite = messages()[0]
    return [hep_packets.sip(invite), hep_packets.sip(messages()[1], key=b"secret"), hep_packets.OPTIONS]


RTCP_JSON = json.dumps(
    {
        "sender_information": {"ntp_timestamp_sec": 3970000000, "packets": 500, "octets": 80000},
        "ssrc": 305419896,
        "type": 200,
        "report_count": 1,
        "report_blocks": [
            {
                "source_ssrc": 2,
                "fraction_lost": 3,
                "packets_lost": 4,
                "highest_seq_no": 9,
                "ia_jitter": 5,
                "lsr": 6,
                "dlsr": 7,
            }
        ],
        "report_blocks_xr": {"type": 7, "id": 1, "round_trip_delay": 20},
    }
).encode()
VQ = (
    b"VQSessionReport: CallTerm\r\nCallID: a@b\r\nLocalID: <sip:101@x>\r\nRemoteID: <sip:102@x>\r\nLocalAddr: IP=10.0.1.1 "
    b"PORT=4000 SSRC=0x1234\r\nRemoteAddr: IP=10.0.0.10 PORT=5000 SSRC=0x78\r\nLocalMetrics:\r\nPacketLoss: NLR=1.5 JDR=0.1\r\n"
    b"Delay: RTD=20 ESD=40 IAJ=3\r\nQualityEst: MOSLQ=4.1 MOSCQ=4.0 RCQ=88\r\nRemoteMetrics:\r\nPacketLoss: NLR=0.5\r\n"
)
DESCRIPTION = (
    b"v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1/127/3\r\nt=0 0\r\na=group:BUNDLE a b\r\n"
    b"m=audio 16384/2 RTP/SAVPF 0 8 101\r\na=mid:a\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=ptime:20\r\n"
    b"a=rtcp:16385 IN IP4 10.0.1.1\r\na=rtcp-mux\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:a\r\n"
    b"a=candidate:1 1 udp 1 10.0.0.1 4000 typ host\r\nm=image 5000 udptl t38\r\nc=IN IP6 2001:db8::1\r\na=T38FaxVersion:0\r\n"
)
RTP = struct.pack(">BBHII", 0x80, 0, 1, 160, 7) + bytes(160)
DIGIT = struct.pack(">BBHIIBBH", 0x80, 0x80 | 101, 2, 320, 7, 5, 0x80 | 10, 800)
SENDER_REPORT = struct.pack(">BBHIQIII", 0x81, 200, 12, 7, 1 << 40, 160, 1, 160) + struct.pack(
    ">IIIIII", 9, 5, 9, 8, 7, 6
)
EXTENDED = struct.pack(">BBHIBBHI", 0x80, 207, 10, 7, 7, 0, 8, 9) + bytes(28)
UDPTL = b"\0\1\x06\xc0\x01\x80\0\0\xff\0\1\3\0\0\0"
RTP_STAT = b"PS=500,OS=80000;PR=490,OR=78400;PL=22,33;JI=5,7;DL=10,20;IP=10.0.1.1:4000,10.0.0.10:5000;CS=1"


# --- what is run


def _pieces(data: bytes) -> list[bytes]:
    """Cut where the first octet says, in 64 pieces at most."""
    size = max(1, (data[0] if data else 1) * 4, len(data) // 64)
    return [data[at : at + size] for at in range(1, len(data), size)]


def _message(data: bytes) -> None:
    looks_like_sip(data)
    is_keepalive(data)
    with suppress(Malformed):
        message = parse(data)
        assert message.call_id
        for name in message.first:
            for value in listed(message.values(name))[:64]:
                _address(value)
        read_replaces(message.get(b"Replaces"))
        refer_target(message.get(b"Refer-To"))


def _address(value: bytes) -> None:
    address_problem(value)
    user(uri_of(value))
    bare(read_address(value).uri)
    tag(value)


def _sdp(body: bytes) -> None:
    media(body)
    held(body)


def _capture(data: bytes) -> None:
    with suppress(CaptureError):
        for _ in frames(io.BytesIO(data)):
            pass
    with suppress(CaptureError):
        for _ in CaptureReader(io.BytesIO(data), SMALL):
            pass


def _frame(data: bytes) -> None:
    """Frames of every link type, three in a row: a stream's second segment may hold the rest of a message."""
    third = max(1, len(data) // 3)
    for link in (0, 1, 12, 101, 113, 197, 276):
        file = flows.pcap([(START_US, data), (START_US, data[third:]), (START_US, data)], link)
        for packet in CaptureReader(io.BytesIO(file), SMALL):
            assert packet.transport


def _stream(data: bytes) -> None:
    framer, limit = Framer(4096), 4096
    for piece in _pieces(data):
        framer.feed(piece)
        assert len(framer.rest) <= limit
    framer.gap()


def _websocket(data: bytes) -> None:
    reader = WebSocket(4096)
    for piece in _pieces(data):
        reader.feed(piece)
    reader.gap()
    reader.feed(data)


def _sctp(data: bytes) -> None:
    """Two directions; the second holds the same chunks in another order."""
    reader = Associations(Bounds(streams=2, stream_bytes=2_000, streams_bytes=3_000), Counter())
    pieces = _pieces(data)
    for flow, order in ((b"a", pieces), (b"b", pieces[::-1])):
        for piece in order:
            reader.packet(flow, data[:12] + piece)
    reader.finish()


def _media(data: bytes) -> None:
    """The bytes as datagrams to where both ends of a call await media."""
    tracker = Tracker(SMALL, media="rtp")
    packets = Exchange("a", phone(101), PBX, "101", "102").talk(0, 4, 60)
    for packet in packets[:5]:
        tracker.feed(packet)
    assert tracker.media is not None
    for number, piece in enumerate((data, *_pieces(data), data)):
        for flow in (FLOW, FLOW[4:8] + FLOW[:4] + FLOW[10:] + FLOW[8:10]):
            tracker.media(at(5) + number * 20_000, flow, b"head" + piece, 4, 4 + len(piece))
    state = tracker.snapshot()
    again = Tracker(SMALL, media="rtp")
    again.restore(state)
    assert again.snapshot() == state
    for one in (tracker, again):
        one.feed(packets[5])
        one.finish(at(20_000))
    assert tracker.drain() == again.drain()


FLOW = bytes((10, 0, 0, 10, 10, 0, 1, 1)) + struct.pack(">HH", 4000, 16384)


def _rtcp(data: bytes) -> None:
    rtcp.is_rtcp(data, 0, len(data))
    rtcp.read(START_US, data)


def _t38(data: bytes) -> None:
    for version in (0, 1):
        fax = Fax(Side(), Side(), version)
        for number, piece in enumerate((data, *_pieces(data))):
            take(fax, bool(number % 2), piece)


def _hep(data: bytes) -> None:
    """As a datagram, and as what two connections bring in pieces."""
    for key in (b"", b"secret"):
        stream = HepStream(Tracker(SMALL), key)
        stream.packet(data, START_US, "byte 0")
        for number, piece in enumerate(_pieces(data)):
            stream.feed(Origin(CHUNK, "10.0.1.1", 9060, number % 2), piece, START_US + number, "byte 0")
        stream.to_cut()
        stream.finish()
        stream.drain()


def _syslog(data: bytes) -> None:
    """Each line as a text of one device, then all as what a connection brings in pieces."""
    stream = SyslogStream(Tracker(SMALL))
    for number, line in enumerate(data.split(b"\n")[:16]):
        stream.text("10.0.1.1", line, START_US + number, "line 0")
    for number, piece in enumerate(_pieces(data)):
        stream.feed(Origin(CHUNK, "10.0.1.1", 514, number % 2), piece, START_US + number, "byte 0")
    state = stream.snapshot()
    again = SyslogStream(Tracker(SMALL))
    again.restore(state)
    assert again.snapshot() == state
    stream.finish()
    stream.drain()


def _syslogs() -> Sequence[bytes]:
    texts = [b"\n".join(form(*logs.CALL[0])) for form in (make() for make in logs.MAKES.values())]
    return [*texts, b"".join(b"%d %b" % (len(text), text) for text in texts)]


def _quality(payload: bytes) -> None:
    quality.reports(payload, START_US, PBX, phone(1), b"a")


SMALL = Limits(calls=8, legs_per_call=4, transactions=8, bindings=8, streams=4, rejects=8)


def _tracker(data: bytes, transport: str = "udp") -> None:
    """The bytes in the midst of known calls, then a snapshot that goes on alike."""
    tracker = Tracker(SMALL)
    pieces = _pieces(data) if transport == "tcp" else data.split(b"\0\0\0")
    for number, packet in enumerate(_talk()[:8]):
        tracker.feed(packet)
        if number < len(pieces):
            tracker.feed(SipPacket(packet.at_us, transport, packet.src, packet.dst, pieces[number]))
            tracker.feed(SipPacket(packet.at_us + 1000, transport, packet.dst, packet.src, pieces[-1]))
    tracker.drain()
    state = tracker.snapshot()
    again = Tracker(SMALL)
    again.restore(state)
    assert again.snapshot() == state
    for one in (tracker, again):
        one.tick(at(400))
        one.finish(at(20_000))
    assert tracker.drain() == again.drain()


def _just(*seeds: bytes) -> Callable[[], Sequence[bytes]]:
    return lambda: seeds


TARGETS: dict[str, Target] = {
    "capture": Target(_capture, _captures, binary=True),
    "frame": Target(_frame, _wrapped, binary=True),
    "sctp": Target(
        _sctp, _just(b"\x20" + wrap.sctp(phone(1), PBX, wrap.data_chunks(7, b"INVITE " * 9, 20))), binary=True
    ),
    "websocket": Target(
        _websocket, lambda: [b"\x40" + wrap.ASKS, wrap.ws_message(messages()[0], (9,), b"mask")], binary=True
    ),
    "stream": Target(_stream, lambda: [b"\x10" + b"".join(messages()), *messages()], HEADERS),
    "message": Target(_message, messages, HEADERS),
    "ways": Target(agree, messages, HEADERS),
    "address": Target(
        _address,
        _just(b'"A \\" b" <sip:1%32;x=y@h:5060;transport=tcp?Replaces=a>;tag=x', b"tel:+1;phone-context=x"),
        HEADERS,
    ),
    "sdp": Target(
        _sdp,
        _just(flows.sdp().encode(), flows.sdp("inactive", "m=video 0 RTP/SAVP 96\r\nc=IN IP4 0.0.0.0\r\n").encode()),
        HEADERS,
    ),
    "description": Target(description.read, _just(DESCRIPTION), HEADERS),
    "media": Target(_media, _just(RTP, DIGIT, SENDER_REPORT, EXTENDED, UDPTL), binary=True),
    "rtcp": Target(_rtcp, _just(SENDER_REPORT, EXTENDED, SENDER_REPORT + EXTENDED), binary=True),
    "t38": Target(_t38, _just(UDPTL, UDPTL * 3), binary=True),
    "hep": Target(_hep, _heps, binary=True),
    "syslog": Target(_syslog, _syslogs, HEADERS),
    "quality": Target(_quality, _just(RTCP_JSON, VQ), (b"{", b"[", b"null", b'"a":')),
    "vq": Target(partial(vq.reports, at_us=START_US), _just(VQ)),
    "rtp_stat": Target(partial(rtp_stat.reports, at_us=START_US), _just(RTP_STAT)),
    "tracker": Target(_tracker, messages, HEADERS),
    "tracker_tcp": Target(partial(_tracker, transport="tcp"), messages, HEADERS),
}
