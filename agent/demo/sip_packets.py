"""The annex's SIP on the wire: what its phones, its phone system and the carrier say to each other in a call, and to register.

Laws
- The phone system is a back-to-back user agent: each side of a call has a Call-ID of its own, and no header joins them.
- Phones are asked for a password with every INVITE and REGISTER; the carrier is known by its address.
- The caller's own leg is the truth: it is answered and ends at the call's own instants; the far legs are some milliseconds
  off, as they are in life.
"""

import random
from collections.abc import Iterator

from msgspec import Struct

from agent.demo.office import PlayedCall
from agent.demo.sip_message import PBX, Dialog, address, sdp

REGISTERED_S = 120
"""What the registrar grants; a phone comes again after half of it."""
RETRANSMITTED_MS = 500
"""T1 (RFC 3261 section 17.1.1.1)."""


class Packet(Struct, frozen=True):
    at_ms: int
    src: str
    dst: str
    message: bytes


def packets(call: PlayedCall) -> list[Packet]:
    """All packets of a call, in the order of their instants."""
    return sorted(_Script(call).play(), key=lambda packet: packet.at_ms)


class _Script:
    """One call. `_near` is the caller's leg; `_far` are those to whom it rings."""

    def __init__(self, call: PlayedCall) -> None:
        self._call = call
        self._chance = random.Random(call.key)
        name, _, host = call.key.partition("@")
        src = address(call.caller)
        self._near = Dialog(call.key, src, PBX, call.caller, call.dialled, f"sip:{call.dialled}@{PBX}")
        self._far = [
            Dialog(f"{name}-b{n}@{host}", PBX, address(party), call.caller, party, f"sip:{party}@{address(party)}:5060")
            for n, party in enumerate(call.rings or self._outside_party())
        ]
        self._cseq = 1 if call.outside else 2
        """Of the INVITE that is taken: a phone's first one is asked for a password."""

    def _outside_party(self) -> tuple[str, ...]:
        return (self._call.answered_by,) if self._call.answered_by else ()

    def play(self) -> Iterator[Packet]:
        start_ms, end_ms = self._call.started_at_ms, self._call.ended_at_ms
        yield from self._dial(start_ms)
        for dialog in self._far:
            yield from self._ring(dialog, start_ms + 40)
        if self._call.outcome == "answered":
            yield from self._talk()
        elif self._call.outcome == "cancelled":
            yield from self._give_up(end_ms)
        else:
            yield from self._refused(end_ms)

    def _dial(self, at_ms: int) -> Iterator[Packet]:
        near, offer = self._near, sdp(self._near.src, self._near.session)
        if self._cseq == 2:
            yield _to(near, at_ms, near.request("INVITE", 1, tagged=False, body=offer))
            yield _back(near, at_ms + 3, near.answer("401 Unauthorized", "INVITE", 1, extra=near.challenge()))
            yield _to(near, at_ms + 6, near.ack_refusal(1))
        credentials = near.credentials() if self._cseq == 2 else ""
        invite = near.request("INVITE", self._cseq, tagged=False, body=offer, extra=credentials)
        yield _to(near, at_ms + (20 if credentials else 0), invite)
        if self._chance.random() < 0.25:
            yield _to(near, at_ms + 20 + RETRANSMITTED_MS, invite)
        yield _back(near, at_ms + 25, near.answer("100 Trying", "INVITE", self._cseq))
        if self._far:
            yield _back(near, at_ms + 160, near.answer("180 Ringing", "INVITE", self._cseq))

    def _ring(self, far: Dialog, at_ms: int) -> Iterator[Packet]:
        yield _to(far, at_ms, far.request("INVITE", 1, tagged=False, body=sdp(PBX, far.session)))
        yield _back(far, at_ms + 5, far.answer("100 Trying", "INVITE", 1))
        if self._call.outcome != "busy":
            yield _back(far, at_ms + 100, far.answer("180 Ringing", "INVITE", 1))

    def _talk(self) -> Iterator[Packet]:
        call, near = self._call, self._near
        assert call.answered_at_ms is not None
        won = [far for far in self._far if far.dst == address(call.answered_by)]
        for far in won:
            accepted = far.answer("200 OK", "INVITE", 1, body=sdp(far.dst, far.session + 1))
            yield _back(far, call.answered_at_ms - 4, accepted)
            yield _to(far, call.answered_at_ms - 2, far.request("ACK", 1))
        yield from self._accept(near, call.answered_at_ms)
        for far in self._far:
            if far not in won:
                yield from _cancel(far, 1, call.answered_at_ms + 2)
        if call.kind == "hold":
            yield from self._hold(call.answered_at_ms + call.talk_ms // 3, call.talk_ms // 3)
        yield from self._hang_up(won, call.ended_at_ms)

    def _accept(self, near: Dialog, at_ms: int) -> Iterator[Packet]:
        accepted = near.answer("200 OK", "INVITE", self._cseq, body=sdp(PBX, near.session + 1))
        yield _back(near, at_ms, accepted)
        lost = self._chance.random() < 0.25
        if lost:
            yield _back(near, at_ms + RETRANSMITTED_MS, accepted)
        yield _to(near, at_ms + 4 + lost * RETRANSMITTED_MS, near.request("ACK", self._cseq))

    def _hold(self, at_ms: int, held_ms: int) -> Iterator[Packet]:
        """The caller puts the call on hold, and comes back: a re-INVITE each (RFC 6337 section 5.3)."""
        near = self._near
        for cseq, begin_ms, ours, theirs in (
            (3, at_ms, "sendonly", "recvonly"),
            (4, at_ms + held_ms, "sendrecv", "sendrecv"),
        ):
            offer, answer = sdp(near.src, near.session, ours), sdp(PBX, near.session + 1, theirs)
            yield _to(near, begin_ms, near.request("INVITE", cseq, body=offer))
            yield _back(near, begin_ms + 5, near.answer("200 OK", "INVITE", cseq, body=answer))
            yield _to(near, begin_ms + 9, near.request("ACK", cseq))

    def _hang_up(self, far: list[Dialog], at_ms: int) -> Iterator[Packet]:
        """By either end, the caller's leg exactly at `at_ms`; now and then the first BYE comes twice."""
        near, by_caller = self._near, not far or self._chance.random() < 0.6
        bye = near.request("BYE", 5, by_dst=not by_caller)
        send, answer = (_to, _back) if by_caller else (_back, _to)
        yield send(near, at_ms, bye)
        if self._chance.random() < 0.2:
            yield send(near, at_ms + RETRANSMITTED_MS, bye)
        yield answer(near, at_ms + 3, near.answer("200 OK", "BYE", 5, by_src=not by_caller))
        for leg in far:
            first_ms = at_ms + 4 if by_caller else at_ms - 4
            send, answer = (_to, _back) if by_caller else (_back, _to)
            yield send(leg, first_ms, leg.request("BYE", 2, by_dst=not by_caller))
            yield answer(leg, first_ms + 3, leg.answer("200 OK", "BYE", 2, by_src=not by_caller))

    def _refused(self, at_ms: int) -> Iterator[Packet]:
        """Busy: the desk says so. Nobody there: the phone system gives up and tells the caller."""
        near, busy = self._near, self._call.outcome == "busy"
        for far in self._far:
            if busy:
                yield _back(far, at_ms - 8, far.answer("486 Busy Here", "INVITE", 1))
                yield _to(far, at_ms - 5, far.ack_refusal(1))
            else:
                yield from _cancel(far, 1, at_ms - 12)
        status = "486 Busy Here" if busy else "480 Temporarily Unavailable"
        yield _back(near, at_ms, near.answer(status, "INVITE", self._cseq))
        yield _to(near, at_ms + 3, near.ack_refusal(self._cseq))

    def _give_up(self, at_ms: int) -> Iterator[Packet]:
        yield from _cancel(self._near, self._cseq, at_ms)
        for far in self._far:
            yield from _cancel(far, 1, at_ms + 2)


def _to(dialog: Dialog, at_ms: int, message: bytes) -> Packet:
    return Packet(at_ms, dialog.src, dialog.dst, message)


def _back(dialog: Dialog, at_ms: int, message: bytes) -> Packet:
    return Packet(at_ms, dialog.dst, dialog.src, message)


def _cancel(dialog: Dialog, cseq: int, at_ms: int) -> Iterator[Packet]:
    yield _to(dialog, at_ms, dialog.request("CANCEL", cseq, tagged=False))
    yield _back(dialog, at_ms + 2, dialog.answer("200 OK", "CANCEL", cseq))
    yield _back(dialog, at_ms + 3, dialog.answer("487 Request Terminated", "INVITE", cseq))
    yield _to(dialog, at_ms + 6, dialog.ack_refusal(cseq))


class Phone:
    """A desk's phone beside its calls: it registers, comes again, and is asked now and then whether it is there."""

    def __init__(self, desk: str, run: str) -> None:
        self._desk = desk
        self._run = run
        self._host = address(desk)
        self._cseq = 0
        self._asked = 0

    def register(self, at_ms: int) -> list[Packet]:
        dialog = Dialog(f"reg-{self._run}-{self._desk}@annex", self._host, PBX, self._desk, self._desk, f"sip:{PBX}")
        contact = f"Expires: {REGISTERED_S}"
        granted = f"Contact: <sip:{self._desk}@{self._host}:5060>;expires={REGISTERED_S}"
        first, self._cseq = self._cseq + 1, self._cseq + 2
        asked = dialog.request("REGISTER", first, tagged=False, extra=contact)
        again = dialog.request("REGISTER", self._cseq, tagged=False, extra=f"{contact}\r\n{dialog.credentials()}")
        refused = dialog.answer("401 Unauthorized", "REGISTER", first, extra=dialog.challenge())
        return [
            _to(dialog, at_ms, asked),
            _back(dialog, at_ms + 3, refused),
            _to(dialog, at_ms + 20, again),
            _back(dialog, at_ms + 24, dialog.answer("200 OK", "REGISTER", self._cseq, extra=granted)),
        ]

    def options(self, at_ms: int) -> list[Packet]:
        self._asked += 1
        call_id = f"ping-{self._run}-{self._desk}-{self._asked}@annex"
        dialog = Dialog(call_id, PBX, self._host, "pbx", self._desk, f"sip:{self._desk}@{self._host}:5060")
        return [
            _to(dialog, at_ms, dialog.request("OPTIONS", 1, tagged=False)),
            _back(dialog, at_ms + 3, dialog.answer("200 OK", "OPTIONS", 1)),
        ]
