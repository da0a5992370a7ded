"""SIP packets out of a capture file: the file's frames, dissected.

Nothing raises but `frames.CaptureError`; what stands before the damage is given first.
"""

from collections.abc import Iterator
from typing import BinaryIO

from collectors.net.frames import CaptureError, spans
from collectors.sip.dissect import Dissector, OnMedia
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket


class CaptureReader:
    """Iterate over it once. `counters` tells what was met; `packets` the number of frames read."""

    def __init__(
        self,
        file: BinaryIO,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        on_media: OnMedia | None = None,
        *,
        dedup: bool | None = None,
    ) -> None:
        self.dissector = Dissector(limits, on_media, dedup=dedup)
        self.counters = self.dissector.counters
        self._file = file

    @property
    def packets(self) -> int:
        return self.dissector.frames

    @property
    def at_us(self) -> int:
        """The time of the frame read last."""
        return self.dissector.at_us

    @property
    def offset(self) -> int:
        """How much of the file was read, in bytes."""
        return self._file.tell()

    def __iter__(self) -> Iterator[SipPacket]:
        try:
            yield from self.dissector.packets(spans(self._file))
        except CaptureError:
            yield from self.dissector.finish()
            raise
        yield from self.dissector.finish()
