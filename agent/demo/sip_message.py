"""SIP messages as text: one dialog between two ends, and what either says in it (RFC 3261)."""

import random

from agent.demo.office import ANNEX

PBX = "10.20.0.1"
CARRIER = "203.0.113.5"
REALM = "annex"
WITH_CONTACT = frozenset({"INVITE", "REGISTER", "OPTIONS"})
"""Requests that say where their sender is to be found (RFC 3261 table 2)."""
DESK_PHONE, SYSTEM = "Deskphone/2.4.1", "PBX/18.9"


def address(party: str) -> str:
    """Where a desk's phone is; everybody else is behind the carrier."""
    return f"10.20.1.{party}" if party in ANNEX else CARRIER


def sdp(host: str, session: int, direction: str = "sendrecv") -> str:
    return (
        f"v=0\r\no=- {session} {session} IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\n"
        f"m=audio {10_000 + session % 5_000 * 2} RTP/AVP 8 0 101\r\na=rtpmap:8 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\n"
        f"a=rtpmap:101 telephone-event/8000\r\na=ptime:20\r\na={direction}\r\n"
    )


class Dialog:
    """Between `src`, who sends the first request, and `dst`. `uri` is what it asks for."""

    def __init__(self, call_id: str, src: str, dst: str, caller: str, callee: str, uri: str) -> None:
        chance = random.Random(call_id)
        self.call_id = call_id
        self.src, self.dst = src, dst
        self.session = chance.randrange(1_000, 9_000)
        self._uri = uri
        self._caller = caller
        self._from = f"<sip:{caller}@{PBX}>;tag={chance.getrandbits(40):010x}"
        self._to = f"<sip:{callee}@{PBX}>"
        self._to_tag = f";tag={chance.getrandbits(40):010x}"
        self._secret = chance.getrandbits(128)

    def request(
        self, method: str, cseq: int, *, tagged: bool = True, by_dst: bool = False, body: str = "", extra: str = ""
    ) -> bytes:
        """`tagged`: within the dialog. `by_dst`: the end that was called sends it."""
        here, there = (self.dst, self.src) if by_dst else (self.src, self.dst)
        to = self._to + self._to_tag if tagged else self._to
        own, other = (to, self._from) if by_dst else (self._from, to)
        uri = f"sip:{there}:5060" if tagged else self._uri
        contact = [f"Contact: <sip:{self._caller}@{here}:5060>"] if method in WITH_CONTACT else []
        return _message(
            f"{method} {uri} SIP/2.0",
            f"Via: {self._via(here, method, cseq)};rport",
            "Max-Forwards: 70",
            f"From: {own}",
            f"To: {other}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            f"User-Agent: {SYSTEM if here == PBX else DESK_PHONE}",
            *contact,
            *filter(None, [extra]),
            body=body,
        )

    def ack_refusal(self, cseq: int) -> bytes:
        """Of anything but a 2xx: part of the INVITE's own transaction, with its URI and branch (RFC 3261 section 17.1.1.3)."""
        return _message(
            f"ACK {self._uri} SIP/2.0",
            f"Via: {self._via(self.src, 'INVITE', cseq)};rport",
            "Max-Forwards: 70",
            f"From: {self._from}",
            f"To: {self._to}{self._to_tag}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} ACK",
            body="",
        )

    def answer(
        self, status: str, method: str, cseq: int, *, by_src: bool = False, body: str = "", extra: str = ""
    ) -> bytes:
        """`by_src`: to a request of the end that was called."""
        here, there = (self.src, self.dst) if by_src else (self.dst, self.src)
        to = self._to if status.startswith("100") else self._to + self._to_tag
        own, other = (to, self._from) if by_src else (self._from, to)
        return _message(
            f"SIP/2.0 {status}",
            f"Via: {self._via(there, method, cseq)};received={there}",
            f"From: {own}",
            f"To: {other}",
            f"Call-ID: {self.call_id}",
            f"CSeq: {cseq} {method}",
            *([f"Contact: <sip:{here}:5060>"] if method == "INVITE" and status[0] in "12" else []),
            *filter(None, [extra]),
            body=body,
        )

    def challenge(self) -> str:
        return f'WWW-Authenticate: Digest realm="{REALM}", nonce="{self._secret:032x}", algorithm=MD5, qop="auth"'

    def credentials(self) -> str:
        return (
            f'Authorization: Digest username="{self._caller}", realm="{REALM}", nonce="{self._secret:032x}", '
            f'uri="{self._uri}", response="{self._secret ^ 0x5A5A:032x}", algorithm=MD5, qop=auth, nc=00000001, '
            f'cnonce="{self.session:08x}"'
        )

    def _via(self, host: str, method: str, cseq: int) -> str:
        """A CANCEL has the branch of its INVITE (RFC 3261 section 9.1)."""
        transaction = "invite" if method == "CANCEL" else method.lower()
        return f"SIP/2.0/UDP {host}:5060;branch=z9hG4bK{transaction}{cseq}{self._secret & 0xFFFFFFFF:08x}"


def _message(*lines: str, body: str) -> bytes:
    kind = ["Content-Type: application/sdp"] if body else []
    return "\r\n".join([*lines, *kind, f"Content-Length: {len(body)}", "", body]).encode()
