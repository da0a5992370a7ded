"""SIP as phones and phone systems speak it, written out by hand: messages, call flows, frames and capture files.

An `Exchange` is one INVITE dialog on one hop; its methods give packets at a number of seconds after `START_US`.
"""

import struct
from collections.abc import Iterable, Sequence
from ipaddress import ip_address

from collectors.records import Call, FeatureUse, Record, Registration, Reject, Risk
from collectors.sip.join import join
from collectors.sip.leg import SipLeg
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker

START_US = 1_767_603_600_000_000
START_MS = START_US // 1000
"""2026-01-05T09:00:00Z"""

PBX = "10.0.0.10:5060"
CARRIER = "198.51.100.7:5060"


def phone(number: int) -> str:
    return f"10.0.1.{number % 256}:5060"


def at(seconds: float) -> int:
    return START_US + round(seconds * 1_000_000)


def at_ms(seconds: float) -> int:
    return at(seconds) // 1000


SDP = (
    "v=0\r\no=- 1 1 IN IP4 10.0.1.1\r\ns=-\r\nc=IN IP4 10.0.1.1\r\nt=0 0\r\n"
    "m=audio 16384 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na={direction}\r\n"
)


def sdp(direction: str = "sendrecv", more: str = "") -> str:
    return SDP.format(direction=direction) + more


def message(start: str, headers: Sequence[tuple[str, str]], body: str = "") -> bytes:
    lines = [start, *(f"{name}: {value}" for name, value in headers)]
    if body:
        lines.append("Content-Type: application/sdp")
    lines.append(f"Content-Length: {len(body.encode())}")
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


class Exchange:
    """One dialog between `src` and `dst`. `caller` and `dialled` are user parts; `target` is the Request-URI's user where it
    differs from what To says."""

    def __init__(
        self,
        call_id: str,
        src: str,
        dst: str,
        caller: str,
        dialled: str,
        *,
        transport: str = "udp",
        from_tag: str = "",
        to_tag: str = "",
        uri: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        self.call_id, self.src, self.dst, self.transport = call_id, src, dst, transport
        self.from_tag, self.to_tag = from_tag or f"f{call_id}", to_tag or f"t{call_id}"
        self.local = f"<sip:{caller}@office.example>"
        self.remote = f"<sip:{dialled}@office.example>"
        self.uri = uri or f"sip:{dialled}@{dst}"
        self.caller, self.dialled, self.headers = caller, dialled, list(headers)

    def _packet(self, seconds: float, src: str, dst: str, data: bytes) -> SipPacket:
        return SipPacket(at(seconds), self.transport, src, dst, data)

    def _head(self, cseq: str, from_: str, to: str) -> list[tuple[str, str]]:
        via = f"SIP/2.0/{self.transport.upper()} {self.src};branch=z9hG4bK{self.call_id}{cseq.replace(' ', '')}"
        return [("Via", via), ("From", from_), ("To", to), ("Call-ID", self.call_id), ("CSeq", cseq)]

    def request(
        self,
        seconds: float,
        method: str,
        cseq: int,
        *,
        by: str = "caller",
        in_dialog: bool = True,
        body: str = "",
        headers: Iterable[tuple[str, str]] = (),
        to_tag: str = "",
    ) -> SipPacket:
        mine = f"{self.local};tag={self.from_tag}"
        theirs = f"{self.remote};tag={to_tag or self.to_tag}" if in_dialog else self.remote
        ends = (mine, theirs) if by == "caller" else (theirs, mine)
        src, dst = (self.src, self.dst) if by == "caller" else (self.dst, self.src)
        head = self._head(f"{cseq} {method}", *ends) + list(headers)
        return self._packet(seconds, src, dst, message(f"{method} {self.uri} SIP/2.0", head, body))

    def answer(
        self,
        seconds: float,
        status: int,
        cseq: str = "1 INVITE",
        *,
        by: str = "callee",
        to_tag: str | None = None,
        body: str = "",
        headers: Iterable[tuple[str, str]] = (),
    ) -> SipPacket:
        mine = f"{self.local};tag={self.from_tag}"
        tag = self.to_tag if to_tag is None else to_tag
        theirs = f"{self.remote};tag={tag}" if tag and status != 100 else self.remote
        ends = (mine, theirs) if by == "callee" else (theirs, mine)
        src, dst = (self.dst, self.src) if by == "callee" else (self.src, self.dst)
        head = self._head(cseq, *ends) + list(headers)
        return self._packet(seconds, src, dst, message(f"SIP/2.0 {status} Because", head, body))

    def invite(
        self, seconds: float, cseq: int = 1, *, body: str = "", headers: Iterable[tuple[str, str]] = ()
    ) -> SipPacket:
        more = [("Contact", f"<sip:{self.caller}@{self.src}>"), *self.headers, *headers]
        return self.request(seconds, "INVITE", cseq, in_dialog=False, body=body or sdp(), headers=more)

    def accept(
        self,
        seconds: float,
        cseq: int = 1,
        *,
        by: str = "callee",
        body: str = "",
        to_tag: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> SipPacket:
        contact = ("Contact", f"<sip:{self.dialled}@{self.dst}>")
        more = list(headers)
        if not any(name == "Contact" for name, _ in more):
            more.append(contact)
        return self.answer(seconds, 200, f"{cseq} INVITE", by=by, body=body or sdp(), to_tag=to_tag, headers=more)

    def ack(self, seconds: float, cseq: int = 1, *, by: str = "caller") -> SipPacket:
        return self.request(seconds, "ACK", cseq, by=by)

    def bye(self, seconds: float, *, by: str = "caller", cseq: int = 9, to_tag: str = "") -> SipPacket:
        return self.request(seconds, "BYE", cseq, by=by, to_tag=to_tag)

    def bye_ok(self, seconds: float, *, by: str = "callee", cseq: int = 9) -> SipPacket:
        return self.answer(seconds, 200, f"{cseq} BYE", by=by)

    # --- whole stretches of a call

    def ring(self, seconds: float) -> list[SipPacket]:
        return [self.invite(seconds), self.answer(seconds + 0.01, 100), self.answer(seconds + 0.1, 180)]

    def talk(self, start: float, answer: float, end: float, *, by: str = "caller") -> list[SipPacket]:
        other = "callee" if by == "caller" else "caller"
        return [
            *self.ring(start),
            self.accept(answer),
            self.ack(answer + 0.02),
            self.bye(end, by=by),
            self.bye_ok(end + 0.01, by=other),
        ]

    def refused(self, start: float, end: float, status: int) -> list[SipPacket]:
        return [*self.ring(start), self.answer(end, status), self.ack(end + 0.01)]

    def cancelled(self, start: float, end: float) -> list[SipPacket]:
        return [
            *self.ring(start),
            self.request(end, "CANCEL", 1, in_dialog=False),
            self.answer(end + 0.005, 200, "1 CANCEL"),
            self.answer(end + 0.01, 487),
            self.ack(end + 0.02),
        ]


def register(
    seconds: float,
    user: str,
    *,
    contact: str = "",
    expires: int | None = 120,
    granted: int | None = None,
    cseq: int = 1,
    status: int = 200,
    agent: str = "Deskphone/1.0",
    call_id: str = "",
    src: str = "",
    dst: str = PBX,
    sender: str = "",
    listed: str | None = None,
    headers: Iterable[tuple[str, str]] = (),
    answer: Iterable[tuple[str, str]] = (),
) -> list[SipPacket]:
    """A REGISTER and its answer. `sender`: the user part of From, `listed`: the Contact of the answer where they differ from
    what was asked; `headers` and `answer` are further headers of the two."""
    contact = contact or f"<sip:{user}@{phone(int(user))}>"
    aor, call_id = f"<sip:{user}@office.example>", call_id or f"r{user}"
    src = src or phone(int(user))
    head = [
        ("Via", f"SIP/2.0/UDP {src};branch=z9hG4bKr{user}{cseq}"),
        ("From", f"<sip:{sender or user}@office.example>;tag=r{user}"),
        ("To", aor),
        ("Call-ID", call_id),
        ("CSeq", f"{cseq} REGISTER"),
    ]
    asked = [*head, ("Contact", contact), ("User-Agent", agent), *headers]
    if expires is not None:
        asked.append(("Expires", str(expires)))
    told = [*head, *answer]
    if listed is not None:
        told.append(("Contact", listed))
    elif status == 200 and contact != "*" and expires != 0:
        seconds_granted = expires if granted is None else granted
        told.append(("Contact", contact if seconds_granted is None else f"{contact};expires={seconds_granted}"))
    return [
        SipPacket(at(seconds), "udp", src, dst, message("REGISTER sip:office.example SIP/2.0", asked)),
        SipPacket(at(seconds + 0.02), "udp", dst, src, message(f"SIP/2.0 {status} Told", told)),
    ]


# --- from packets to what comes of them


class Told:
    """What a tracker makes of packets."""

    def __init__(self, records: list[Record], rejects: list[Reject], counters: dict[str, int]) -> None:
        self.records, self.rejects, self.counters = records, rejects, counters
        self.legs = [record for record in records if isinstance(record, SipLeg)]
        self.registrations = [record for record in records if isinstance(record, Registration)]
        self.risks = [record for record in records if isinstance(record, Risk)]
        self.uses = [record for record in records if isinstance(record, FeatureUse)]

    @property
    def calls(self) -> list[Call]:
        by_call: dict[str, list[SipLeg]] = {}
        for leg in self.legs:
            by_call.setdefault(leg.call_key, []).append(leg)
        return sorted((join(legs) for legs in by_call.values()), key=lambda call: (call.started_at_ms, call.key))

    @property
    def call(self) -> Call:
        [call] = self.calls
        return call


def in_order(*parts: Iterable[SipPacket]) -> list[SipPacket]:
    return sorted((packet for part in parts for packet in part), key=lambda packet: packet.at_us)


def track(
    packets: Iterable[SipPacket], *, site: Site | None = None, limits: Limits | None = None, end: float | None = 100_000
) -> Told:
    """Feed packets in their order; `end`: until when time goes on afterwards, None: the capture ends with the last."""
    tracker = Tracker(limits or Limits(), site or Site())
    last = 0
    for packet in packets:
        tracker.feed(packet)
        last = max(last, packet.at_us)
    if end is None:
        tracker.finish(last)
    else:
        for second in range(0, round(end), 1000):
            tracker.tick(at(second))
        tracker.tick(at(end))
    return Told(*tracker.drain(), tracker.counters)


def codes(call: Call) -> list[tuple[str, str]]:
    return [(use.code, use.endpoint) for use in call.features]


# --- frames and files

ETHERNET_HEAD = bytes.fromhex("020000000002020000000001")


def split_address(address: str) -> tuple[bytes, int]:
    host, _, port = address.rpartition(":")
    return ip_address(host.strip("[]")).packed, int(port)


def udp(src: str, dst: str, payload: bytes) -> bytes:
    (_, source), (_, target) = split_address(src), split_address(dst)
    return struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload


def tcp(src: str, dst: str, sequence: int, payload: bytes, flags: int = 0x18, options: bytes = b"") -> bytes:
    (_, source), (_, target) = split_address(src), split_address(dst)
    offset = (20 + len(options)) // 4 << 4
    head = struct.pack(">HHIIBBHHH", source, target, sequence % 2**32, 1, offset, flags, 65535, 0, 0)
    return head + options + payload


def ip(src: str, dst: str, protocol: int, segment: bytes, *, fragment: int = 0x4000, extensions: bytes = b"") -> bytes:
    (source, _), (target, _) = split_address(src), split_address(dst)
    if len(source) == 4:
        total = 20 + len(segment)
        return struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, 7, fragment, 64, protocol, 0, source, target) + segment
    length = len(extensions) + len(segment)
    first = 0 if extensions else protocol
    return struct.pack(">IHBB16s16s", 6 << 28, length, first, 64, source, target) + extensions + segment


def ethernet(packet: bytes, tags: Sequence[tuple[int, int]] = (), padding: int = 0) -> bytes:
    kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
    vlan = b"".join(struct.pack(">HH", tpid, number) for tpid, number in tags)
    return ETHERNET_HEAD + vlan + kind + packet + bytes(padding)


def frame_of(packet: SipPacket) -> bytes:
    return ethernet(ip(packet.src, packet.dst, 17, udp(packet.src, packet.dst, packet.payload)))


Timed = tuple[int, bytes]


def pcap(frames: Iterable[Timed], link: int = 1, order: str = "<", nanoseconds: bool = False) -> bytes:
    magic = 0xA1B23C4D if nanoseconds else 0xA1B2C3D4
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262_144, link)]
    for at_us, frame in frames:
        seconds, fraction = divmod(at_us, 1_000_000)
        fraction *= 1000 if nanoseconds else 1
        out.append(struct.pack(order + "IIII", seconds, fraction, len(frame), len(frame)) + frame)
    return b"".join(out)


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    body += bytes(-len(body) % 4)
    size = 12 + len(body)
    return struct.pack(order + "II", kind, size) + body + struct.pack(order + "I", size)


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 1, order: str = "<", options: bytes = b"") -> bytes:
    return block(1, struct.pack(order + "HHI", link, 0, 262_144) + options, order)


def enhanced(ticks: int, frame: bytes, order: str = "<", number: int = 0) -> bytes:
    head = struct.pack(order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
    return block(6, head + frame, order)


def pcapng(frames: Iterable[Timed], link: int = 1, order: str = "<") -> bytes:
    return section(order) + interface(link, order) + b"".join(enhanced(ticks, frame, order) for ticks, frame in frames)
