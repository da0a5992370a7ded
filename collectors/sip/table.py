"""The table of calls in progress: what belongs together, and when it is over.

Laws
- A call is handed in when all its dialogs have ended and what may still follow had its time; all its legs at once.
- It is then kept for a while longer, to know retransmissions again.
- What a limit pushes out is handed in as it stands, and counted.
"""

from collections import deque

from collectors.records import Record
from collectors.sip import dialog as machine
from collectors.sip.correlate import Correlator
from collectors.sip.legs import legs_of
from collectors.sip.limits import Limits
from collectors.sip.media.desk import Desk
from collectors.sip.midway import Midway
from collectors.sip.room import Room
from collectors.sip.site import Site
from collectors.sip.state import ANSWERED, ENDED, Dialog, Group, Refer
from collectors.sip.timers import Timers

RECHECK_US = 256_000_000
"""A call's timer is looked at again at least this often, so that the timers of calls that ended early do not pile up."""

TIMERS_MIN, TIMERS_PER_CALL = 4_096, 4
"""Beyond so many, timers are set anew: those of calls that are gone would pile up until they are due. A call has one or two."""


class Table:
    """`counters` is the tracker's; `records` takes what is final. `threads` finds the dialogs of a Call-ID."""

    def __init__(
        self, limits: Limits, site: Site, counters: dict[str, int], records: list[Record], desk: Desk | None = None
    ) -> None:
        self.limits = limits
        self.site = site
        self.counters = counters
        self.desk = desk
        self.records = records
        self.groups: dict[int, Group] = {}
        self.threads: dict[bytes, list[Dialog]] = {}
        self.correlator = Correlator(site, limits)
        self.midway = Midway()
        self.serial = 0
        self.timers = Timers()
        self.room = Room()
        """The calls in progress, those first that go first when room must be made."""
        self.over: deque[Group] = deque()
        """Calls that were handed in, in that order."""

    # --- groups

    def _new_group(self, at_us: int) -> Group:
        if len(self.groups) >= self.limits.calls:
            self._evict(at_us)
        self.serial += 1
        group = Group(self.serial, at_us, heard_us=at_us)
        self.groups[group.id] = group
        self.room.add(group)
        return group

    def _attach(self, group: Group, dialog: Dialog) -> None:
        if len(group.dialogs) >= self.limits.legs_per_call:
            self.counters["legs_over_limit"] += 1
            return
        if group.dialogs:
            for other in group.dialogs:
                other.retry = False
        dialog.call = group.id
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

    # --- time

    def _ended(self, dialog: Dialog, at_us: int) -> None:
        self._over(dialog)
        group = self.groups[dialog.call]
        for other in group.dialogs:
            if other.phase != ENDED:
                return
        self._schedule(group, at_us)

    def _over(self, dialog: Dialog) -> None:
        self.correlator.remove(dialog)
        if self.desk is not None:
            self.desk.close(dialog.serial)

    def _not_after(self, group: Group, due_us: int) -> None:
        """Look at this call at that time, unless it is looked at sooner anyway."""
        if not group.due_us or due_us < group.due_us:
            group.due_us = due_us
            self.timers.set(due_us, group.id)

    def _deadline(self, dialog: Dialog, group: Group) -> int:
        """Until when it may be silent. Media is a sign of life; where it ran and has stopped, the BYE was lost."""
        desk = self.desk
        if desk is None or dialog.phase != ANSWERED:
            return machine.deadline(dialog, self.limits)
        serials = [other.serial for other in group.dialogs]
        last_us = desk.last_us(serials)
        dialog.last_us = max(dialog.last_us, desk.last_us((dialog.serial,)) or last_us)
        due_us = machine.deadline(dialog, self.limits)
        patience_us = desk.patience_us(serials)
        if not patience_us:
            return due_us
        return min(due_us, max(last_us, dialog.last_us) + dialog.clock_us + patience_us)

    def _schedule(self, group: Group, at_us: int) -> None:
        due_us, recheck_us = self._due(group), at_us + RECHECK_US
        group.due_us = due_us if due_us < recheck_us else recheck_us
        self.timers.set(group.due_us, group.id)

    def _due(self, group: Group) -> int:
        """When something happens to this call if nothing is heard of it any more."""
        limits = self.limits
        settled = silent = 0
        for dialog in group.dialogs:
            if dialog.phase != ENDED:
                deadline = self._deadline(dialog, group)
                silent = deadline if not silent or deadline < silent else silent
            else:
                settled = max(settled, dialog.ended_us + machine.patience_us(dialog, limits))
        if not silent and self.correlator.refers and self.correlator.pending(group.id):
            settled += limits.transaction_ms * 1000
        return silent or settled

    def run(self, now_us: int) -> None:
        """End what silence ends, hand in what has settled, forget what is long over."""
        self.correlator.expire(now_us)
        over, forgotten_us = self.over, now_us - self.limits.transaction_ms * 1000
        while over and over[0].emitted_us <= forgotten_us:
            self._drop(over.popleft())
        while due := self.timers.due(now_us):
            for due_us, number in due:
                group = self.groups.get(number)
                if group is not None and group.due_us == due_us and not group.emitted_us:
                    self._run_group(group, now_us)

    def _run_group(self, group: Group, now_us: int) -> None:
        if self._due(group) > now_us or self._silence(group, now_us):
            self._schedule(group, now_us)
        else:
            self._emit(group, now_us)

    def _silence(self, group: Group, now_us: int) -> bool:
        """End the dialogs that have been silent for too long; whether there were any."""
        found = False
        for dialog in group.dialogs:
            if dialog.phase != ENDED and self._deadline(dialog, group) <= now_us:
                machine.assume(dialog)
                self._over(dialog)
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
            else:
                self._schedule(group, now_us)

    def _emit(self, group: Group, now_us: int) -> None:
        group.emitted_us = now_us
        self.room.remove(group)
        self.over.append(group)
        if group.dialogs[0].side == "recording":
            self.counters["recordings"] += 1
            return
        self.records.extend(legs_of(group, self.site, self.desk.take if self.desk is not None else None))
        self.counters["calls"] += 1
        for dialog in group.dialogs:
            if dialog.ending != "confirmed" and dialog.answered_us:
                self.midway.handed_in(dialog)

    def _drop(self, group: Group) -> None:
        del self.groups[group.id]
        if len(self.timers) > TIMERS_MIN and len(self.timers) > TIMERS_PER_CALL * len(self.groups):
            self._set_timers()
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
        """Make room: a call that was handed in already, else the one that goes first."""
        if not self.over and (group := self.room.first()) is not None:
            self.counters["calls_evicted"] += 1
            self._close(group, now_us, "assumed")
        self._drop(self.over.popleft())

    def _close(self, group: Group, now_us: int, ending: str) -> None:
        for dialog in group.dialogs:
            if dialog.phase != ENDED:
                if ending == "open":
                    machine.leave_open(dialog, now_us)
                else:
                    machine.assume(dialog)
                self._over(dialog)
        self._emit(group, now_us)

    def finish(self, now_us: int) -> None:
        for group in list(self.groups.values()):
            if not group.emitted_us:
                self._close(group, now_us, "open")
        while self.over:
            self._drop(self.over.popleft())
        self.timers.clear()

    def _set_timers(self) -> None:
        self.timers.clear()
        for group in self.groups.values():
            if not group.emitted_us:
                self.timers.set(group.due_us, group.id)

    def kept(self) -> list[Group]:
        """All that `restore` needs back, in its order."""
        return [*self.over, *self.room.in_order()]

    def restore(self, groups: list[Group], refers: list[Refer], serial: int) -> None:
        self.groups = {group.id: group for group in sorted(groups, key=lambda one: one.id)}
        self.serial = serial
        self.correlator.refers = refers
        dialogs = sorted((dialog for group in groups for dialog in group.dialogs), key=lambda dialog: dialog.serial)
        for dialog in dialogs:
            if not dialog.retired:
                self.threads.setdefault(dialog.call_id, []).append(dialog)
            if dialog.phase != ENDED:
                self.correlator.add(dialog)
        self.over = deque(group for group in groups if group.emitted_us)
        for group in groups:
            if not group.emitted_us:
                self.room.add(group)
        self._set_timers()
