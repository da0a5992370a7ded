"""From SIP packets to calls, registrations and uses of features.

Laws
- Sans-I/O: packets in, records out. No socket, no file, no clock: time is what the packets and `tick` say.
- A call is handed in once, whole, when the last of its dialogs has ended and settled; all its legs together.
- No input raises. What cannot be read is a `Reject`; what is dropped at a limit is counted.
- Determinism: the records depend on the packets and ticks alone. `restore(snapshot())` changes nothing of what follows.
"""

from collections import Counter
from collections.abc import Callable
from hashlib import blake2b

import msgspec
from msgspec import Struct, field

from collectors.records import EXCERPT_MAX_BYTES, Record, Reject
from collectors.sip.address import uri_of, user
from collectors.sip.bindings import Bindings
from collectors.sip.brief import Brief, brief
from collectors.sip.calls import Calls
from collectors.sip.devices import Devices
from collectors.sip.dissect import OnMedia
from collectors.sip.framing import Framer
from collectors.sip.limits import Limits
from collectors.sip.mailbox import EVENT, Mailboxes
from collectors.sip.media.desk import Desk, DeskState, MediaSetting
from collectors.sip.media.report import Report
from collectors.sip.message import Malformed, Message, parse
from collectors.sip.midway import MidwayState
from collectors.sip.packets import STREAMS, SipPacket, is_keepalive, looks_like_sip
from collectors.sip.quick import read
from collectors.sip.registrar import Registrar
from collectors.sip.risk import Risks
from collectors.sip.site import Site
from collectors.sip.state import Binding, Group, Refer, RisksState, Stay, Transaction

VERSION = 2
"""Of the snapshot's form."""

TICK_US = 1_000_000
"""Timers are looked at once in this much packet time; the shortest of them is two seconds."""

FORWARD_STEP_US = 86_400_000_000
"""Two packets more than a day apart: nothing was captured meanwhile, or the clock was set. That is no silence to end calls
by."""

BACK_STEP_US = 3_600_000_000
"""A packet that is more than an hour older than the newest: the clock was set back."""

TRYING = b"SIP/2.0 100 "
"""How the answer begins that says nothing but that the request has come."""

OUTSIDE = frozenset((b"REGISTER", b"MESSAGE", b"SUBSCRIBE"))
"""Requests that count by themselves once they are accepted."""


Handler = Callable[[SipPacket, bytes, Brief, Message | None], None]
"""What takes one message: the packet, the message's bytes, what `brief` told, and the whole message where it was read."""


class _State(Struct, array_like=True):
    version: int
    now_us: int
    due_us: int
    packets: int
    serial: int
    swept_us: int
    groups: list[Group]
    refers: list[Refer]
    transactions: dict[bytes, Transaction]
    bindings: dict[str, Binding]
    streams: dict[str, Framer]
    counters: dict[str, int]
    media: DeskState
    stays: dict[str, dict[str, Stay]] = {}
    risks: RisksState = field(default_factory=RisksState)
    midway: MidwayState = field(default_factory=MidwayState)
    boxes: dict[str, int] = {}


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_State)


class Tracker:
    """Feed it packets in the order of their capture; drain it as often as you like."""

    def __init__(self, limits: Limits = Limits(), site: Site = Site(), media: MediaSetting = "off") -> None:  # noqa: B008 - frozen
        self.limits = limits
        self.site = site
        self._counts: dict[str, int] = Counter()
        self._messages = self._registers = 0
        self._records: list[Record] = []
        self._rejects: list[Reject] = []
        devices = Devices(site.devices)
        self._bindings = Bindings(limits, devices, self._counts, self._records)
        self._risks = Risks(limits, site, devices, self._counts, self._records)
        self._registrar = Registrar(limits, self._bindings, self._risks, self._counts, self._records)
        self._desk = Desk(limits, media, self._counts) if media != "off" else None
        self._calls = Calls(limits, site, self._registrar, self._counts, self._records, self._desk)
        self.media: OnMedia | None = self._media if self._desk is not None else None
        """Takes each datagram that is no SIP; None where no media is read."""
        self._handlers: dict[bytes, Handler] = {
            b"": self._answer,
            b"INVITE": self._calls.invite,
            b"ACK": self._calls.ack,
            b"BYE": self._calls.bye,
            b"CANCEL": self._calls.cancel,
            b"UPDATE": self._calls.update,
            b"REFER": self._calls.refer,
            b"INFO": self._calls.info,
            b"NOTIFY": self._notify,
            b"REGISTER": self._register,
            b"MESSAGE": self._registrar.request,
            b"SUBSCRIBE": self._registrar.request,
            b"OPTIONS": self._options,
        }
        self._other: Handler = self._calls.touch
        knows_voicemail = any(code.startswith("voicemail") for code in site.services.values())
        self._boxes = None if knows_voicemail else Mailboxes(self._counts)
        self._streams: dict[str, Framer] = {}
        self._stream_bytes = 0
        self._packets = 0
        self._now_us = 0
        self._back_us = self._due_us = 0

    @property
    def counters(self) -> dict[str, int]:
        """Totals by name since the tracker was made; they are part of the snapshot. The README names them all."""
        return {**self._counts, "messages": self._messages, "registers": self._registers}

    def feed(self, packet: SipPacket) -> None:
        """Take one packet. Time runs to `packet.at_us` first; one that is older than the newest does not turn it back."""
        at_us = packet.at_us
        if at_us >= self._due_us or at_us < self._back_us:
            self._advance(at_us)
        self._packets += 1
        if packet.transport in STREAMS:
            self._feed_stream(packet)
            return
        data = packet.payload
        if data[:12] == TRYING:
            self._messages += 1
            return
        short = brief(data)
        if short is None:
            self._read_slowly(packet, data)
        else:
            self._messages += 1
            self._handlers.get(short[0], self._other)(packet, data, short, None)

    def _feed_stream(self, packet: SipPacket) -> None:
        flow = f"{packet.transport} {packet.src} {packet.dst}"
        framer = self._streams.pop(flow, None) or Framer(self.limits.message_bytes)
        self._stream_bytes -= len(framer.rest)
        broken = framer.broken
        for message in framer.feed(packet.payload):
            self._read(packet, message)
        if framer.broken > broken:
            self._counts["stream_messages_lost"] += framer.broken - broken
        if framer.rest:
            self._keep_stream(flow, framer)

    def _keep_stream(self, flow: str, framer: Framer) -> None:
        """An unfinished message; what was heard of least recently makes room for it."""
        limits, size = self.limits, len(framer.rest)
        while self._streams and (
            len(self._streams) >= limits.streams or self._stream_bytes + size > limits.streams_bytes
        ):
            self._stream_bytes -= len(self._streams.pop(next(iter(self._streams))).rest)
            self._counts["streams_evicted"] += 1
        self._streams[flow] = framer
        self._stream_bytes += size

    def _read(self, packet: SipPacket, data: bytes) -> None:
        short = brief(data)
        if short is None:
            self._read_slowly(packet, data)
        else:
            self._take(packet, data, short, None)

    def _read_slowly(self, packet: SipPacket, data: bytes) -> None:
        """What is not written in the usual way, or is no SIP."""
        if not looks_like_sip(data):
            self._counts["keepalives" if is_keepalive(data) else "not_sip"] += 1
            return
        try:
            message = parse(data)
        except Malformed as fault:
            self._reject(packet, data, fault)
            return
        if message.problems:
            self._counts["malformed"] += 1
        self._take(packet, data, (message.method, message.status, message.call_id, message.cseq), message)

    def _take(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        self._messages += 1
        self._handlers.get(short[0], self._other)(packet, data, short, message)

    def _register(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        self._registers += 1
        self._registrar.register(packet, data, short, message)

    def _options(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        self._risks.asked_options(packet, data)
        self._calls.touch(packet, data, short, message)

    def _notify(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """Where the configuration names the voicemail's number, its calls tell of messages, else the boxes do."""
        self._calls.touch(packet, data, short, message)
        if self._boxes is not None and data.find(EVENT) >= 0:
            request = message or read(data, short, self._counts)
            seat = self._registrar.endpoint_of(request.uri) or user(uri_of(request.get(b"To")))
            if (use := self._boxes.told(request, seat, packet.at_us)) is not None:
                self._records.append(use)

    def _answer(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        _, status, call_id, cseq = short
        if status == 100:
            return
        if cseq[-7:] == b" INVITE":
            thread = self._calls.threads.get(call_id)
            if thread is None:
                self._calls.answer_midway(packet, data, short, message)
            else:
                self._calls.answer(thread, packet, data, short, message)
        elif cseq[cseq.find(b" ") + 1 :] in OUTSIDE:
            self._registrar.answer(packet, data, short, message)
        else:
            if cseq[-8:] == b" OPTIONS":
                self._risks.answered_options(packet)
            self._calls.answer_in_dialog(packet, data, short, message)

    def _reject(self, packet: SipPacket, data: bytes, fault: Malformed) -> None:
        self._counts["rejects"] += 1
        self._registers += data.startswith(b"REGISTER ")
        self._risks.unreadable(packet)
        if len(self._rejects) >= self.limits.rejects:
            self._counts["rejects_dropped"] += 1
            return
        identity = f"{packet.at_us} {packet.src} {packet.dst} ".encode() + data
        self._rejects.append(
            Reject(
                key=blake2b(identity, digest_size=16).hexdigest(),
                reason=fault.reason,
                message=f"{packet.src} to {packet.dst}: {fault}",
                excerpt=data[:EXCERPT_MAX_BYTES],
                position=f"packet {self._packets}",
                at_ms=packet.at_us // 1000,
            )
        )

    def _advance(self, at_us: int) -> None:
        """Time goes on with a packet, or the clock was set."""
        step_us = at_us - self._now_us
        if self._now_us and not -BACK_STEP_US <= step_us <= FORWARD_STEP_US:
            self._counts["clock_steps"] += 1
            self._due_us = 0
            self._calls.clock_set(step_us, at_us)
            self._risks.clock_set()
        self.tick(at_us)

    def _media(self, at_us: int, flow: bytes, buffer: bytes | memoryview, begin: int, end: int) -> bool:
        if at_us >= self._due_us or at_us < self._back_us:
            self._advance(at_us)
        assert self._desk is not None
        return self._desk.media(at_us, flow, buffer, begin, end)

    def report(self, report: Report) -> bool:
        """What an end or a probe reports of a stream. Whether it belongs to a call that is followed."""
        self.passed(report.at_us)
        return self._desk is not None and self._calls.report(self._desk, report)

    def passed(self, at_us: int) -> None:
        """Something that is no SIP was captured at `at_us`: time runs on as with a packet."""
        if at_us >= self._due_us or at_us < self._back_us:
            self._advance(at_us)

    def tick(self, now_us: int) -> None:
        """Time has come to `now_us`, on the packets' clock: what is due ends now."""
        if now_us < self._due_us:
            return
        before_us, self._now_us = self._now_us, now_us
        self._back_us = now_us - BACK_STEP_US
        self._due_us = now_us - now_us % TICK_US + TICK_US
        self._calls.run(now_us)
        self._registrar.run(now_us)
        self._risks.run(now_us, before_us)

    def drain(self) -> tuple[list[Record], list[Reject]]:
        """What became final since the last drain."""
        records, rejects = self._records.copy(), self._rejects.copy()
        self._records.clear()
        self._rejects.clear()
        return records, rejects

    def finish(self, now_us: int) -> None:
        """The source has ended: whatever is still open is handed in with `ending="open"`."""
        self.tick(now_us)
        self._calls.finish(max(now_us, self._now_us))
        self._risks.finish()
        if self._streams:
            self._counts["stream_messages_lost"] += len(self._streams)
        self._streams.clear()
        self._stream_bytes = 0

    def snapshot(self) -> bytes:
        """All that is known of calls in progress, bindings and unfinished streams. Drain first: records that wait to be
        drained are not part of it."""
        calls, bindings = self._calls, self._bindings
        return _encoder.encode(
            _State(
                VERSION,
                self._now_us,
                self._due_us,
                self._packets,
                calls.serial,
                bindings.swept_us,
                calls.kept(),
                calls.correlator.refers,
                dict(self._registrar.transactions),
                dict(bindings.known),
                self._streams,
                self.counters,
                self._desk.state() if self._desk is not None else DeskState(),
                dict(bindings.stays),
                self._risks.state(),
                calls.midway.state,
                self._boxes.new if self._boxes is not None else {},
            )
        )

    def restore(self, state: bytes) -> None:
        """Go on where `snapshot` stood. Raises ValueError where these bytes are no snapshot of this version."""
        try:
            known = _decoder.decode(state)
        except msgspec.DecodeError as fault:
            raise ValueError(f"these bytes are no state of a SIP tracker: {fault}") from fault
        if known.version != VERSION:
            raise ValueError(f"the state has version {known.version}, this program reads version {VERSION}")
        self._now_us, self._due_us, self._packets = known.now_us, known.due_us, known.packets
        self._back_us = known.now_us - BACK_STEP_US
        self._streams = known.streams
        self._stream_bytes = sum(len(framer.rest) for framer in known.streams.values())
        self._counts.clear()
        self._counts.update(known.counters)
        self._messages, self._registers = self._counts.pop("messages"), self._counts.pop("registers")
        self._calls.restore(known.groups, known.refers, known.serial)
        self._registrar.restore(known.transactions)
        self._bindings.restore(known.bindings, known.stays, known.swept_us)
        self._risks.restore(known.risks)
        self._calls.midway.state = known.midway
        if self._boxes is not None:
            self._boxes.new = known.boxes
        if self._desk is not None:
            self._desk.restore(known.media)
