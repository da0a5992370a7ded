"""SIP messages heard live through tshark: frames of another source in, what tshark makes of them out.

We stand between dumpcap and tshark, so that each frame is known to be answered, and tshark can be replaced between two of them:
it keeps 1 to 2 kB of each packet as long as it lives: 185 MB with 20,000, without end otherwise.

Laws
- A frame counts as taken when tshark has answered it. Frames that were not are asked again, of the next tshark; one that ends
  two in a row is left out and counted.
- A new tshark is first given the last OVERLAP_FRAMES frames, whose answers are dropped: a message that lies across the change
  comes whole, as far as it began within them. Calls in progress do not notice: they are followed here, not in tshark.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from struct import Struct as Layout

from collectors.sip.live.source import Frame, PacketSource
from collectors.sip.live.trouble import trouble
from collectors.sip.packets import SipPacket
from collectors.sip.wireshark.dissection import Dissection
from collectors.sip.wireshark.tshark import Tshark

OVERLAP_FRAMES = 256
"""A large message is some 50 segments; those of a busy second lie between them. tshark reads so many in 40 ms."""
AT_ONCE = 512
"""Frames asked at once: an answer takes about 0.2 ms each."""
ANSWER_S = 30.0
"""A tshark that says nothing for so long hangs."""
DEATHS_MAX = 2

_HEAD = Layout("<IHHiIII")
_RECORD = Layout("<IIII")
SNAP_BYTES = 262_144


class DissectedSource:
    def __init__(self, source: PacketSource, decode_as: Sequence[str], restart_packets: int) -> None:
        self._source = source
        self._decode_as = tuple(decode_as)
        self._restart_packets = restart_packets
        self._position = b""
        self._waiting: Sequence[Frame] = ()
        """Taken from the source, and not yet answered."""
        self._recent: deque[Frame] = deque(maxlen=OVERLAP_FRAMES)
        self._run: _Run | None = None
        self._counters = {"tshark_starts": 0, "tshark_crashes": 0, "tshark_unreadable": 0, "tls_unreadable": 0}

    async def open(self, resume: bytes | None) -> None:
        await self._source.open(resume)
        self._position = self._source.position
        self._waiting = ()

    async def take(self, at_most: int, wait_s: float) -> Sequence[SipPacket]:
        if not self._waiting:
            self._waiting = [
                one for one in await self._source.take(min(at_most, AT_ONCE), wait_s) if isinstance(one, Frame)
            ]
        if not self._waiting:
            return ()
        answers = await self._dissect(self._waiting)
        self._waiting, self._position = (), self._source.position
        for answer in answers:
            if answer.unread:
                self._counters[answer.unread] += 1
        return [message for answer in answers for message in answer.messages]

    async def _dissect(self, frames: Sequence[Frame]) -> list[Dissection]:
        answers: list[Dissection] = []
        deaths = 0
        while len(answers) < len(frames):
            told = await self._ask(frames[len(answers) :])
            answers += told
            if len(answers) == len(frames):
                break
            self._counters["tshark_crashes"] += 1
            deaths = 1 if told else deaths + 1
            if deaths == DEATHS_MAX:
                answers.append(Dissection(frames[len(answers)].at_us, [], "tshark_unreadable"))
                deaths = 0
            await self._end()
        self._recent.extend(frames)
        return answers

    async def _ask(self, frames: Sequence[Frame]) -> list[Dissection]:
        """What tshark says of them; fewer where it ended."""
        link_type = frames[0].link_type
        alike = next((at for at, frame in enumerate(frames) if frame.link_type != link_type), len(frames))
        run = self._run
        if run is None or run.spoilt or run.link_type != link_type or run.asked >= self._restart_packets:
            await self._end()
            run = self._run = _Run(link_type, self._decode_as)
            self._counters["tshark_starts"] += 1
            await run.ask([frame for frame in self._recent if frame.link_type == link_type])
        run.asked += alike
        told = await run.ask(frames[:alike])
        return told if len(told) < alike or alike == len(frames) else told + await self._ask(frames[alike:])

    async def _end(self) -> None:
        if self._run is not None:
            await self._run.end()
            self._run = None

    @property
    def position(self) -> bytes:
        return self._position

    async def release(self, position: bytes) -> None:
        await self._source.release(position)

    @property
    def counters(self) -> dict[str, int]:
        return {**self._source.counters, **self._counters}

    @property
    def detail(self) -> str:
        return f"{self._source.detail}, dissected by tshark"

    async def close(self) -> None:
        await self._end()
        await self._source.close()


class _Run:
    """One tshark, fed through its standard input. `asked`: how many frames it was given, less those given again."""

    def __init__(self, link_type: int, decode_as: Sequence[str]) -> None:
        """Raises SourceMisconfigured where there is no tshark."""
        self.link_type = link_type
        self.asked = 0
        self._begun = False
        self.spoilt = False
        """A question was broken off: its answers may still come."""
        self._told: list[Dissection] = []
        self._awaited = 0
        self._enough = asyncio.Event()
        self._asking: asyncio.Task[None] | None = None
        self._tshark = Tshark(asyncio.subprocess.PIPE, decode_as)
        self._reading = asyncio.create_task(self._tshark.packets_from_tshark(self._hear))

    def _hear(self, answer: Dissection) -> None:
        self._told.append(answer)
        if len(self._told) >= self._awaited:
            self._enough.set()

    async def ask(self, frames: Sequence[Frame]) -> list[Dissection]:
        """One answer for each frame; fewer where it ended or hangs."""
        self._told, self._awaited = [], len(frames)
        self._enough.clear()
        self.spoilt = True
        if frames:
            self._asking = asyncio.create_task(self._answered(frames))
            await asyncio.wait((self._asking, self._reading), timeout=ANSWER_S, return_when=asyncio.FIRST_COMPLETED)
            if self._tshark.process is None:
                raise trouble("capture_failed", f"tshark cannot be started: {self._reading.exception()}")
            if not self._asking.done():
                self._tshark.kill()
                self._enough.set()
            with suppress(ConnectionError):
                await self._asking
        self.spoilt = False
        return self._told[: len(frames)]

    async def _answered(self, frames: Sequence[Frame]) -> None:
        await self._tshark.started.wait()
        stdin = self._tshark.process.stdin
        if not self._begun:
            stdin.write(_HEAD.pack(0xA1B2C3D4, 2, 4, 0, 0, SNAP_BYTES, self.link_type))
            self._begun = True
        for frame in frames:
            seconds, microseconds = divmod(frame.at_us, 1_000_000)
            size = len(frame.data)
            stdin.write(_RECORD.pack(seconds, microseconds, size, size) + frame.data)
        await stdin.drain()
        await self._enough.wait()

    async def end(self) -> None:
        self._tshark.kill()
        for task in (self._asking, self._reading):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError, OSError):
                    await task
        await self._tshark.close_async()
