"""Calls in progress: which dialogs there are, which call each belongs to, and when a call is over.

Laws
- Key of a dialog: Call-ID, From tag, the INVITE's sequence number and the two addresses. A retransmission is nothing
  new, a retry after 401/407 is the same attempt, a Call-ID that comes again after a BYE is another call.
- A dialog is answered by the first 2xx to its INVITE, and ended by a BYE's request, a final failure, or silence.
- A call is handed in when all its dialogs have ended and what may still follow had its time.
- Only an INVITE without a To tag opens anything: no other method, and no answer that nobody asked for.
"""

from heapq import heapify, heappop, heappush

from collectors.records import FeatureUse, Record
from collectors.sip import dialog as machine
from collectors.sip.address import listed, tag, text, uri_of, user
from collectors.sip.brief import Brief, to_tag
from collectors.sip.correlate import Correlator
from collectors.sip.features import of_invite
from collectors.sip.glance import Unusual, glance
from collectors.sip.legs import legs_of
from collectors.sip.limits import Limits
from collectors.sip.message import Message
from collectors.sip.packets import SipPacket
from collectors.sip.quick import read
from collectors.sip.registrar import Registrar
from collectors.sip.replaces import Replaces, read_replaces, refer_target
from collectors.sip.site import Site
from collectors.sip.state import ANSWERED, ENDED, TRYING, Dialog, Group, Refer

RECHECK_US = 256_000_000
"""A call's timer is looked at again at least this often, so that the timers of calls that ended early do not pile up."""

ANONYMOUS = frozenset(("", "anonymous", "unknown", "unavailable", "restricted", "asterisk"))
"""User parts of From that name nobody: RFC 3323's and those that phone systems fill in."""


class Calls:
    """The table of calls. `counters` is the tracker's; `records` takes what is final."""

    def __init__(
        self, limits: Limits, site: Site, registrar: Registrar, counters: dict[str, int], records: list[Record]
    ) -> None:
        self.limits = limits
        self.site = site
        self.registrar = registrar
        self.counters = counters
        self.records = records
        self.groups: dict[int, Group] = {}
        self.threads: dict[bytes, list[Dialog]] = {}
        self.correlator = Correlator(site, limits)
        self.serial = 0
        self.timers: list[tuple[int, int]] = []

    # --- requests

    def invite(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        known = _same_invite(thread, packet, short[3]) if thread else None
        if known is not None and known.phase != ENDED:
            known.last_us = packet.at_us
            self.counters["retransmissions"] += 1
            return
        message = message or read(data, short, self.counters)
        if known is not None and known.from_tag == message.ends()[1]:
            self.counters["retransmissions"] += 1
            return
        if message.ends()[2]:
            self._within(thread, packet, message)
        else:
            self._begin(thread, packet, message)

    def _begin(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> None:
        from_tag = message.ends()[1]
        group = hop = None
        if thread:
            hop = _last_hop(thread, packet, from_tag)
            if hop is not None and _number(message.cseq) <= _number(hop.cseq):
                self.counters["retransmissions"] += 1
                return
            if hop is not None and self._is_retry(hop):
                self._reopen(hop, packet, message)
                return
        invite, names = self._dialog(packet, message, from_tag)
        if thread:
            group = self._continued(thread, hop, invite)
            if group is None:
                self._retire(thread)
        group = group or self._related(invite, names, message)
        if group is None:
            group = self._new_group(packet.at_us)
            invite.side = "caller"
        self._attach(group, invite)

    def _is_retry(self, hop: Dialog) -> bool:
        """The same attempt again: after a challenge, or after an answer that was not heard."""
        if self.groups[hop.call].emitted_us:
            return False
        return hop.phase == TRYING or (hop.retry and hop.status >= 400)

    def _reopen(self, hop: Dialog, packet: SipPacket, message: Message) -> None:
        ended = hop.phase == ENDED
        hop.cseq, hop.last_us, hop.phase = message.cseq, packet.at_us, TRYING
        hop.status, hop.ended_us, hop.retry, hop.to_tag, hop.cancelled_us = 0, 0, False, b"", 0
        if ended:
            self.correlator.add(hop)
            self._schedule(self.groups[hop.call], packet.at_us)

    def _continued(self, thread: list[Dialog], hop: Dialog | None, invite: Dialog) -> Group | None:
        """The call that the same Call-ID stands for, while that call goes on."""
        number = _continued(thread, hop, invite)
        return None if number is None else self._alive(number)

    def _related(self, invite: Dialog, names: list[str], message: Message) -> Group | None:
        """The call that an INVITE with a Call-ID of its own belongs to."""
        replaces = message.get(b"Replaces") if b"Replaces" in message.first else b""
        if replaces and (replaced := self._replaced(read_replaces(replaces))) is not None:
            if b"early-only" in replaces:
                invite.side = "pickup"
            return replaced
        number = self.correlator.find(invite, names, self.groups)
        return None if number is None else self._alive(number)

    def _alive(self, number: int) -> Group | None:
        group = self.groups.get(number)
        return None if group is None or group.emitted_us else group

    def _dialog(self, packet: SipPacket, message: Message, from_tag: bytes) -> tuple[Dialog, list[str]]:
        names = _callers(message)
        dialled = user(message.uri) or user(uri_of(message.get(b"To")))
        self.serial += 1
        invite = Dialog(
            0,
            self.serial,
            message.call_id,
            from_tag,
            packet.transport,
            packet.src,
            packet.dst,
            "callee",
            message.cseq,
            names[0],
            dialled,
            self.registrar.endpoint_of(message.uri) or dialled,
            text(message.get(b"User-Agent")),
            packet.at_us,
            packet.at_us,
            message.cseq,
        )
        if b"Session-ID" in message.first:
            invite.session = message.get(b"Session-ID")
        invite.features.extend(of_invite(message, invite.caller, packet.at_us // 1000))
        if message.uri[:5].lower() == b"sips:" or packet.transport == "tls":
            invite.features.append(FeatureUse(code="encrypted_call", endpoint="", at_ms=packet.at_us // 1000))
        return invite, names

    def _within(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> None:
        """A re-INVITE or UPDATE in a dialog."""
        dialog = self._find(thread, packet, message)
        if dialog is None:
            self.counters["mid_dialog"] += 1
            return
        dialog.last_us = packet.at_us
        if machine.modify(dialog, packet.src == dialog.src, message, packet.at_us):
            self.counters["retransmissions"] += 1

    def update(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        self._within(self.threads.get(short[2]), packet, message or read(data, short, self.counters))

    def ack(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        dialog = _hop(thread, packet) if thread else None
        if dialog is None:
            return
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and not dialog.acked_us:
            dialog.acked_us = packet.at_us

    def touch(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """Any other request: a sign of life of its dialog, and read for what is wrong with it."""
        if message is None:
            read(data, short, self.counters)
        thread = self.threads.get(short[2])
        dialog = _hop(thread, packet) if thread else None
        if dialog is not None:
            dialog.last_us = packet.at_us

    def cancel(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        dialog = _hop(thread, packet) if thread else None
        if dialog is None:
            return
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and _number(dialog.cseq) == _number(short[3]):
            dialog.cancelled_us = dialog.cancelled_us or packet.at_us
            dialog.reason = dialog.reason or machine.reason_of(message or read(data, short, self.counters))

    def bye(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        thread = self.threads.get(short[2])
        if not thread:
            self.counters["mid_dialog"] += 1
            return
        if len(thread) == 1 and not thread[0].forks:
            self._hang_up(thread[0], packet, data, short, message)
            return
        message = message or read(data, short, self.counters)
        tags = _tags(message)
        named = [dialog for dialog in thread if machine.is_named(dialog, tags)]
        for dialog in named:
            if not machine.end_fork(dialog, tags, packet.at_us):
                self._hang_up(dialog, packet, data, short, message)
        if not named and (other := _hop(thread, packet)) is not None:
            self._hang_up(other, packet, data, short, message)

    def _hang_up(self, dialog: Dialog, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        dialog.last_us = packet.at_us
        if dialog.phase == TRYING and not machine.is_named(dialog, _tags(message or read(data, short, self.counters))):
            return
        if dialog.phase != ENDED:
            machine.hang_up(dialog, packet.src, packet.dst, packet.at_us)
            self._ended(dialog, packet.at_us)

    def refer(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        message = message or read(data, short, self.counters)
        dialog = self._find(self.threads.get(short[2]), packet, message)
        if dialog is None:
            self.counters["mid_dialog"] += 1
            return
        dialog.last_us = packet.at_us
        target, replaces = refer_target(message.get(b"Refer-To"))
        code = b"transfer_attended" if replaces else b"transfer_blind"
        if not machine.ask(dialog, packet.src == dialog.src, message.cseq, code):
            return
        other = self._replaced(replaces)
        group = self.groups[dialog.call]
        if other is not None and other is not group and not group.emitted_us:
            self._merge(group, other)
        elif other is None:
            self.correlator.asked(Refer(packet.at_us, packet.dst, target, dialog.call))

    # --- answers

    def answer(
        self, thread: list[Dialog], packet: SipPacket, data: bytes, short: Brief, message: Message | None
    ) -> None:
        """An answer to an INVITE."""
        _, status, _, cseq = short
        dialog = thread[0] if len(thread) == 1 else _answered_hop(thread, packet, cseq)
        dialog.last_us = packet.at_us
        if (dialog.asked and self._asked(dialog, packet, data, short, message)) or dialog.cseq != cseq:
            return
        if status < 200:
            self._ring(dialog, packet.at_us, data, short, message)
        elif status < 300:
            self._answered(dialog, packet.at_us, data, short, message)
        elif dialog.phase == TRYING:
            machine.fail(dialog, packet.at_us, message or read(data, short, self.counters))
            self._ended(dialog, packet.at_us)

    def answer_in_dialog(self, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> None:
        """An answer to any other request of a dialog."""
        thread = self.threads.get(short[2])
        dialog = _hop(thread, packet) if thread else None
        if dialog is None:
            self.counters["orphans"] += 1
            return
        dialog.last_us = packet.at_us
        if dialog.asked or short[1] == 481:
            self._asked(dialog, packet, data, short, message)

    def _asked(self, dialog: Dialog, packet: SipPacket, data: bytes, short: Brief, message: Message | None) -> bool:
        """Whether this answers a request within the dialog that was noted; what comes of it."""
        _, status, _, cseq = short
        by_caller = packet.src == dialog.dst
        code = machine.asked(dialog, by_caller, cseq)
        if 200 <= status < 300 and code:
            machine.accepted(dialog, by_caller, cseq, code)
        elif 200 <= status < 300 and code is not None:
            machine.agreed(dialog, machine.told(message or read(data, short, self.counters)))
        elif status == 481 and dialog.phase == ANSWERED and (code is not None or not cseq.endswith(b" CANCEL")):
            machine.assume(dialog)  # the other end knows it no more (RFC 3261 section 12.2.1.2)
            self._ended(dialog, dialog.last_us)
        return code is not None

    def _ring(self, dialog: Dialog, at_us: int, data: bytes, short: Brief, message: Message | None) -> None:
        if dialog.phase != TRYING:
            return
        early = to_tag(data) if message is None else tag(message.get(b"To"))
        if early is None:
            message = read(data, short, self.counters)
            early = tag(message.get(b"To"))
        dialog.ringing_us = dialog.ringing_us or at_us
        if not dialog.to_tag:
            dialog.to_tag = early
        elif early and early != dialog.to_tag:
            machine.fork(
                dialog, early, at_us, self._contact((message or read(data, short, self.counters)).get(b"Contact"))
            )

    def _answered(self, dialog: Dialog, at_us: int, data: bytes, short: Brief, message: Message | None) -> None:
        if dialog.phase == TRYING:
            told = self._told(data, short, message)
            machine.answer(dialog, at_us, told, self._contact(told.contact))
            if dialog.expires_us:
                self._not_after(self.groups[dialog.call], machine.deadline(dialog, self.limits))
        elif dialog.phase == ANSWERED and dialog.status:
            last = to_tag(data) if message is None else tag(message.get(b"To"))
            if last and last != dialog.to_tag:
                machine.answer_fork(
                    dialog, last, at_us, self._contact((message or read(data, short, self.counters)).get(b"Contact"))
                )

    def _told(self, data: bytes, short: Brief, message: Message | None) -> machine.Told:
        """What a 2xx tells, by the shortest way that reads it for sure."""
        to = to_tag(data) if message is None else None
        if to is not None:
            try:
                found = glance(data)
                return machine.Told(to, found.get(b"Contact"), found.get(b"Session-Expires"), found.body())
            except Unusual:
                pass
        return machine.told(message or read(data, short, self.counters))

    def _contact(self, value: bytes) -> str:
        """The user that a Contact names, by its address of record where it registered."""
        uri = uri_of(next(iter(listed([value])), b"") if b"," in value else value)
        return self.registrar.endpoint_of(uri) or user(uri)

    # --- groups

    def _new_group(self, at_us: int) -> Group:
        if len(self.groups) >= self.limits.calls:
            self._evict(at_us)
        self.serial += 1
        group = Group(self.serial, at_us)
        self.groups[group.id] = group
        return group

    def _attach(self, group: Group, dialog: Dialog) -> None:
        if len(group.dialogs) >= self.limits.legs_per_call:
            self.counters["legs_over_limit"] += 1
            return
        if group.dialogs:
            for other in group.dialogs:
                other.retry = False
        dialog.call, dialog.first_side = group.id, dialog.side
        group.dialogs.append(dialog)
        self.threads.setdefault(dialog.call_id, []).append(dialog)
        self.correlator.add(dialog)
        self._not_after(group, machine.deadline(dialog, self.limits))

    def _retire(self, thread: list[Dialog]) -> None:
        """The Call-ID begins another call: what it stood for ends at its last sign of life."""
        for dialog in list(thread):
            dialog.retired = True
            self._forget(dialog)
            if dialog.phase != ENDED:
                machine.assume(dialog)
                self._ended(dialog, dialog.last_us)

    def _merge(self, one: Group, other: Group) -> None:
        """Two calls are one: the older takes the younger's dialogs."""
        older, younger = sorted((one, other), key=lambda group: (group.started_us, group.id))
        for dialog in younger.dialogs:
            dialog.call = older.id
            dialog.side = "callee"
        older.dialogs.extend(younger.dialogs)
        del self.groups[younger.id]
        self.correlator.merged(younger.id, older.id)
        self._schedule(older, older.due_us)
        self.counters["merged"] += 1

    def _replaced(self, replaces: Replaces | None) -> Group | None:
        """The call of the dialog that a Replaces names (RFC 3891 section 3)."""
        thread = self.threads.get(replaces.call_id) if replaces else None
        if not thread:
            return None
        return self._alive(thread[-1].call)

    def _find(self, thread: list[Dialog] | None, packet: SipPacket, message: Message) -> Dialog | None:
        if not thread:
            return None
        hop = _hop(thread, packet)
        if hop is not None and (len(thread) == 1 or {packet.src, packet.dst} == {hop.src, hop.dst}):
            return hop
        tags = _tags(message)
        return next((dialog for dialog in thread if machine.is_named(dialog, tags)), hop)

    # --- time

    def _ended(self, dialog: Dialog, at_us: int) -> None:
        self.correlator.remove(dialog)
        group = self.groups[dialog.call]
        for other in group.dialogs:
            if other.phase != ENDED:
                return
        self._schedule(group, at_us)

    def _not_after(self, group: Group, due_us: int) -> None:
        """Look at this call at that time, unless it is looked at sooner anyway."""
        if not group.due_us or due_us < group.due_us:
            group.due_us = due_us
            heappush(self.timers, (due_us, group.id))

    def _schedule(self, group: Group, at_us: int) -> None:
        group.due_us = min(self._due(group), at_us + RECHECK_US)
        heappush(self.timers, (group.due_us, group.id))

    def _due(self, group: Group) -> int:
        """When something happens to this call if nothing is heard of it any more."""
        limits = self.limits
        if group.emitted_us:
            return group.emitted_us + limits.transaction_ms * 1000
        settled = silent = 0
        for dialog in group.dialogs:
            if dialog.phase != ENDED:
                deadline = machine.deadline(dialog, limits)
                silent = deadline if not silent or deadline < silent else silent
            else:
                settled = max(settled, dialog.ended_us + machine.patience_us(dialog, limits))
        if not silent and self.correlator.refers and self.correlator.pending(group.id):
            settled += limits.transaction_ms * 1000
        return silent or settled

    def run(self, now_us: int) -> None:
        """End what silence ends, hand in what has settled, forget what is long over."""
        self.correlator.expire(now_us)
        timers, groups = self.timers, self.groups
        while timers and timers[0][0] <= now_us:
            due_us, number = heappop(timers)
            group = groups.get(number)
            if group is not None and group.due_us == due_us:
                self._run_group(group, now_us)

    def _run_group(self, group: Group, now_us: int) -> None:
        if self._due(group) > now_us:
            self._schedule(group, now_us)
        elif group.emitted_us:
            self._drop(group)
        else:
            if not self._silence(group, now_us):
                self._emit(group, now_us)
            self._schedule(group, now_us)

    def _silence(self, group: Group, now_us: int) -> bool:
        """End the dialogs that have been silent for too long; whether there were any."""
        found = False
        for dialog in group.dialogs:
            if dialog.phase != ENDED and machine.deadline(dialog, self.limits) <= now_us:
                machine.assume(dialog)
                self.correlator.remove(dialog)
                self.counters["ended_by_silence"] += 1
                found = True
        return found

    def clock_set(self, step_us: int, now_us: int) -> None:
        """The packets' clock jumped: that is no silence, and no time that anybody talked."""
        for group in list(self.groups.values()):
            for dialog in group.dialogs:
                if dialog.phase != ENDED:
                    dialog.clock_us += step_us
            if group.emitted_us:
                group.emitted_us += step_us
            elif all(dialog.phase == ENDED for dialog in group.dialogs):
                self._emit(group, now_us)
            self._schedule(group, now_us)

    def _emit(self, group: Group, now_us: int) -> None:
        group.emitted_us = now_us
        self.records.extend(legs_of(group, self.site))
        self.counters["calls"] += 1

    def _drop(self, group: Group) -> None:
        del self.groups[group.id]
        for dialog in group.dialogs:
            self._forget(dialog)

    def _forget(self, dialog: Dialog) -> None:
        """Take it out of its thread (by identity: what two dialogs say may be the same)."""
        thread = self.threads.get(dialog.call_id)
        if thread is None:
            return
        if len(thread) == 1 and thread[0] is dialog:
            del self.threads[dialog.call_id]
            return
        thread[:] = [other for other in thread if other is not dialog]
        if not thread:
            del self.threads[dialog.call_id]

    def _evict(self, now_us: int) -> None:
        """Make room: a call that was handed in already, else the oldest unanswered one, else the oldest."""
        oldest = list(zip(self.groups.values(), range(64), strict=False))
        rank = [(not group.emitted_us, any(d.answered_us for d in group.dialogs), at) for group, at in oldest]
        group = oldest[min(rank)[2]][0]
        if not group.emitted_us:
            self.counters["calls_evicted"] += 1
            self._close(group, now_us, "assumed")
        self._drop(group)

    def _close(self, group: Group, now_us: int, ending: str) -> None:
        for dialog in group.dialogs:
            if dialog.phase != ENDED:
                if ending == "open":
                    machine.leave_open(dialog, now_us)
                else:
                    machine.assume(dialog)
                self.correlator.remove(dialog)
        self._emit(group, now_us)

    def finish(self, now_us: int) -> None:
        for group in list(self.groups.values()):
            if not group.emitted_us:
                self._close(group, now_us, "open")
            self._drop(group)
        self.timers.clear()

    def restore(self, groups: list[Group], refers: list[Refer], serial: int) -> None:
        self.groups = {group.id: group for group in groups}
        self.serial = serial
        self.correlator.refers = refers
        dialogs = sorted((dialog for group in groups for dialog in group.dialogs), key=lambda dialog: dialog.serial)
        for dialog in dialogs:
            if not dialog.retired:
                self.threads.setdefault(dialog.call_id, []).append(dialog)
            if dialog.phase != ENDED:
                self.correlator.add(dialog)
        self.timers = [(group.due_us, group.id) for group in groups]
        heapify(self.timers)


def _tags(message: Message) -> tuple[bytes, bytes]:
    return message.ends()[1:]


def _number(cseq: bytes) -> int:
    return int(cseq[: cseq.find(b" ")])


def _same_invite(thread: list[Dialog], packet: SipPacket, cseq: bytes) -> Dialog | None:
    for dialog in thread:
        if dialog.cseq == cseq and dialog.src == packet.src and dialog.dst == packet.dst:
            return dialog
    return None


def _hop(thread: list[Dialog], packet: SipPacket) -> Dialog | None:
    """The dialog between these two addresses, either way; the only one there is where none fits."""
    if len(thread) == 1:
        return thread[0]
    for dialog in reversed(thread):
        if (dialog.src == packet.src and dialog.dst == packet.dst) or (
            dialog.src == packet.dst and dialog.dst == packet.src
        ):
            return dialog
    return None


def _last_hop(thread: list[Dialog], packet: SipPacket, from_tag: bytes) -> Dialog | None:
    for dialog in reversed(thread):
        if dialog.src == packet.src and dialog.dst == packet.dst and dialog.from_tag == from_tag:
            return dialog
    return None


def _answered_hop(thread: list[Dialog], packet: SipPacket, cseq: bytes) -> Dialog:
    """The dialog that an answer belongs to: the one whose INVITE went the other way, else one with this INVITE."""
    for dialog in reversed(thread):
        if dialog.src == packet.dst and dialog.dst == packet.src and dialog.cseq == cseq:
            return dialog
    for dialog in reversed(thread):
        if dialog.cseq == cseq and dialog.phase == TRYING:
            return dialog
    return _hop(thread, packet) or thread[-1]


def _continued(thread: list[Dialog], hop: Dialog | None, invite: Dialog) -> int | None:
    """The call that an INVITE with a known Call-ID goes on with: a fork, a further hop, a redirection, another try. None
    where that call is over: a Call-ID that comes again after a BYE, or from the same phone while one is up."""
    if hop is not None and (hop.answered_us or hop.phase != ENDED):
        return None
    sender = next((dialog for dialog in thread if dialog.src == invite.src), None)
    if all(dialog.phase == ENDED for dialog in thread) and any(dialog.answered_us for dialog in thread):
        return None
    if sender is not None:
        if sender.from_tag != invite.from_tag and sender.dst == invite.dst:
            return None
        invite.side = sender.side
    return thread[-1].call


def _callers(message: Message) -> list[str]:
    """Who calls: From's user first, unless it names nobody; then the identities that the network asserts (RFC 3325)."""
    told = [user(message.ends()[0])]
    for name in (b"P-Asserted-Identity", b"Remote-Party-ID"):
        if name in message.first:
            told += [user(uri_of(value)) for value in listed(message.values(name))]
    known = [name for name in told if name.lower() not in ANONYMOUS]
    return known or told[:1]
