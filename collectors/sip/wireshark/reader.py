"""SIP packets out of a capture file, as tshark dissects it: what Wireshark can read and `CaptureReader` should not.

Laws
- Iterates like `CaptureReader`, with the same counters where they mean the same, and the same errors.
- What is encrypted and stays so is counted (`tls_unreadable`), never silently nothing.
- pyshark's coroutines run in a thread of their own, at most FRAMES_AHEAD frames before who reads; a reading that is given up,
  in whatever thread, ends tshark.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from typing import BinaryIO

from pyshark.capture.capture import StopCapture

from collectors.contract import SourceMisconfigured
from collectors.net.frames import GZIP_MAGIC, MAGIC_BYTES, PCAP_MAGIC, PCAPNG_MAGIC, Damaged, NotACapture
from collectors.sip.packets import SipPacket
from collectors.sip.wireshark.dissection import Dissection
from collectors.sip.wireshark.tshark import Tshark

FRAMES_AHEAD = 1_024
"""Some megabytes at most; tshark waits for who reads."""

CLEAR_S = 1.0
"""How long a reading that is given up waits for its folder to be cleared away."""


class TsharkReader:
    """Iterate over it once. `packets` is the number of frames read."""

    def __init__(self, file: BinaryIO, decode_as: tuple[str, ...] = (), keylog: str = "") -> None:
        self.counters: dict[str, int] = Counter()
        self.packets = 0
        self.at_us = 0
        """The time of the frame read last."""
        self._file = file
        self._keylog = keylog
        self._run = _Run(file, decode_as, keylog)

    @property
    def offset(self) -> int:
        """How much of the file was read, in bytes: tshark reads by the same file description."""
        return self._file.tell()

    def __iter__(self) -> Iterator[SipPacket]:
        """Raises CaptureError, SourceMisconfigured."""
        self._be_a_capture()
        self._have_keys()
        try:
            for frame in self._run.frames():
                self.packets += 1
                self.at_us = frame.at_us or self.at_us
                if frame.unread:
                    self.counters[frame.unread] += 1
                yield from frame.messages
            if self._run.failure:
                raise Damaged(f"tshark: {self._run.failure}", self.offset)
        finally:
            self._run.give_up()

    def _be_a_capture(self) -> None:
        """tshark takes any text for a file of the type `text`."""
        magic = self._file.read(MAGIC_BYTES)
        if magic not in PCAP_MAGIC and magic != PCAPNG_MAGIC and not magic.startswith(GZIP_MAGIC):
            raise NotACapture("this is neither a pcap nor a pcapng file")
        self._file.seek(0)

    def _have_keys(self) -> None:
        """tshark says nothing of a key log that it cannot read."""
        try:
            if self._keylog:
                open(self._keylog, "rb").close()
        except OSError as fault:
            raise SourceMisconfigured(
                f"the key log {self._keylog} cannot be read: {fault.strerror}",
                "give the file that SSLKEYLOGFILE named where the calls ended, readable for this user",
            ) from fault


class _Run:
    """One run of tshark in a thread of its own. `failure` is what tshark had to say when it ended badly."""

    def __init__(self, file: BinaryIO, decode_as: tuple[str, ...], keylog: str) -> None:
        self.failure = ""
        self._arguments = (file, decode_as, keylog)
        self._ahead: Queue[Dissection | None] = Queue(FRAMES_AHEAD)
        self._tshark: Tshark | None = None
        self._thread: Thread | None = None
        self._given_up = False

    def frames(self) -> Iterator[Dissection]:
        """Raises what goes wrong in the thread."""
        loop = asyncio.new_event_loop()
        self._thread = Thread(target=_run, args=(loop,), name="tshark", daemon=True)
        self._thread.start()
        done = asyncio.run_coroutine_threadsafe(self._dissect(), loop)
        done.add_done_callback(lambda _: self._end(loop))
        while (frame := self._ahead.get()) is not None:
            yield frame
        done.result()

    async def _dissect(self) -> None:
        self._tshark = Tshark(*self._arguments)
        await self._tshark.packets_from_tshark(self._keep)
        self.failure = self._tshark.failure

    def _end(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.stop()
        self._ahead.put(None)

    def _keep(self, frame: Dissection) -> None:
        if self._given_up:
            raise StopCapture
        self._ahead.put(frame)

    def give_up(self) -> None:
        """Nobody reads on: no `put` may wait from here on."""
        self._given_up = True
        if self._tshark is not None:
            self._tshark.kill()
        with suppress(Empty):
            while True:
                self._ahead.get_nowait()
        if self._thread is not None:
            self._thread.join(CLEAR_S)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()
