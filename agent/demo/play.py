"""Plays the office: writes its rows and sends its packets when their time has come.

Laws
- Everything happens in the order of the office's own time, as it would on a site: a call's rows are appended when it is
  over, and a packet is sent when it was on the wire.
- The office begins in the recent past and hurries until it has caught up with the clock; from then on it lives by it.
- A call counts as played when its end has come. One that is still up when the office stops was never ended, and nobody
  can have heard more of it.
"""

import asyncio
import heapq
import socket
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from msgspec import Struct

from agent.demo.asterisk_rows import AsteriskRows
from agent.demo.hep_packets import KEEPALIVE, hep3
from agent.demo.office import ANNEX, PlayedCall
from agent.demo.plan import Plan
from agent.demo.sip_message import PBX
from agent.demo.sip_packets import Packet, Phone, packets

LOOPBACK = "127.0.0.1"

BEAT_MS = 2_500
"""A phone's turn to register or to answer an OPTIONS: with twelve phones each registers once a minute."""
LOOK_AHEAD_MS = 1_000
"""A plan is in order but for the main house's whole seconds."""
TICK_S = 0.05
AT_ONCE = 8
"""Datagrams sent before the receiving end, which lives in the same process, has its turn: 20 kB of its buffer."""
ENDING_MS = 1_000
"""How long the last messages of a call that has ended take, retransmissions among them."""


class OfficeClock:
    """The office's time. It begins at `start_ms` and has caught up `hurry_s` later."""

    def __init__(self, start_ms: int, hurry_s: float) -> None:
        self.start_ms = start_ms
        self._began_s = time.monotonic()
        self._began_ms = time.time_ns() // 1_000_000
        self.hurry_s = hurry_s
        self.caught_up_ms = self._began_ms + int(hurry_s * 1000)

    def now_ms(self) -> int:
        passed_s = time.monotonic() - self._began_s
        if passed_s >= self.hurry_s:
            return self._began_ms + int(passed_s * 1000)
        return self.start_ms + int((self.caught_up_ms - self.start_ms) * passed_s / self.hurry_s)


class _Deed(Struct, order=True):
    """Something to do at `at_ms`: rows to append, or a packet to send. It belongs to something that counts as played from
    `over_ms` on: a call that has ended, a registration that has begun."""

    at_ms: int
    number: int
    rows: str = ""
    packet: Packet | None = None
    over_ms: int = 0


class Player:
    """`play` until told to stop; then `played` and `registered` hold what was."""

    def __init__(self, plan: Plan, clock: OfficeClock, master_csv: Path, hep_port: int, run: str) -> None:
        self.played: list[PlayedCall] = []
        self.registered: list[tuple[str, int]] = []
        self.still_up = 0
        self._clock = clock
        self._calls = plan.calls()
        self._beats = _beats(run, clock.start_ms)
        self._csv = master_csv
        self._asterisk = AsteriskRows()
        self._deeds: list[_Deed] = []
        self._begun: list[PlayedCall] = []
        self._next_call = next(self._calls, None)
        self._next_beat = next(self._beats)
        self._number = count()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._hep = (LOOPBACK, hep_port)

    async def play(self, stopping: asyncio.Event, until_ms: int | None) -> int:
        """Until the office's clock says `until_ms`, or `stopping` is set. Returns the office's time then."""
        now_ms = self._clock.start_ms
        while not stopping.is_set() and (until_ms is None or now_ms < until_ms):
            await asyncio.sleep(TICK_S)
            now_ms = self._clock.now_ms() if until_ms is None else min(self._clock.now_ms(), until_ms)
            self._plan_until(now_ms)
            await self._do_until(now_ms)
            self._note_ended(now_ms)
        await self._end(now_ms)
        return now_ms

    def close(self) -> None:
        self._socket.close()

    def _plan_until(self, now_ms: int) -> None:
        while self._next_call is not None and self._next_call.started_at_ms <= now_ms + LOOK_AHEAD_MS:
            self._begin(self._next_call)
            self._next_call = next(self._calls, None)
        while self._next_beat[0] <= now_ms:
            at_ms, desk, messages = self._next_beat
            self._add(messages, at_ms)
            if desk:
                self.registered.append((desk, at_ms))
            self._next_beat = next(self._beats)

    def _begin(self, call: PlayedCall) -> None:
        self._begun.append(call)
        if call.way == "sip":
            self._add(packets(call), call.ended_at_ms)
        else:
            rows = self._asterisk.rows(call)
            deed = _Deed(call.ended_at_ms, next(self._number), rows=rows, over_ms=call.ended_at_ms)
            heapq.heappush(self._deeds, deed)

    def _add(self, messages: list[Packet], over_ms: int) -> None:
        for message in messages:
            deed = _Deed(message.at_ms, next(self._number), packet=message, over_ms=over_ms)
            heapq.heappush(self._deeds, deed)

    async def _do_until(self, now_ms: int) -> None:
        done = 0
        while self._deeds and self._deeds[0].at_ms <= now_ms:
            self._do(heapq.heappop(self._deeds))
            done += 1
            if done % AT_ONCE == 0:
                await asyncio.sleep(0)

    def _do(self, deed: _Deed) -> None:
        """Rows are appended call by call, the file opened each time: as cdr_csv does."""
        if deed.packet is None:
            with self._csv.open("a", encoding="utf-8") as file:
                file.write(deed.rows)
            return
        self._send(deed.packet)

    def _send(self, packet: Packet) -> None:
        self._socket.sendto(hep3(packet.at_ms, packet.src, packet.dst, packet.message), self._hep)

    def _note_ended(self, now_ms: int) -> None:
        self.played += [call for call in self._begun if call.ended_at_ms <= now_ms]
        self._begun = [call for call in self._begun if call.ended_at_ms > now_ms]

    async def _end(self, now_ms: int) -> None:
        """Finish what has ended; what is still up stays as it is."""
        self.still_up = sum(call.started_at_ms <= now_ms for call in self._begun)
        self._deeds = [deed for deed in self._deeds if deed.over_ms <= now_ms]
        heapq.heapify(self._deeds)
        await self._do_until(now_ms + ENDING_MS)


def knock(hep_port: int) -> None:
    """Send what capture agents send to show that they live."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.sendto(hep3(time.time_ns() // 1_000_000, PBX, PBX, KEEPALIVE), (LOOPBACK, hep_port))


def _beats(run: str, start_ms: int) -> Iterator[tuple[int, str, list[Packet]]]:
    """When, which desk registered (empty: none did), and the packets."""
    phones = {desk: Phone(desk, run) for desk in ANNEX}
    turns = count()
    while True:
        for to_register in (True, False):
            for desk, phone in phones.items():
                at_ms = start_ms + next(turns) * BEAT_MS
                yield (at_ms, desk, phone.register(at_ms)) if to_register else (at_ms, "", phone.options(at_ms))
