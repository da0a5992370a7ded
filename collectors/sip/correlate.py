"""Which call a new INVITE continues: one that goes through a back-to-back user agent has a Call-ID on each side.

Laws
- Nothing is configured for this. An INVITE continues a call whose dialog ends where the INVITE comes from, when
  something in it names that call; in order of strength: a Session-ID (RFC 7989), a REFER or 3xx that asked for it, the very
  session description that the call offered (where a phone system stays out of the media), the caller, the number dialled,
  the one who was called (a transfer by the phone system itself).
- Among calls that match alike, one that has no answered far leg goes first, then the one that was active last.
- Lookups are by index: the cost does not grow with the number of calls.
"""

from collections.abc import Iterable, Sequence
from itertools import islice

from collectors.sip.address import number_key, same_number
from collectors.sip.limits import Limits
from collectors.sip.packets import host
from collectors.sip.site import Site, place
from collectors.sip.state import ANSWERED, Dialog, Group, Refer

REFERS_MAX = 256
"""Transfers and redirections asked for and not yet carried out; each lives 32 s."""

ALIKE_MAX = 32
"""Dialogs at one place with one name that are looked at, the latest first: no seat and no number in a ring group has as many at
once, and a flood from one caller would make each INVITE dearer than the one before."""

CALLER, DIALLED, PARTY = 4, 2, 1

ORIGIN = "origin"
"""Stands for the place where session descriptions are indexed: in them, not where they come from."""


class Correlator:
    """An index of open dialogs by the place they lead to and the names in them."""

    def __init__(self, site: Site, limits: Limits) -> None:
        self.site = site
        self.legs_per_call = limits.legs_per_call
        self.lifetime_us = limits.transaction_ms * 1000
        self.refers: list[Refer] = []
        self._host = self._configured_host if site.pbx else host
        self._by_name: dict[tuple[str, str], dict[int, Dialog]] = {}
        self._keys_of: dict[int, list[tuple[str, str]]] = {}
        self._open_at: dict[str, int] = {}
        """How many names are indexed for a host: most INVITEs come from where no dialog leads."""
        self._sessions: dict[bytes, Dialog] = {}

    def add(self, dialog: Dialog) -> None:
        serial, open_at = dialog.serial, self._open_at
        keys = self._keys_of[serial] = self._keys(dialog)
        for key in keys:
            known = self._by_name.get(key)
            if known is None:
                self._by_name[key] = {serial: dialog}
            else:
                known[serial] = dialog
            open_at[key[0]] = open_at.get(key[0], 0) + 1
        for session in _sessions(dialog.session) if dialog.session else ():
            self._sessions[session] = dialog

    def remove(self, dialog: Dialog) -> None:
        serial, open_at = dialog.serial, self._open_at
        for key in self._keys_of.pop(serial):
            known = self._by_name[key]
            if len(known) == 1:
                del self._by_name[key]
            else:
                del known[serial]
            left = open_at[key[0]] - 1
            if left:
                open_at[key[0]] = left
            else:
                del open_at[key[0]]
        for session in _sessions(dialog.session) if dialog.session else ():
            if self._sessions.get(session) is dialog:
                del self._sessions[session]

    def _keys(self, dialog: Dialog) -> list[tuple[str, str]]:
        """Where it leads to, with the caller and the number dialled; where it comes from, with the one called."""
        if dialog.side == "recording":
            return []
        to, caller, dialled = self._host(dialog.dst), number_key(dialog.caller), number_key(dialog.dialled)
        keys = [(to, caller)] if caller == dialled else [(to, caller), (to, dialled)]
        if dialog.origin:
            keys.append((ORIGIN, dialog.origin))
        if dialog.side != "caller":
            keys.append((self._host(dialog.src), number_key(dialog.callee)))
            return list(dict.fromkeys(keys))
        return keys

    def _configured_host(self, address: str) -> str:
        return host(place(self.site, address)) or place(self.site, address)

    def asked(self, refer: Refer) -> None:
        self.refers.append(refer)
        del self.refers[:-REFERS_MAX]

    def expire(self, now_us: int) -> None:
        if self.refers:
            self.refers = [refer for refer in self.refers if refer.at_us + self.lifetime_us > now_us]

    def pending(self, call: int) -> bool:
        """Whether a transfer was asked for in this call and has not begun yet."""
        return any(
            refer.call == call and not (refer.used or refer.redirected or refer.replaces) for refer in self.refers
        )

    def went_on(self, invite: Dialog) -> None:
        """It follows a redirection under the same Call-ID: nothing else will."""
        if self.refers:
            self.refers = [one for one in self.refers if not (one.redirected and one.call == invite.call)]

    def find(self, invite: Dialog, names: Sequence[str], groups: dict[int, Group]) -> int | None:
        """The call that `invite` continues, or None. `names`: the callers that it tells (From and asserted ones)."""
        if invite.session and (call := self.by_session(invite)) is not None:
            return call
        asked = self.by_refer(invite, groups) if self.refers else None
        if asked is None and invite.origin:
            asked = self._by_origin(invite)
        return self._by_names(invite, names, groups) if asked is None else asked

    def _latest(self, here: str, key: str) -> Iterable[Dialog]:
        """The open dialogs at this place that name this key, the latest first."""
        found = self._by_name.get((here, key))
        return islice(reversed(found.values()), ALIKE_MAX) if found else ()

    def talks(self, invite: Dialog) -> bool:
        """Whether the seat that this INVITE is for is in another call, at the same phone."""
        seat, phone = number_key(invite.callee), host(invite.dst)
        for other in self._latest(self._host(invite.src), seat):
            if other.phase != ANSWERED or other.call == invite.call:
                continue
            placed = number_key(other.caller) == seat and host(other.src) == phone
            if placed or (number_key(other.callee) == seat and host(other.dst) == phone):
                return True
        return False

    def among(self, address: str, names: Sequence[str], groups: dict[int, Group]) -> int:
        """The call at this phone system in which most of these take part; 0 where there is none."""
        counts: dict[int, int] = {}
        for name in names:
            calls = {one.call for one in self._latest(self._host(address), number_key(name))}
            for call in calls:
                counts[call] = counts.get(call, 0) + 1
        return max(counts, key=lambda call: (counts[call], groups[call].started_us, call), default=0)

    def by_session(self, invite: Dialog) -> int | None:
        """The call that a Session-ID names, by either of its identifiers (RFC 7989 section 5)."""
        for session in _sessions(invite.session):
            if (known := self._sessions.get(session)) is not None:
                return known.call
        return None

    def _by_origin(self, invite: Dialog) -> int | None:
        """The one call that has this offer, passed on unchanged. Who makes the same offer again, or makes it to where the call
        led already, places another call."""
        known = self._by_name.get((ORIGIN, invite.origin), {}).values()
        if len(known) > self.legs_per_call or len({dialog.call for dialog in known}) != 1:
            return None
        src, dst = place(self.site, invite.src), place(self.site, invite.dst)
        again = any(place(self.site, one.src) == src or place(self.site, one.dst) == dst for one in known)
        return None if again else next(iter(known)).call

    def by_refer(self, invite: Dialog, groups: dict[int, Group], replaces: bytes = b"") -> int | None:
        """The call for which this INVITE was asked for. Where the caller's own phone was asked, its leg goes on."""
        here = self._host(invite.src)
        for refer in reversed(self.refers):
            if refer.call not in groups or self._host(refer.place) != here or refer.replaces != replaces:
                continue
            if not (same_number(refer.target, invite.dialled) or same_number(refer.target, invite.callee)):
                continue
            first = groups[refer.call].dialogs[0]
            if refer.redirected:
                invite.side = refer.redirected
                self.refers.remove(refer)
            elif self._host(first.src) == here:
                invite.side = first.side
            refer.used = True
            return refer.call
        return None

    def _by_names(self, invite: Dialog, names: Sequence[str], groups: dict[int, Group]) -> int | None:
        here = self._host(invite.src)
        if here not in self._open_at:
            return None
        keys = {number_key(name) for name in names if name}
        best: tuple[int, ...] = ()
        found = None
        for key in {*keys, number_key(invite.dialled)}:
            for dialog in self._latest(here, key):
                rank = self._rank(invite, keys, dialog, groups[dialog.call])
                if rank is not None and rank > best:
                    best, found = rank, dialog.call
        return found

    def _rank(self, invite: Dialog, keys: set[str], dialog: Dialog, group: Group) -> tuple[int, ...] | None:
        relation, nearness = self._relation(invite, dialog)
        if place(self.site, invite.dst) == place(self.site, group.dialogs[0].dst):
            return None  # to where the caller's own leg went: somebody calls, nothing is passed on
        far = [other for other in group.dialogs if other.side != "caller"]
        reached = any(same_number(other.dialled, dialog.dialled) for other in far)
        score = 0
        if relation == LEADS_HERE:
            score = _score(invite, keys, dialog, reached)
        elif relation == SAME_SENDER:
            score = PARTY if _is_party(dialog, keys) else 0
        if not score:
            return None
        talking = any(other.phase == ANSWERED for other in far)
        return score, not talking, nearness, not reached, group.dialogs[-1].started_us, dialog.serial

    def _relation(self, invite: Dialog, dialog: Dialog) -> tuple[int, int]:
        """How the sender of `invite` stands to `dialog`, and how sure that is (2: its very address; 1: its host). A
        stream's port tells nothing, so that its host must do; phones and phone system may share one host, where a
        datagram's port tells them apart. What goes to where the dialog leads already is a call of its own."""
        source, target = place(self.site, invite.src), place(self.site, dialog.dst)
        if place(self.site, invite.dst) == target:
            return STRANGER, 0
        if source == target:
            return LEADS_HERE, 2
        if source == place(self.site, dialog.src):
            return SAME_SENDER, 2
        here = self._host(invite.src)
        if self._host(dialog.dst) == here:
            stream = invite.transport != "udp" or dialog.transport != "udp"
            return (LEADS_HERE, 1) if stream or host(dialog.src) != host(dialog.dst) else (STRANGER, 0)
        return (SAME_SENDER, 1) if self._host(dialog.src) == here else (STRANGER, 0)


STRANGER, LEADS_HERE, SAME_SENDER = 0, 1, 2


def _score(invite: Dialog, keys: set[str], dialog: Dialog, reached: bool) -> int:
    """A call that has reached the number it dialled is continued for its caller only."""
    caller = CALLER if number_key(dialog.caller) in keys else 0
    dialled = DIALLED if same_number(dialog.dialled, invite.dialled) else 0
    return caller + dialled if caller or not reached else 0


def _is_party(dialog: Dialog, keys: set[str]) -> bool:
    """The phone system calls on behalf of somebody whom it has on the line: a transfer by feature code."""
    return dialog.phase == ANSWERED and dialog.side != "caller" and number_key(dialog.callee) in keys


_NIL = b"0" * 32


def _sessions(value: bytes) -> Iterable[bytes]:
    """Both identifiers of a Session-ID header, the nil one left out (RFC 7989 section 6)."""
    if not value:
        return ()
    local, _, rest = value.partition(b";")
    remote = rest.partition(b"remote=")[2].partition(b";")[0]
    return [uuid for uuid in (local.strip().lower(), remote.strip().lower()) if uuid and uuid != _NIL]
