"""Frames from dumpcap: through a ring of files on the disk, or through a pipe.

A ring outlives the agent: dumpcap goes on writing while the agent is away, and the agent that comes back reads on where its
last durable checkpoint stands. Lost is only what the ring had to overwrite meanwhile (`ring_files_lost`), and what passes
while no dumpcap runs: an agent that is stopped ends it, and so does a service manager that ends all processes of a service.
A power cut takes what the kernel had not written yet.
A pipe keeps nothing: what was read since the last checkpoint is lost with the agent.

Laws
- The position is a file of the ring and an octet in it. A file is deleted when a durable position lies behind it.
- Files are read in the order in which they were written: their names tell the run of dumpcap, and its number within the run.
"""

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from collectors.net.frames import Damaged
from collectors.net.pcap_stream import HEAD_BYTES, RECORD_BYTES, PcapStream
from collectors.sip.live.dumpcap import KERNEL_BUFFER_MB, Dumpcap, is_up
from collectors.sip.live.source import Frame
from collectors.sip.live.trouble import trouble

FILE_KB = 4_096
"""dumpcap's kB are of 1,000 octets. Some 6,000 SIP messages; a file that is read is deleted whole."""
READ_BYTES = 1 << 20
POLL_S = 0.05
"""dumpcap writes out what it has each 0.1 s."""
START_S = 10.0
"""dumpcap opens its interface in 0.1 s; a machine that boots has much else to do."""

COUNTED = -1
"""The offset in a file that was given up: it has been counted as lost."""


class Position(Struct, frozen=True, array_like=True):
    file: str = ""
    offset: int = 0


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Position).decode


class DumpcapSource:
    """`make_filter`: the filter with VLAN tags and, where the link type has none, without. `ring_mb`: 0 for a pipe."""

    def __init__(self, folder: Path, interface: str, make_filter: Callable[[bool], str], ring_mb: int) -> None:
        self._folder = folder
        self._interface = interface
        self._make_filter = make_filter
        self._ring_files = max(2, ring_mb * 1000 // FILE_KB) if ring_mb else 0
        self._dumpcap = Dumpcap(folder)
        self._position = Position()
        self._stream = PcapStream()
        self._ready: list[Frame] = []
        self._counters = {"ring_files_lost": 0, "dumpcap_starts": 0}

    async def open(self, resume: bytes | None) -> None:
        self._position = _known(resume)
        self._stream, self._ready = PcapStream(), []
        if not (self._ring_files and self._dumpcap.adopt(self._arguments(True), self._arguments(False))):
            await self._start()
        self._begin()

    async def _start(self) -> None:
        """With VLAN tags in the filter, or without where the interface's link type has none."""
        for tagged in (True, False):
            self._make_room()
            self._dumpcap.start(self._arguments(tagged), f"{self._run() + 1:06d}.pcap" if self._ring_files else "-")
            self._counters["dumpcap_starts"] += 1
            if await asyncio.to_thread(self._dumpcap.capturing, START_S):
                return
            if not (tagged and self._dumpcap.refuses_tags()):
                break
            self._dumpcap.bury()
        raise self._dumpcap.failure(self._interface)

    def _arguments(self, tagged: bool) -> list[str]:
        common = ["-q", "-P", "-B", str(KERNEL_BUFFER_MB), "-i", self._interface, "-f", self._make_filter(tagged)]
        return [
            *common,
            *(("-b", f"filesize:{FILE_KB}", "-b", f"files:{self._ring_files}") if self._ring_files else ()),
        ]

    def _run(self) -> int:
        """The number of the last run of dumpcap that is known of."""
        return max((_number(name)[0] for name in (*self._files(), self._position.file)), default=0)

    def _files(self) -> list[str]:
        return sorted((path.name for path in self._folder.glob("*.pcap")), key=_number)

    def _make_room(self) -> None:
        """A new run of dumpcap knows nothing of the files of those before."""
        files = self._files() if self._ring_files else []
        for name in files[: max(0, len(files) - self._ring_files)]:
            (self._folder / name).unlink(missing_ok=True)
            if _number(name) >= _number(self._position.file):
                self._counters["ring_files_lost"] += 1
                self._position = Position(name, COUNTED)

    def _begin(self) -> None:
        """At the position, or at the first file after it."""
        files = self._files() if self._ring_files else []
        if self._position.file in files:
            head = self._read(0, HEAD_BYTES)
            self._stream.feed(head)
            if len(head) == HEAD_BYTES:
                self._stream.skip_to(self._position.offset)
        elif files:
            self._counters["ring_files_lost"] += bool(self._position.file) and self._position.offset != COUNTED
            self._enter(next((name for name in files if _number(name) > _number(self._position.file)), files[0]))

    def _enter(self, name: str) -> None:
        """Go on with this file; those between it and the one before were overwritten."""
        (run, number), (old_run, old_number) = _number(name), _number(self._position.file)
        self._counters["ring_files_lost"] += number - old_number - 1 if run == old_run else number - 1
        self._position = Position(name, 0)
        self._stream = PcapStream()

    async def take(self, at_most: int, wait_s: float) -> Sequence[Frame]:
        until = time.monotonic() + wait_s
        while not (self._ready or self._more()):
            if not self._dumpcap.runs:
                if self._more():
                    break
                raise self._dumpcap.failure(self._interface)
            if time.monotonic() >= until:
                self._look()
                return ()
            await asyncio.sleep(POLL_S)
        taken, self._ready = self._ready[:at_most], self._ready[at_most:]
        self._position = Position(self._position.file, self._behind(self._ready))
        return taken

    def _behind(self, waiting: list[Frame]) -> int:
        return self._stream.offset - sum(RECORD_BYTES + len(frame.data) for frame in waiting)

    def _more(self) -> bool:
        """Take in what has been written; in a ring, on with the next file where one has been begun."""
        following = self._following()
        while not self._feed(self._octets()):
            if following is None:
                return False
            self._enter(following)
            following = self._following()
        return True

    def _following(self) -> str | None:
        """The file after the current one: once it is there, the current one is whole."""
        if not self._ring_files:
            return None
        return next((name for name in self._files() if _number(name) > _number(self._position.file)), None)

    def _octets(self) -> bytes:
        if self._ring_files:
            return self._read(self._stream.read_to, READ_BYTES) if self._position.file else b""
        try:
            return os.read(self._dumpcap.output, READ_BYTES)
        except BlockingIOError:
            return b""

    def _read(self, offset: int, size: int) -> bytes:
        try:
            with open(self._folder / self._position.file, "rb", buffering=0) as file:
                file.seek(offset)
                return file.read(size)
        except FileNotFoundError:  # overwritten while it was read; the next one's number tells of those between
            self._counters["ring_files_lost"] += 1
            return b""

    def _feed(self, data: bytes) -> bool:
        try:
            self._ready += (Frame(*frame) for frame in self._stream.feed(data))
        except Damaged as fault:
            raise trouble("capture_failed", f"what dumpcap wrote cannot be read: {fault}") from fault
        return bool(self._ready)

    def _look(self) -> None:
        """Nothing arrives: whether anything could."""
        if not is_up(self._interface):
            raise trouble("capture_interface_down", f"the interface {self._interface} was switched off")

    @property
    def position(self) -> bytes:
        return _encode(self._position)

    async def release(self, position: bytes) -> None:
        keep = _number(_known(position).file)
        for name in self._files() if self._ring_files else ():
            if _number(name) < keep:
                (self._folder / name).unlink(missing_ok=True)

    @property
    def counters(self) -> dict[str, int]:
        return {**self._counters, "kernel_drops": self._dumpcap.kernel_drops}

    @property
    def detail(self) -> str:
        return f"dumpcap on {self._interface}, {'through a ring of files' if self._ring_files else 'through a pipe'}"

    async def close(self) -> None:
        await asyncio.to_thread(self._dumpcap.end)


def _known(position: bytes | None) -> Position:
    try:
        return _decode(position) if position else Position()
    except msgspec.DecodeError:
        return Position()


def _number(name: str) -> tuple[int, int]:
    """`000002_00015_20260105090000.pcap`: the run of dumpcap, and the file's number within it."""
    parts = name.split("_")
    return (int(parts[0]), int(parts[1])) if len(parts) > 1 and parts[0].isdigit() and parts[1].isdigit() else (0, 0)
