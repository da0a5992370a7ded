"""To which call each datagram goes: offers, datagrams and reports in, flows out. Pure.

Laws
- A datagram belongs to the call whose session description awaits it at its target; else, where a NAT stands between, to the
  one whose description told its source (symmetric RTP, RFC 4961). Whoever sends first to an awaited place is heard.
- What a limit pushes out is counted, and the silence of its call tells nothing any more.
"""

from itertools import islice
from typing import Literal

from msgspec import Struct

from collectors.records import MediaFlow
from collectors.sip.limits import Limits
from collectors.sip.media import negotiation as offers
from collectors.sip.media import rtcp, rtp, t38
from collectors.sip.media.awaited import RTCP_ONLY, ends
from collectors.sip.media.codecs import T38, is_unknown
from collectors.sip.media.description import Place
from collectors.sip.media.negotiation import CALLEE
from collectors.sip.media.reported import Reported
from collectors.sip.media.rtp import Stream
from collectors.sip.media.session import Session, flows

MediaSetting = Literal["off", "rtcp", "rtp"]
"""What of a call's media is read: nothing, the reports of its ends (RTCP), or every packet's head as well."""

STREAMS_MAX = 32
"""Streams of one dialog; each change of codec or SSRC is a new one."""
EVICTION_LOOKS_AT = 32
"""Among how many of the oldest flows the one that was silent for longest is given up."""

_PACKED = 0x80
"""The two upper bits of version 2, as RTP and RTCP have it; STUN, DTLS and UDPTL have others (RFC 7983)."""

Buffer = bytes | memoryview


class Desk(Reported):
    """All that is known of the media of calls in progress."""

    def __init__(self, limits: Limits, setting: MediaSetting, counters: dict[str, int]) -> None:
        super().__init__(limits, counters)
        self._reads_rtp = setting == "rtp"

    def take(self, serial: int) -> tuple[MediaFlow, ...]:
        """The flows of a dialog that is handed in; it is then forgotten."""
        self.close(serial)
        session = self.sessions.pop(serial, None)
        if session is None:
            return ()
        for stream in session.streams:
            self.counters["media_packets"] += stream.packets
            self.counters["media_duplicates"] += stream.duplicates
        return flows(session)

    # --- what passes

    def media(self, at_us: int, flow: bytes, buffer: Buffer, begin: int, end: int) -> bool:
        """A datagram that is no SIP. `flow`: source, target and both ports as they stand in the packet; the UDP
        header stands right before `begin`. Whether it was media of a call that is followed."""
        stream = self._flows.get(flow)
        if stream is not None and rtp.take(stream, at_us, buffer, begin, end):
            return True
        if end - begin < 4:
            return False
        is_rtcp = rtcp.is_rtcp(buffer, begin, end)
        if not (is_rtcp or self._reads_rtp):
            return False
        source, target = ends(flow)
        session = self._awaited.get(target)
        if session is not None:
            known, use = target, session.places[target]
            to = use & CALLEE
        elif (session := self._awaited.get(source)) is not None:
            known, use = source, session.places[source]
            to = 1 - (use & CALLEE)
        else:
            self.counters["media_unmatched"] += 1
            return False
        if is_rtcp:
            self._rtcp(session, to, at_us, bytes(buffer[begin:end]))
            return True
        if use & RTCP_ONLY:
            return False
        return self._datagram(session, to, known, at_us, flow, buffer, begin, end)

    def _datagram(
        self, session: Session, to: int, known: Place, at_us: int, flow: bytes, buffer: Buffer, begin: int, end: int
    ) -> bool:
        """The first of a flow, or one that its newest stream would not take."""
        if buffer[begin] & 0xC0 != _PACKED:
            return self._udptl(session, to, known, at_us, flow, bytes(buffer[begin:end]))
        for stream in session.streams:
            if stream.flow == flow and rtp.take(stream, at_us, buffer, begin, end):
                self._flows[flow] = stream
                return True
        if end - begin < rtp.HEADER_BYTES or not self._room(session):
            return False
        head = rtp.header(buffer, begin)
        kind, codec = offers.form(session.negotiation, to, known, head[2] & 0x7F)
        if is_unknown(codec) and (other := _of_source(session, flow, head[-1])) is not None:
            # Said by nobody, such as Cisco's NSE (100): it goes with the codec that it interrupts.
            other.extra = head[2] & 0x7F
            return rtp.take(other, at_us, buffer, begin, end)
        events, noise = offers.companions(session.negotiation, to, codec)
        stream = rtp.begin(session.serial, at_us, flow, to == CALLEE, kind, codec, events, noise, head)
        rtp.take(stream, at_us, buffer, begin, end)
        session.streams.append(stream)
        self._flows[flow] = stream
        return True

    def _udptl(self, session: Session, to: int, known: Place, at_us: int, flow: bytes, data: bytes) -> bool:
        lines = (offers.line_at(session.negotiation.end(which), known) for which in (to, 1 - to))
        version = next((line.t38 for line in lines if line is not None and line.t38 is not None), None)
        if version is None:
            self.counters["media_other"] += 1
            return False
        if session.fax is None:
            session.fax = t38.Fax(t38.Side(), t38.Side(), version)
        if not t38.take(session.fax, to == CALLEE, data):
            self.counters["media_other"] += 1
            return False
        stream = next((one for one in session.streams if one.flow == flow and one.kind == "image"), None)
        if stream is None:
            if not self._room(session):
                return True
            stream = rtp.begin(session.serial, at_us, flow, to == CALLEE, "image", T38, -1, -1, NO_HEADER)
            session.streams.append(stream)
            self._flows[flow] = stream
        stream.packets += 1
        stream.octets += len(data)
        stream.last_us = at_us
        return True

    def _room(self, session: Session) -> bool:
        """Whether one more stream of this session can be followed; the flow that was silent for longest makes way."""
        if len(session.streams) >= STREAMS_MAX:
            self.counters["media_streams_over_limit"] += 1
            return False
        if len(self._flows) >= self.limits.media_flows:
            oldest = min(islice(self._flows.values(), EVICTION_LOOKS_AT), key=lambda stream: stream.last_us)
            del self._flows[oldest.flow]
            self.counters["media_flows_evicted"] += 1
            self.sessions[oldest.serial].evicted = True
        return True

    # --- state

    def state(self) -> "DeskState":
        order = []
        for flow, stream in self._flows.items():
            streams = self.sessions[stream.serial].streams
            order.append((flow, stream.serial, next(i for i, one in enumerate(streams) if one is stream)))
        return DeskState(list(self.sessions.values()), list(self._awaited), order)

    def restore(self, state: "DeskState") -> None:
        self.sessions = {session.serial: session for session in state.sessions}
        holders = {known: session for session in state.sessions for known in session.places}
        self._awaited = {known: holders[known] for known in state.places}
        self._flows = {flow: self.sessions[serial].streams[index] for flow, serial, index in state.flows}


class DeskState(Struct, array_like=True):
    """Of the snapshot: the sessions, and the order of what is awaited and followed, which decides what a limit pushes out."""

    sessions: list[Session] = []
    places: list[Place] = []
    flows: list[tuple[bytes, int, int]] = []


NO_HEADER = (0, 0, 0, 0, 0, -1)
"""A UDPTL datagram has none; no RTP packet has this SSRC."""


def _of_source(session: Session, flow: bytes, ssrc: int) -> Stream | None:
    return next((stream for stream in session.streams if stream.flow == flow and stream.ssrc == ssrc), None)
