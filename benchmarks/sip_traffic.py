"""A capture file of an office's SIP, made anew from a seed, with what it holds counted while it is made.

400 phones talk to their PBX over UDP: calls that overlap (INVITE with SDP, 100, 180, 200, ACK, BYE, 200; some ring twice,
some are busy) make up about 79 % of the packets, REGISTER and its answer the rest. Instants are whole milliseconds, so
that the talk time to expect is exact.
"""

import heapq
import random
import struct
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

PHONES = 400
CALL_EVERY_MS = 200
TALK_MS = (5_000, 240_000)
START_MS = 1_767_225_600_000
"""2026-01-01T00:00:00Z."""
PBX = "10.0.0.10"
SEED = 7
SESSION_PORT = 16_384
"""Of the first session; each next has the next even port."""

ETHERNET = bytes.fromhex("020000000002020000000001") + b"\x08\x00"
Packet = tuple[int, int, str, str, bytes]
"""Instant in ms, running number (so that equal instants keep their order), source, destination, message."""


class Expected(Struct, frozen=True, kw_only=True):
    """What the file holds. `registered` are the phones that registered."""

    packets: int
    calls: int
    answered: int
    talk_ms: int
    registered: int
    requests: dict[str, int]


def generate(path: Path, packets: int) -> Expected:
    """Write a capture of at least `packets` packets, whole calls and registrations only."""
    traffic = _Traffic(random.Random(SEED), packets)
    with path.open("wb", buffering=1 << 20) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1))
        for at_ms, _, src, dst, message in traffic.packets():
            out.write(_frame(at_ms, src, dst, message))
    return traffic.expected()


class _Traffic:
    def __init__(self, chance: random.Random, packets: int) -> None:
        self._chance = chance
        self._wanted = packets
        self._made = self._calls = self._answered = self._talk_ms = 0
        self._registered: set[int] = set()
        self._requests: dict[str, int] = {}
        self._waiting: list[Packet] = []

    def packets(self) -> Iterator[Packet]:
        now_ms = START_MS
        registers = 0
        while self._made < self._wanted:
            self._call(now_ms)
            while registers * 2 < self._made * 0.2:
                self._register(registers % PHONES, now_ms + registers % 97)
                registers += 1
            now_ms += CALL_EVERY_MS
            while self._waiting and self._waiting[0][0] < now_ms:
                yield heapq.heappop(self._waiting)
        while self._waiting:
            yield heapq.heappop(self._waiting)

    def expected(self) -> Expected:
        return Expected(
            packets=self._made,
            calls=self._calls,
            answered=self._answered,
            talk_ms=self._talk_ms,
            registered=len(self._registered),
            requests=self._requests,
        )

    def _send(self, at_ms: int, src: str, dst: str, message: str) -> None:
        heapq.heappush(self._waiting, (at_ms, self._made, src, dst, message.encode()))
        self._made += 1
        method = message.partition(" ")[0]
        if method != "SIP/2.0":
            self._requests[method] = self._requests.get(method, 0) + 1

    def _call(self, at_ms: int) -> None:
        caller, callee = self._chance.sample(range(PHONES), 2)
        dialog = Dialog(self._calls, caller, callee)
        phone, pbx = dialog.phone, PBX
        self._calls += 1
        self._send(at_ms, phone, pbx, dialog.invite())
        self._send(at_ms + 2, pbx, phone, dialog.answer("100 Trying", "INVITE", tagged=False))
        self._send(at_ms + 40, pbx, phone, dialog.answer("180 Ringing", "INVITE"))
        ring_ms = self._chance.randrange(1_000, 20_000)
        fate = self._chance.random()
        if fate < 0.1:
            self._send(at_ms + ring_ms, pbx, phone, dialog.answer("486 Busy Here", "INVITE"))
            self._send(at_ms + ring_ms + 3, phone, pbx, dialog.request("ACK", "transaction"))
            return
        if fate < 0.4:
            self._send(at_ms + ring_ms - 500, pbx, phone, dialog.answer("180 Ringing", "INVITE"))
        talk_ms = self._chance.randrange(*TALK_MS)
        answered_ms = at_ms + ring_ms
        self._send(answered_ms, pbx, phone, dialog.answer("200 OK", "INVITE", sdp=True))
        self._send(answered_ms + 5, phone, pbx, dialog.request("ACK", "ack"))
        self._send(answered_ms + talk_ms, phone, pbx, dialog.request("BYE", "bye"))
        self._send(answered_ms + talk_ms + 3, pbx, phone, dialog.answer("200 OK", "BYE"))
        self._answered += 1
        self._talk_ms += talk_ms

    def _register(self, phone: int, at_ms: int) -> None:
        number, address = 1000 + phone, phone_address(phone)
        turn = self._made
        common = (
            f"Via: SIP/2.0/UDP {address}:5060;branch=z9hG4bKreg{turn:08x};rport\r\n"
            f"From: <sip:{number}@pbx.example.com>;tag=r{phone:04x}\r\n"
            f"To: <sip:{number}@pbx.example.com>%s\r\n"
            f"Call-ID: reg-{phone:04x}-5f1c2a@{address}\r\nCSeq: {turn} REGISTER\r\n"
            f"Contact: <sip:{number}@{address}:5060;transport=udp>;expires=3600\r\n"
        )
        head = f"REGISTER sip:pbx.example.com SIP/2.0\r\nMax-Forwards: 70\r\nUser-Agent: {AGENT}\r\nExpires: 3600\r\n"
        self._send(at_ms, address, PBX, head + common % "" + "Content-Length: 0\r\n\r\n")
        answer = "SIP/2.0 200 OK\r\n" + common % f";tag=p{turn:08x}" + "Content-Length: 0\r\n\r\n"
        self._send(at_ms + 4, PBX, address, answer)
        self._registered.add(phone)


AGENT = "Deskphone/3.2.1"
ALLOW = "INVITE, ACK, BYE, CANCEL, OPTIONS, INFO, REFER, SUBSCRIBE, NOTIFY, UPDATE, PRACK"


class Dialog:
    """The messages of one call between a phone and its PBX."""

    def __init__(self, index: int, caller: int, callee: int) -> None:
        self.phone = phone_address(caller)
        self._index = index
        self._from = f"<sip:{1000 + caller}@pbx.example.com>;tag=c{index:08x}"
        self._to = f"<sip:{1000 + callee}@pbx.example.com>"
        self._uri = f"sip:{1000 + callee}@pbx.example.com"
        self._call_id = f"{index:08x}-7c3e-4b1d-9a55-e1f2{index:08x}@{self.phone}"
        self._contact = f"<sip:{1000 + caller}@{self.phone}:5060;transport=udp>"

    def invite(self) -> str:
        body = _sdp(self._index, self.phone, "0 8 9 18 101")
        return (
            self._head("INVITE", self._uri, "invite", self._to, "1 INVITE")
            + f"Contact: {self._contact}\r\nAllow: {ALLOW}\r\nSupported: replaces, timer, 100rel, norefersub\r\n"
            f"Session-Expires: 1800\r\nMin-SE: 90\r\nUser-Agent: {AGENT}\r\n"
            f"Proxy-Authorization: {self._credentials()}\r\n"
            f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )

    def answer(self, status: str, method: str, tagged: bool = True, sdp: bool = False) -> str:
        body = _sdp(self._index + 1, PBX, "0 101") if sdp else ""
        to = self._to + (self._to_tag() if tagged else "")
        sequence, branch = ("1 INVITE", "invite") if method == "INVITE" else ("2 BYE", "bye")
        kind = "Content-Type: application/sdp\r\n" if sdp else ""
        return (
            f"SIP/2.0 {status}\r\nVia: {self._via(branch)};received={self.phone}\r\nFrom: {self._from}\r\nTo: {to}\r\n"
            f"Call-ID: {self._call_id}\r\nCSeq: {sequence}\r\nServer: PBX 20.1\r\nAllow: {ALLOW}\r\n"
            f"Contact: <sip:{PBX}:5060>\r\n{kind}Content-Length: {len(body)}\r\n\r\n{body}"
        )

    def request(self, method: str, branch: str) -> str:
        sequence = "2 BYE" if method == "BYE" else f"1 {method}"
        own_branch = "invite" if branch == "transaction" else branch
        uri = self._uri if branch == "transaction" else f"sip:{PBX}:5060"
        return self._head(method, uri, own_branch, self._to + self._to_tag(), sequence) + "Content-Length: 0\r\n\r\n"

    def _head(self, method: str, uri: str, branch: str, to: str, sequence: str) -> str:
        return (
            f"{method} {uri} SIP/2.0\r\nVia: {self._via(branch)};rport\r\nMax-Forwards: 70\r\n"
            f"From: {self._from}\r\nTo: {to}\r\nCall-ID: {self._call_id}\r\nCSeq: {sequence}\r\n"
        )

    def _via(self, branch: str) -> str:
        return f"SIP/2.0/UDP {self.phone}:5060;branch=z9hG4bK{branch}{self._index:08x}"

    def _credentials(self) -> str:
        return (
            f'Digest username="{self.phone}", realm="pbx", nonce="{self._index:032x}", uri="{self._uri}", '
            f'response="{self._index * 7919:032x}", algorithm=MD5'
        )

    def _to_tag(self) -> str:
        return f";tag=d{self._index:08x}"


FORMATS = {
    "0": "PCMU/8000",
    "8": "PCMA/8000",
    "9": "G722/8000",
    "18": "G729/8000",
    "101": "telephone-event/8000",
}


def _sdp(session: int, address: str, formats: str) -> str:
    maps = "".join(f"a=rtpmap:{number} {FORMATS[number]}\r\n" for number in formats.split())
    return (
        f"v=0\r\no=- {session} {session} IN IP4 {address}\r\ns=call\r\nc=IN IP4 {address}\r\nt=0 0\r\n"
        f"m=audio {SESSION_PORT + session % 8_192 * 2} RTP/AVP {formats}\r\n{maps}a=fmtp:101 0-16\r\na=ptime:20\r\n"
        "a=sendrecv\r\n"
    )


def phone_address(phone: int) -> str:
    return f"10.0.{1 + phone // 200}.{1 + phone % 200}"


def _frame(at_ms: int, src: str, dst: str, message: bytes) -> bytes:
    packet = udp_frame(src, 5060, dst, 5060, message)
    return struct.pack("<IIII", at_ms // 1000, at_ms % 1000 * 1000, len(packet), len(packet)) + packet


def udp_frame(src: str, source: int, dst: str, target: int, payload: bytes) -> bytes:
    udp = struct.pack(">HHHH", source, target, 8 + len(payload), 0) + payload
    return ETHERNET + _ip_header(src, dst, len(udp)) + udp


def _ip_header(src: str, dst: str, size: int) -> bytes:
    ends = bytes(map(int, src.split("."))) + bytes(map(int, dst.split(".")))
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + size, 0, 0x4000, 64, 17, 0) + ends
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", ~(total + (total >> 16)) & 0xFFFF) + head[12:]
