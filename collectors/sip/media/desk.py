"""Where media is awaited, and to which call each datagram goes: offers in, datagrams in, flows out. Pure.

Laws
- A datagram belongs to the call whose session description awaits it at its target; else, where a NAT stands between, to the
  one whose description told its source (symmetric RTP, RFC 4961). Whoever sends first to an awaited place is heard.
- Two dialogs of one call that tell the same place are two hops of one stream: it counts for the dialog that began first.
  A place that another call tells is that call's from then on.
- After a dialog's end nothing is awaited for it. Everything that grows has a limit and a counter.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import Literal

from msgspec import Struct

from collectors.records import MediaFlow
from collectors.sip.limits import Limits
from collectors.sip.media import heard as reports
from collectors.sip.media import negotiation as offers
from collectors.sip.media import rtcp, rtp, t38
from collectors.sip.media.codecs import T38, is_unknown
from collectors.sip.media.description import Line, Place, place, read
from collectors.sip.media.negotiation import CALLEE, CALLER, End, Negotiation
from collectors.sip.media.report import Report
from collectors.sip.media.rtp import Stream
from collectors.sip.media.session import Session, announced, flows

MediaSetting = Literal["off", "rtcp", "rtp"]
"""What of a call's media is read: nothing, the reports of its ends (RTCP), or every packet's head as well."""

PLACES_MAX = 64
"""Places awaited for one dialog: two ends with audio and video, their RTCP, and a few ICE candidates each."""
STREAMS_MAX = 32
"""Streams of one dialog; each change of codec or SSRC is a new one."""
HEARD_MAX = 16
"""Streams of one dialog that reports tell of."""
EVICTION_LOOKS_AT = 32
"""Among how many of the oldest flows the one that was silent for longest is given up."""

RTCP_ONLY = 2
"""Bit of `Session.places`."""
_PACKED = 0x80
"""The two upper bits of version 2, as RTP and RTCP have it; STUN, DTLS and UDPTL have others (RFC 7983)."""

Buffer = bytes | memoryview


class Desk:
    """`counters` is the tracker's."""

    def __init__(self, limits: Limits, setting: MediaSetting, counters: dict[str, int]) -> None:
        self.limits = limits
        self.counters = counters
        self._reads_rtp = setting == "rtp"
        self.sessions: dict[int, Session] = {}
        self._awaited: dict[Place, Session] = {}
        self._flows: dict[bytes, Stream] = {}

    # --- what signalling says

    def told(self, serial: int, call: int, which: int, key: bytes, body: bytes) -> None:
        """End `which` of a dialog says in `body` what it receives, in or under the request `key`."""
        lines = read(body)
        if not lines:
            return
        session = self.sessions.get(serial)
        if session is None:
            session = self.sessions[serial] = Session(serial, call, Negotiation(End(), End()))
        if offers.told(session.negotiation, which, key, lines) or session.closed:
            session.closed = False
            self._await(session, which, lines)

    def settled(self, serial: int, key: bytes) -> None:
        if (session := self.sessions.get(serial)) is not None:
            offers.settled(session.negotiation, key)

    def refused(self, serial: int, key: bytes) -> None:
        if (session := self.sessions.get(serial)) is not None:
            offers.refused(session.negotiation, key)

    def close(self, serial: int) -> None:
        """The dialog has ended."""
        session = self.sessions.get(serial)
        if session is None or session.closed:
            return
        session.closed = True
        for known in session.places:
            del self._awaited[known]
        session.places.clear()
        for stream in session.streams:
            if self._flows.get(stream.flow) is stream:
                del self._flows[stream.flow]

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

    def _await(self, session: Session, which: int, lines: Iterable[Line]) -> None:
        for line in lines:
            if not line.live:
                continue
            for known in line.places:
                self._claim(session, known, which)
            for known in line.rtcp:
                self._claim(session, known, which | RTCP_ONLY)

    def _claim(self, session: Session, known: Place, use: int) -> None:
        holder = self._awaited.get(known)
        if holder is session:
            return
        if holder is not None:
            if holder.call == session.call and holder.serial < session.serial:
                return
            self._yield(holder, session, known)
        elif len(session.places) >= PLACES_MAX or len(self._awaited) >= self.limits.media_places:
            self.counters["media_places_over_limit"] += 1
            return
        self._awaited[known] = session
        session.places[known] = use

    def _yield(self, holder: Session, session: Session, known: Place) -> None:
        """The place goes to another dialog, within the call with what was heard there already."""
        del holder.places[known]
        moved = [stream for stream in holder.streams if known in ends(stream.flow)]
        if holder.call == session.call:
            for stream in moved:
                stream.serial = session.serial
            holder.streams = [stream for stream in holder.streams if stream.serial == holder.serial]
            session.streams.extend(moved)
            return
        for stream in moved:
            self._flows.pop(stream.flow, None)

    # --- what passes

    def media(self, at_us: int, flow: bytes, buffer: Buffer, begin: int, end: int) -> bool:
        """A datagram that is no SIP. `flow`: source, target and both ports as they stand in the packet; the
        UDP header stands right before `begin`. Whether it was media
        of a call that is followed."""
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

    # --- what is reported

    def knows(self, serial: int) -> bool:
        return serial in self.sessions

    def ends(self, serial: int, of_caller: bool) -> tuple[str, str]:
        """Where one end of a dialog receives media, and where the other does, as announced."""
        _, _, caller, callee = announced(self.sessions[serial], True)
        return (caller, callee) if of_caller else (callee, caller)

    def _rtcp(self, session: Session, to: int, at_us: int, data: bytes) -> None:
        self.counters["rtcp"] += 1
        session.rtcp_us = at_us
        if _is_secure(session):
            self.counters["rtcp_encrypted"] += 1
            return
        found = rtcp.read(at_us, data)
        if found is None:
            return
        if found.bye:
            session.bye_us = at_us
        for report in found.sent:
            self._told(session, to == CALLEE, report)
        for report in found.received:
            self._told(session, to != CALLEE, report)

    def report(self, report: Report, serial: int | None = None, from_caller: bool | None = None) -> bool:
        """A report from elsewhere. `serial`: of the dialog, where it is known by other means; `from_caller`: whether it
        tells of what the caller sends. Whether it belongs to a call that is followed."""
        session, from_caller = self._of_report(report, serial, from_caller)
        if session is None or from_caller is None:
            self.counters["reports_unmatched"] += 1
            return False
        self.counters["reports"] += 1
        session.rtcp_us = max(session.rtcp_us, 0 if session.closed else report.at_us)
        self._told(session, from_caller, report)
        return True

    def _of_report(
        self, report: Report, serial: int | None, from_caller: bool | None
    ) -> tuple[Session | None, bool | None]:
        source, target = _place_of(report.src), _place_of(report.dst)
        if (session := self._awaited.get(target)) is not None:
            return session, session.places[target] & 1 == CALLEE
        if (session := self._awaited.get(source)) is not None:
            return session, session.places[source] & 1 == CALLER
        session = self.sessions.get(serial) if serial is not None else None
        if session is not None and from_caller is None:
            from_caller = _direction(session, report)
        return session, from_caller

    def _told(self, session: Session, from_caller: bool, report: Report) -> None:
        ssrc = reports.SSRC_UNKNOWN if report.ssrc is None else report.ssrc
        known = next((one for one in session.heard if one.from_caller == from_caller and one.ssrc == ssrc), None)
        if known is None:
            if len(session.heard) >= HEARD_MAX:
                self.counters["reports_over_limit"] += 1
                return
            known = reports.begin(report, from_caller)
            session.heard.append(known)
        codec = announced(session, from_caller)[0]
        reports.take(known, report, codec.clock_hz if codec else 8000)

    # --- life and death

    def last_us(self, serials: Iterable[int]) -> int:
        """The last sign of life of the media of these dialogs; 0 where there was none."""
        return max((session.last_us() for serial in serials if (session := self.sessions.get(serial))), default=0)

    def patience_us(self, serials: Iterable[int]) -> int:
        """How long a call of these dialogs may be without media; 0 where its silence tells nothing: none was seen, some was
        not followed, or somebody holds (RFC 3264 section 8.4). An RTCP BYE tells that a stream is meant to be over."""
        sessions = [session for serial in serials if (session := self.sessions.get(serial)) is not None]
        if not any(session.streams for session in sessions):
            return 0
        if any(session.evicted or offers.on_hold(session.negotiation) for session in sessions if not session.closed):
            return 0
        left = any(session.bye_us > stream.last_us for session in sessions for stream in session.streams)
        return (self.limits.transaction_ms if left else self.limits.media_silence_ms) * 1000

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


@lru_cache(8192)
def ends(flow: bytes) -> tuple[Place, Place]:
    """Where a flow comes from and where it goes to."""
    size = (len(flow) - 4) // 2
    return flow[:size] + flow[-4:-2], flow[size : 2 * size] + flow[-2:]


@lru_cache(2048)
def _place_of(address: str) -> Place:
    """`192.0.2.1:4000` or `[2001:db8::1]:4000`, packed; empty where it is neither."""
    host, _, port = address.rpartition(":")
    return place(host.strip("[]").encode("utf-8", "replace"), int(port)) if port.isdecimal() and len(port) < 6 else b""


def _of_source(session: Session, flow: bytes, ssrc: int) -> Stream | None:
    return next((stream for stream in session.streams if stream.flow == flow and stream.ssrc == ssrc), None)


def _is_secure(session: Session) -> bool:
    negotiation = session.negotiation
    return any(line.secure for end in (negotiation.caller, negotiation.callee) for line in end.now())


def _direction(session: Session, report: Report) -> bool | None:
    """Who sends the stream that a report tells of, where the places themselves are not awaited: by SSRC, else by host."""
    if report.ssrc is not None:
        senders = {one.ssrc: one.from_caller for one in session.streams}
        senders |= {one.ssrc: one.from_caller for one in session.heard}
        if report.ssrc in senders:
            return senders[report.ssrc]
    for from_caller in (True, False):
        _, _, src, dst = announced(session, from_caller)
        for told, known in ((report.src, src), (report.dst, dst)):
            if told and told.rpartition(":")[0] == known.rpartition(":")[0]:
                return from_caller
    return None
