"""Requests within calls, and what each does to its dialog.

Laws
- A BYE ends what its tags name, whatever answers it; an offer, a REFER, an INFO counts when it is accepted (see `answers`).
- What belongs to no dialog that is known is counted, and kept in mind for a call that began before the capture (`midway`).
"""

from collectors.sip import dialog as machine
from collectors.sip import quality
from collectors.sip.brief import Brief
from collectors.sip.cause import may_tell
from collectors.sip.hops import hop_of, number_of, tags_of
from collectors.sip.lookup import Lookup
from collectors.sip.message import Message
from collectors.sip.packets import SipPacket
from collectors.sip.quick import read
from collectors.sip.replaces import read_replaces, refer_target
from collectors.sip.site import service
from collectors.sip.state import ENDED, TRYING, Dialog, Refer

REPORTING = frozenset((b"PUBLISH", b"NOTIFY"))
"""Requests that may carry a phone's report of voice quality (RFC 6035)."""


class Within(Lookup):
    """Every request but an INVITE that begins something."""

    def _within(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> None:
        """A re-INVITE or UPDATE in a dialog."""
        dialog = self._find(thread, packet, message)
        if dialog is None:
            self.counters["mid_dialog"] += 1
            self.midway.asked(packet, message)
            return
        dialog.last_us = packet.at_us
        if machine.modify(dialog, packet.src == dialog.src, message, packet.at_us):
            self.counters["retransmissions"] += 1
        else:
            self._offered(dialog, packet, message.cseq, message.body)

    def update(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        self._within(self.threads.get(short[2]), packet, message or read(data, short, self.counters))

    def ack(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        dialog = hop_of(thread, packet) if thread else None
        if dialog is None:
            if thread is None:
                self.midway.asked(packet, message or read(data, short, self.counters))
            return
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and not dialog.acked_us:
            dialog.acked_us = packet.at_us
        self._offered(dialog, packet, short[3], data)

    def touch(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """Any other request: a sign of life of its dialog, and read for what is wrong with it."""
        if message is None:
            read(data, short, self.counters)
        if self.desk is not None and short[0] in REPORTING:
            for report in quality.of_body(packet.at_us, data):
                self.report(self.desk, report)
        thread = self.threads.get(short[2])
        dialog = hop_of(thread, packet) if thread else None
        if dialog is not None:
            dialog.last_us = packet.at_us
            self._offered(dialog, packet, short[3], data)

    def info(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """INFO; with `Record: on` a phone's key asks the phone system to record (Snom, Yealink and others)."""
        self.touch(packet, data, short, message)
        if data.find(b"Record:") < 0:
            return
        message = message or read(data, short, self.counters)
        dialog = self._find(self.threads.get(short[2]), packet, message)
        if dialog is not None and message.get(b"Record").lower() == b"on":
            machine.ask(dialog, packet.src == dialog.src, message.cseq, b"recording")

    def cancel(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        dialog = hop_of(thread, packet) if thread else None
        if dialog is None:
            return
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and number_of(dialog.cseq) == number_of(short[3]):
            dialog.cancelled_us = dialog.cancelled_us or packet.at_us
            machine.note_reason(dialog, message or read(data, short, self.counters))

    def bye(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        if not thread:
            self.counters["mid_dialog"] += 1
            self.midway.asked(packet, message or read(data, short, self.counters))
            return
        if len(thread) == 1 and not thread[0].forks:
            self._hang_up(thread[0], packet, data, short, message)
            return
        message = message or read(data, short, self.counters)
        tags = tags_of(message)
        named = [dialog for dialog in thread if machine.is_named(dialog, tags)]
        for dialog in named:
            if not machine.end_fork(dialog, tags, packet.at_us):
                self._hang_up(dialog, packet, data, short, message)
        if not named and (other := hop_of(thread, packet)) is not None:
            self._hang_up(other, packet, data, short, message)

    def _hang_up(self, dialog: Dialog, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and not machine.is_named(
            dialog, tags_of(message or read(data, short, self.counters))
        ):
            return
        if self.desk is not None:
            quality.of_bye(self.desk, dialog, packet.src == dialog.src, packet.at_us, data)
        if dialog.phase != ENDED:
            machine.hang_up(dialog, packet.src, packet.dst, packet.at_us)
            if may_tell(data):
                machine.note_reason(dialog, message or read(data, short, self.counters))
            self._ended(dialog, packet.at_us)

    def refer(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        message = message or read(data, short, self.counters)
        dialog = self._find(self.threads.get(short[2]), packet, message)
        if dialog is None:
            if message.ends()[2]:
                self.counters["mid_dialog"] += 1
            else:
                self._refer_alone(packet, data, short, message)
            return
        dialog.last_us = packet.at_us
        wanted = refer_target(message.get(b"Refer-To"))
        by_caller = packet.src == dialog.src
        code = b"" if machine.leads_to_focus(dialog, by_caller) else wanted.code
        if code and service(self.site, wanted.user) == "park":
            code = b"park"
        if not machine.ask(dialog, by_caller, message.cseq, code):
            return
        if wanted.code:
            replaced = wanted.replaces.call_id if self._replaced(wanted.replaces) and wanted.replaces else b""
            self.correlator.asked(Refer(packet.at_us, packet.dst, wanted.user, dialog.call, replaces=replaced))

    def _refer_alone(self, packet: SipPacket, data: bytes, short: Brief, message: Message) -> None:
        """A REFER in no dialog: about the one that Target-Dialog names (RFC 4538), or an application that has a phone call."""
        about = self._replaced(read_replaces(message.get(b"Target-Dialog")))
        if about is not None:
            wanted = refer_target(message.get(b"Refer-To"))
            self.correlator.asked(Refer(packet.at_us, packet.dst, wanted.user, about.id))
        self.registrar.request(packet, data, short, message)
