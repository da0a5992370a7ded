"""The office: who is in it, and forty and more calls of ten kinds that sipp places in it.

Laws
- The truth is sipp's own: when it sent the INVITE, got the 200 and sent or got the BYE, by the clock stamps of its
  message trace, for the dialog that the caller placed. No word of Asterisk's goes into it.
- Every phone has an address of its own on loopback and the phone system's own port number.
- A call that sipp says has failed fails the run.
"""

import contextlib
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from tests.lab import scenarios
from tests.lab.asterisk import WITH_US, AsteriskLab, Phone, end, tone_ulaw

CALLERS = tuple(str(n) for n in range(121, 133))
CARRIER_IP = "127.0.2.1"
SIPP_PORTS = 4
"""A sipp takes one for SIP, and for audio the next one and the next but one after it (video)."""
CALL_LIMIT_S = 40
"""A call that is not over by then has failed; the longest takes 12 s."""


@dataclass(frozen=True)
class Desk:
    """A phone on somebody's desk: how it takes calls (a scenario), after how long, and whom it sends them on to."""

    number: str
    takes: str
    after_ms: int = 500
    to: str = ""

    @property
    def ip(self) -> str:
        return CARRIER_IP if self.number == "carrier" else f"127.0.1.{self.number}"


DESKS = (
    Desk("101", "answer", 600),
    Desk("102", "answer", 900),
    Desk("103", "answer", 1200),
    Desk("104", "hang_up", 700),
    Desk("105", "busy"),
    Desk("106", "ring"),
    Desk("107", "ring"),
    Desk("108", "answer", 800),
    Desk("109", "ring"),
    Desk("110", "refer", 500, to="103"),
    Desk("111", "attend", 500, to="102"),
    Desk("112", "hang_up", 1500),
    Desk("116", "ring"),
)
CARRIER = Desk("carrier", "answer", 1000)
PHONES = tuple(Phone(number) for number in (*(desk.number for desk in DESKS), *CALLERS))


@dataclass(frozen=True)
class Dial:
    """A call to place: by whom (`carrier`: from outside), to what, how (a scenario), and for how long."""

    kind: str
    caller: str
    dialled: str
    scenario: str = "call"
    hold_ms: int = 3000


@dataclass(frozen=True)
class PlacedCall:
    """What sipp saw of the call that it placed. `outcome` as in `collectors.records.Outcome`."""

    kind: str
    caller: str
    dialled: str
    call_id: str
    invited_at_ms: int
    answered_at_ms: int | None
    ended_at_ms: int
    outcome: str

    @property
    def talk_ms(self) -> int:
        return 0 if self.answered_at_ms is None else self.ended_at_ms - self.answered_at_ms


OUTSIDE = ("+12125550177", "+12125550178")
APART_MS = 120
"""Between two calls of a group, so that their order is known."""

ROUND = (
    (
        Dial("answered", "121", "101", hold_ms=3500),
        Dial("answered", "122", "102", hold_ms=4500),
        Dial("answered", "123", "104", hold_ms=9500),
        Dial("unanswered", "124", "106"),
        Dial("unanswered", "129", "109"),
        Dial("unanswered", "125", "106", "give_up", 1500),
        Dial("busy", "126", "105"),
        Dial("ring_group", "127", "200", hold_ms=2500),
        Dial("voicemail", "128", "107", "speak", 4500),
    ),
    (
        Dial("ivr", "121", "300", hold_ms=1500),
        Dial("ivr", "122", "300", hold_ms=7500),
        Dial("conference", "123", "500", hold_ms=5500),
        Dial("conference", "124", "500", hold_ms=5500 - APART_MS),
        Dial("conference", "125", "500", hold_ms=3500),
        Dial("queue", "126", "700", hold_ms=4500),
        Dial("queue", "127", "700", hold_ms=9500),
        Dial("queue", "128", "701", hold_ms=9500),
    ),
    (
        Dial("transfer", "129", "110", hold_ms=6500),
        Dial("transfer", "132", "111", hold_ms=7500),
        Dial("trunk", "130", "+4930901820", hold_ms=2500),
        Dial("trunk", "131", "+12125550199", hold_ms=3500),
        Dial("trunk", OUTSIDE[0], "+12125550101", hold_ms=2500),
        Dial("trunk", OUTSIDE[1], "+12125550200", hold_ms=3500),
    ),
)
"""One round is 23 calls, and one that a phone places to ask; a group of it is placed within a second. Calls last some
seconds and a half, so that whole-second stamps cannot hide more than they do; the conference's last two leave together,
as the time of one who stays alone is in no row of Asterisk's."""


class SippFailed(Exception):
    """sipp did not play its scenario to the end; the text has its last words."""


class Office:
    """`with Office(lab, folder) as office:` gives phones that are there and logged in. `proxy`: an address that callers
    inside dial by, instead of the phone system's own."""

    def __init__(self, lab: AsteriskLab, folder: Path, proxy: str = ""):
        self.lab = lab
        self.proxy = proxy
        self.folder = folder
        self._exit = contextlib.ExitStack()
        self._ports = iter(range(lab.sip_port + 500, 32768, SIPP_PORTS))
        self._lock = threading.Lock()

    def __enter__(self) -> "Office":
        (self.folder / scenarios.SPEECH).write_bytes(tone_ulaw(3))
        with self._exit:
            for desk in (*DESKS, CARRIER):
                self._desk(desk)
            for desk in DESKS:
                self._register(desk)
            self._exit = self._exit.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def play(self, calls: int = 40) -> list[PlacedCall]:
        """At least `calls` calls of all kinds, in whole rounds; sorted by when they were placed."""
        rounds = -(-calls // sum(len(group) for group in ROUND))
        placed: list[PlacedCall] = []
        for _ in range(rounds):
            for group in ROUND:
                placed += self.place(group)
        return sorted([*placed, *self._consultations()], key=lambda call: call.invited_at_ms)

    def _consultations(self) -> Iterator[PlacedCall]:
        """The calls that phones placed themselves, to ask before they transferred."""
        for desk in (desk for desk in DESKS if desk.takes == "attend"):
            seen = list(read_trace(self._trace(desk).read_text()))
            for call_id in dict.fromkeys(line.call_id for line in seen):
                own = [line for line in seen if line.call_id == call_id]
                start = next(n for n, line in enumerate(own) if line.sent and line.line.startswith("INVITE "))
                placed = placed_call(Dial("transfer", desk.number, desk.to), own[start:])
                yield replace(placed, call_id=scenarios.CONSULTATION_ID + call_id)

    def place(self, dials: Sequence[Dial]) -> list[PlacedCall]:
        """Place these calls shortly after each other and wait until all are over."""
        with ThreadPoolExecutor(len(dials)) as pool:
            placed = []
            for dial in dials:
                placed.append(pool.submit(self._call, dial))
                time.sleep(APART_MS / 1000)
            return [call.result() for call in placed]

    def _sipp(self, scenario: str, ip: str, port: int, ms: int, keys: dict[str, str], by: str = "") -> list[str]:
        file = self.folder / f"{scenario}-{ms}.xml"
        if not file.exists():  # written aside, so that no other sipp, started at the same time, reads half of it
            aside = file.with_suffix(f".{threading.get_ident()}")
            aside.write_text(scenarios.scenario(scenario, ms))
            aside.rename(file)
        words = ["sipp", "-sf", file.name, "-i", ip, "-bind_local", "-p", str(port), "-mi", ip, "-mp", str(port + 1)]
        for key, value in keys.items():
            words += ["-key", key, value]
        return [*words, "-nostdin", "-skip_rlimit", by or f"{self.lab.sip_ip}:{self.lab.sip_port}"]

    def _desk(self, desk: Desk) -> None:
        """A phone that takes calls until the office is closed."""
        keys = {"user": desk.number, "to": desk.to or "none"}
        command = self._sipp(desk.takes, desk.ip, self.lab.sip_port, desk.after_ms, keys)
        command += ["-trace_shortmsg", "-shortmessage_file", str(self._trace(desk)), *login(desk.number)]
        command += ["-trace_err", "-error_file", str(self.folder / f"desk-{desk.number}.errors")]
        with (self.folder / f"desk-{desk.number}.out").open("wb") as out:
            phone = subprocess.Popen(
                [*WITH_US, *command], cwd=self.folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self._exit.callback(end, phone)

    def _trace(self, desk: Desk) -> Path:
        return self.folder / f"desk-{desk.number}.trace"

    def _register(self, desk: Desk) -> None:
        keys = {"user": desk.number, "contact": f"{desk.ip}:{self.lab.sip_port}"}
        command = self._sipp("register", desk.ip, self._port(), 0, keys)
        self._run([*command, *login(desk.number)], f"register-{desk.number}")

    def _port(self) -> int:
        with self._lock:
            return next(self._ports)

    def _call(self, dial: Dial) -> PlacedCall:
        inside = dial.caller in CALLERS
        ip = f"127.0.1.{dial.caller}" if inside else CARRIER_IP
        keys = {"caller": dial.caller, "dialled": dial.dialled}
        name = f"{dial.kind}-{secrets.token_hex(4)}"
        trace = self.folder / f"{name}.trace"
        command = self._sipp(dial.scenario, ip, self._port(), dial.hold_ms, keys, by=self.proxy if inside else "")
        command += ["-cid_str", f"%u-%p-{secrets.token_hex(6)}@%s", "-trace_shortmsg", "-shortmessage_file", str(trace)]
        self._run([*command, *(login(dial.caller) if inside else [])], name)
        return placed_call(dial, list(read_trace(trace.read_text())))

    def _run(self, command: list[str], name: str) -> None:
        errors = self.folder / f"{name}.errors"
        command = [*WITH_US, *command, "-m", "1", "-trace_err", "-error_file", str(errors)]
        with (self.folder / f"{name}.out").open("wb") as out:
            done = subprocess.run(
                command,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=CALL_LIMIT_S,
                check=False,
            )
        if done.returncode != 0:
            said = errors.read_text() if errors.exists() else (self.folder / f"{name}.out").read_text()[-800:]
            raise SippFailed(f"{name}: sipp ended with {done.returncode}: {said[:1500]}")


def login(number: str) -> list[str]:
    return ["-au", number, "-ap", Phone(number).password]


@dataclass(frozen=True)
class Traced:
    """A line of sipp's short message trace: when, sent or received, the CSeq and the start line."""

    at_ms: int
    sent: bool
    call_id: str
    cseq: str
    line: str

    @property
    def code(self) -> str:
        return self.line.split()[1]


def read_trace(text: str) -> Iterator[Traced]:
    """sipp writes local date, clock, Unix time with microseconds, `S` or `R`, Call-ID, CSeq, start line; tabs between."""
    for row in text.splitlines():
        _, _, at_s, way, call_id, cseq, line = row.split("\t")
        yield Traced(round(float(at_s) * 1000), way == "S", call_id, cseq.removeprefix("CSeq:").strip(), line)


OUTCOMES = {"200": "answered", "480": "no_answer", "486": "busy", "487": "cancelled", "603": "failed"}
"""What the final answer to an INVITE says of the call. Asterisk's bare Hangup() after nobody answered says 603."""


def placed_call(dial: Dial, trace: list[Traced]) -> PlacedCall:
    """The call as its caller saw it: from the first INVITE, through the 200, to the BYE of either side or the final
    refusal."""
    answers = [seen for seen in trace if not seen.sent and seen.line.startswith("SIP/2.0 ")]
    final = next(
        seen for seen in answers if seen.cseq.endswith(" INVITE") and seen.line[8] != "1" and seen.code != "401"
    )
    ended = next(seen for seen in trace if seen.line.startswith("BYE ")) if final.code == "200" else final
    return PlacedCall(
        kind=dial.kind,
        caller=dial.caller,
        dialled=dial.dialled,
        call_id=trace[0].call_id,
        invited_at_ms=trace[0].at_ms,
        answered_at_ms=final.at_ms if final.code == "200" else None,
        ended_at_ms=ended.at_ms,
        outcome=OUTCOMES.get(final.code, "failed"),
    )
