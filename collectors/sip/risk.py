"""Risks: what a technician should look at, told from who asks for what and how it is answered. Never billed.

Laws
- Pure: time is the packets'. The same packets give the same records, with the same keys.
- One record when a threshold is met, then one for each further UTC hour in which it goes on; their counts add up to all that
  was seen from the threshold on.
- A device that fails with an account of its own is `risk.register_failing` and no attack, however long it tries.
- The site's own phone system and trunks, and whoever has been answered as a partner, are no scanners.
- Bounded: `risk_origins` addresses, each with a few short lists. What goes is told first, and counted.
"""

from collections import OrderedDict
from collections.abc import Iterable

from collectors.records import Record, Risk
from collectors.sip.address import text
from collectors.sip.bindings import HOUR_US, record_key
from collectors.sip.devices import AGENT_MAX_CHARS, Devices
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket, host
from collectors.sip.site import PBX, Site, place, trunk
from collectors.sip.state import Dialog, Episode, Failure, Origin, RisksState, Tally

WINDOW_US = 600_000_000
"""Ten minutes: fail2ban's own `findtime`, which most sites know their attacks by."""

GUESSED_ACCOUNTS = 8
"""Accounts from one address, none of them ever registered, that are refused within the window: a desk phone has up to 16 lines,
but a new one does not come with half of them wrong. SIPVicious tries hundreds a second."""

GUESSES = 300
"""Refusals from one address within the window, whatever the account: one every two seconds. Phones with a wrong password wait
30 s (Yealink), 60 s (Asterisk, snom) or longer (RFC 5626 section 4.5)."""

FAILURES_IN_A_ROW = 5
"""Refusals of one account without a success between them: by then nobody is typing the password."""

DIALLED_IN_VAIN = 8
"""Different numbers that one unknown address dialled within the window, and none of them as much as rang."""

SWEPT = 16
"""Different targets of OPTIONS from one address within the window that stayed without any answer."""

UNPROVED = 16
"""Different accounts that one address was asked the password of and gave none, none of them ever registered: who looks for
accounts goes on to the next one."""

PATIENCE_US = 4_000_000
"""How long an answer to OPTIONS, or the password of a phone, is waited for: timer F is 32 s, but what answers at all does so
within T2 (RFC 3261 section 17.1.2.1)."""

UNREADABLE = 50
"""Messages from one address within the window that could not be read: a broken device sends one now and then, a fuzzer
hundreds."""

FAILURES_KEPT = 16
"""Failing accounts remembered of one address: the lines of the largest desk phone."""

EPISODES_KEPT = 32
"""Risks that go on at one address at the same time."""

NAME_MAX_CHARS = 64
NAMES_TOLD = 3

REFUSALS = frozenset((401, 403, 404, 407, 484, 488, 603, 604, 606))
"""Answers that say no to who asks or to what is asked for; the others tell of load, absence or the other party."""

GUESSING, FAILING = "risk.register_guessing", "risk.register_failing"
SCANNING, SWEEP, SCANNER, FLOOD = "risk.invite_scanning", "risk.options_sweep", "risk.scanner", "risk.malformed_flood"


class Risks:
    """What is known of the addresses that ask. Time comes with the packets and with `run`."""

    def __init__(
        self, limits: Limits, site: Site, devices: Devices, counters: dict[str, int], records: list[Record]
    ) -> None:
        self.limits = limits
        self.site = site
        self._class_of = devices.of_agent
        self.counters = counters
        self.records = records
        self.origins: OrderedDict[str, Origin] = OrderedDict()
        self.good: OrderedDict[str, None] = OrderedDict()
        """Partners: who registered, took registrations, or whose calls rang; in the order in which they were found to be. One
        that goes is found again by what it does next."""
        self.watched: set[str] = set()
        """Origins that time itself may make a record of."""
        self.hour = 0
        self.told = 0

    # --- what is seen

    def agent(self, packet: SipPacket, data: bytes) -> None:
        """A request's User-Agent: scanners mostly say their names."""
        at = data.find(b"\r\nUser-Agent:")
        if at >= 0:
            at += 13
            agent = data[at : data.find(b"\r\n", at)][:AGENT_MAX_CHARS]
            if self._class_of(agent) == "scanner":
                self._named(packet.src, text(agent.strip()), packet.at_us)

    def _named(self, src: str, agent: str, at_us: int) -> None:
        if self._is_attack(src):
            self._happened(host(src), SCANNER, at_us, detail=agent)

    def registered(self, src: str, registrar: str, aor: str) -> None:
        """An accepted REGISTER: this account is in order, and both ends are who they say they are."""
        self._trust(host(registrar))
        origin = self.origins.get(host(src))
        if origin is not None:
            origin.failing.pop(aor[:NAME_MAX_CHARS], None)
            origin.unproved.pop(aor[:NAME_MAX_CHARS], None)
        self._trust(host(src))

    def challenged(self, src: str, aor: str, at_us: int) -> None:
        """A REGISTER without a password, for an account that is and was not registered, was asked for one."""
        if self._is_attack(src):
            self._wait_for(host(src), self._origin(host(src)).unproved, aor[:NAME_MAX_CHARS], at_us, UNPROVED)

    def refused(self, src: str, aor: str, endpoint: str, known: bool, at_us: int) -> None:
        """A REGISTER that was refused, credentials and all. `known`: that account is or was lately registered."""
        address = host(src)
        origin = self._origin(address)
        failure = self._failed(origin, aor[:NAME_MAX_CHARS], endpoint, known, at_us)
        if self._is_attack(src) and self._guesses(origin, at_us):
            accounts = list(origin.failing.values())
            count = sum(map(_untold, accounts))
            names = [one.endpoint for one in accounts if not one.known]
            self._happened(address, GUESSING, at_us, count=count, detail=_listed(names))
        elif failure.count >= FAILURES_IN_A_ROW:
            self._happened(address, FAILING, at_us, failure.endpoint, _untold(failure))

    def _failed(self, origin: Origin, aor: str, endpoint: str, known: bool, at_us: int) -> Failure:
        origin.unproved.pop(aor, None)
        failure = origin.failing.pop(aor, None)
        if failure is None:
            failure = Failure(endpoint[:NAME_MAX_CHARS])
            if len(origin.failing) >= FAILURES_KEPT:
                del origin.failing[next(iter(origin.failing))]
        failure.count += 1
        failure.last_us, failure.known = at_us, known or failure.known
        origin.failing[aor] = failure
        return failure

    def _guesses(self, origin: Origin, at_us: int) -> bool:
        if GUESSING in origin.episodes:
            return True
        tried = sum(not one.known and one.last_us > at_us - WINDOW_US for one in origin.failing.values())
        return _counted(origin.guessed, at_us) >= GUESSES or tried >= GUESSED_ACCOUNTS

    def called(self, dialog: Dialog) -> None:
        """A call's first leg, once it is over."""
        agent = dialog.user_agent
        if agent and self._class_of(agent.encode()) == "scanner":
            self._named(dialog.src, agent, dialog.started_us)
        if dialog.answered_us or dialog.ringing_us:
            self._trust(host(dialog.src))
            self._trust(host(dialog.dst))
        elif self._is_attack(dialog.src) and (dialog.status in REFUSALS or not dialog.status):
            self._in_vain(host(dialog.src), dialog.dialled[:NAME_MAX_CHARS], dialog.started_us)

    def _in_vain(self, address: str, dialled: str, at_us: int) -> None:
        if address in self.good:
            return
        origin = self._origin(address)
        origin.dialled.pop(dialled, None)
        if len(origin.dialled) >= DIALLED_IN_VAIN:
            del origin.dialled[next(iter(origin.dialled))]
        origin.dialled[dialled] = at_us
        if SCANNING in origin.episodes:
            self._happened(address, SCANNING, at_us)
        elif sum(noted_us > at_us - WINDOW_US for noted_us in origin.dialled.values()) >= DIALLED_IN_VAIN:
            self._happened(address, SCANNING, at_us, count=DIALLED_IN_VAIN, detail=_listed(origin.dialled))

    def asked_options(self, packet: SipPacket, data: bytes) -> None:
        self.agent(packet, data)
        address = host(packet.src)
        if address in self.good or not self._is_attack(packet.src):
            return
        self._wait_for(address, self._origin(address).swept, packet.dst, packet.at_us, SWEPT)

    def _wait_for(self, address: str, waiting: dict[str, int], name: str, at_us: int, most: int) -> None:
        """Note that something is due. Where `most` are, `run` looks whether it came; meanwhile no more are noted."""
        if len(waiting) >= most and name not in waiting:
            oldest = min(waiting, key=lambda other: waiting[other])
            if waiting[oldest] > at_us - WINDOW_US:
                return
            del waiting[oldest]
        waiting[name] = at_us
        if len(waiting) >= most:
            self.watched.add(address)

    def answered_options(self, packet: SipPacket) -> None:
        origin = self.origins.get(host(packet.dst))
        if origin is not None:
            origin.swept.pop(packet.src, None)

    def unreadable(self, packet: SipPacket) -> None:
        if not self._is_attack(packet.src):
            return
        address = host(packet.src)
        origin = self._origin(address)
        if FLOOD in origin.episodes:
            self._happened(address, FLOOD, packet.at_us)
            return
        if _counted(origin.unreadable, packet.at_us) >= UNREADABLE:
            self._happened(address, FLOOD, packet.at_us, count=UNREADABLE)

    # --- who it is

    def _is_attack(self, src: str) -> bool:
        """Whether what comes from there may be one: the site's own phone system and its lines never are."""
        return place(self.site, src) != PBX and not trunk(self.site, src)

    def _trust(self, address: str) -> None:
        if address in self.good:
            return
        if len(self.good) >= self.limits.risk_origins:
            self.good.popitem(last=False)
            self.counters["risk_origins_evicted"] += 1
        self.good[address] = None

    def _origin(self, address: str) -> Origin:
        origin = self.origins.get(address)
        if origin is None:
            if len(self.origins) >= self.limits.risk_origins:
                gone, last = self.origins.popitem(last=False)
                self._tell_rest(gone, last)
                self.watched.discard(gone)
                self.counters["risk_origins_evicted"] += 1
            origin = self.origins[address] = Origin()
        else:
            self.origins.move_to_end(address)
        return origin

    # --- what is told

    def _happened(
        self, address: str, code: str, at_us: int, endpoint: str = "", count: int = 1, detail: str = ""
    ) -> None:
        """It happened `count` times more."""
        origin = self._origin(address)
        name = f"{code} {endpoint}" if endpoint else code
        episode = origin.episodes.get(name)
        if episode is not None:
            episode.count += count
            episode.first_us = episode.first_us or at_us
            episode.last_us = at_us
        elif len(origin.episodes) < EPISODES_KEPT:
            origin.episodes[name] = Episode(code, endpoint, detail[:NAME_MAX_CHARS])
            self.watched.add(address)
            self._tell(code, address, at_us, at_us, count, endpoint, detail[:NAME_MAX_CHARS], "begun")
        else:
            self.counters["risks_dropped"] += 1

    def _tell(
        self, code: str, origin: str, at_us: int, until_us: int, count: int, endpoint: str, detail: str, part: str
    ) -> None:
        hour = until_us // HOUR_US
        if hour != self.hour:
            self.hour, self.told = hour, 0
        self.told += 1
        if self.told > self.limits.risks_per_hour:
            self.counters["risks_dropped"] += 1
            return
        self.records.append(
            Risk(
                key=record_key(code, origin, endpoint, str(hour), part),
                code=code,
                origin=origin,
                at_ms=at_us // 1000,
                until_ms=until_us // 1000,
                count=count,
                endpoint=endpoint,
                detail=detail,
            )
        )

    def _tell_rest(self, address: str, origin: Origin) -> None:
        for one in origin.episodes.values():
            if one.count:
                self._tell(one.code, address, one.first_us, one.last_us, one.count, one.endpoint, one.detail, "more")
                one.count = one.first_us = 0

    # --- time

    def run(self, now_us: int, before_us: int) -> None:
        """Time went on from `before_us`: tell of sweeps, and at the end of an hour of what went on in it."""
        if not self.watched:
            return
        over = now_us // HOUR_US != before_us // HOUR_US
        for address in sorted(self.watched):
            origin = self.origins[address]
            if self._is_overdue(address, origin.swept, SWEPT, SWEEP, now_us):
                origin.swept = {}
            if self._is_overdue(address, origin.unproved, UNPROVED, GUESSING, now_us):
                origin.unproved = {}
            if over:
                lasting = {name: one for name, one in origin.episodes.items() if one.count}
                self._tell_rest(address, origin)
                origin.episodes = lasting
            if not _is_watched(origin):
                self.watched.discard(address)

    def _is_overdue(self, address: str, waiting: dict[str, int], most: int, code: str, now_us: int) -> bool:
        """Whether `most` things were due and had their time; then it is told."""
        if len(waiting) < most or max(waiting.values()) > now_us - PATIENCE_US:
            return False
        if address not in self.good or code != SWEEP:
            self._happened(address, code, max(waiting.values()), count=most, detail=_listed(waiting))
        return True

    def finish(self) -> None:
        """The source has ended."""
        for address, origin in self.origins.items():
            self._tell_rest(address, origin)

    def clock_set(self) -> None:
        """The packets' clock jumped: what was seen before it lies in no window."""
        self.finish()
        self.origins.clear()
        self.watched.clear()

    def state(self) -> RisksState:
        return RisksState(dict(self.origins), list(self.good), self.hour, self.told)

    def restore(self, known: RisksState) -> None:
        self.origins, self.good = OrderedDict(known.origins), OrderedDict.fromkeys(known.good)
        self.hour, self.told = known.hour, known.told
        self.watched = {name for name, one in self.origins.items() if _is_watched(one)}


def _is_watched(origin: Origin) -> bool:
    return bool(origin.episodes) or len(origin.swept) >= SWEPT or len(origin.unproved) >= UNPROVED


def _counted(tally: Tally, at_us: int) -> int:
    """One more; how many there are in the window now."""
    if not tally.since_us <= at_us < tally.since_us + WINDOW_US:
        tally.since_us, tally.count = at_us, 0
    tally.count += 1
    return tally.count


def _untold(failure: Failure) -> int:
    """How many of its refusals have not been told yet; now they have."""
    untold, failure.told = failure.count - failure.told, failure.count
    return untold


def _listed(names: Iterable[str]) -> str:
    return ", ".join(list(names)[-NAMES_TOLD:])
