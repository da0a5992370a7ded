"""Where live packets come from: what `LiveCollector` asks of a capture service, of dumpcap and of pyshark alike.

Laws
- What `take` gave comes again after a restart unless `release` has been told a position at or behind it (as far as the
  source can: what was lost meanwhile is counted, never passed over in silence).
- A source gives either frames or packets, never both.
- `take`, when it is cancelled or raises, has taken nothing: `position` stands where it stood.
- A source raises SourceUnavailable and SourceMisconfigured (collectors/contract.py), each cause with a code of its own
  (trouble.py), and nothing else.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from collectors.sip.packets import SipPacket


class Frame(Struct, frozen=True, gc=False):
    """A frame as captured. `link_type`: https://www.tcpdump.org/linktypes.html."""

    at_us: int
    link_type: int
    data: bytes


class PacketSource(Protocol):
    async def open(self, resume: bytes | None) -> None:
        """`resume`: the position of the last durable checkpoint, or None."""

    async def take(self, at_most: int, wait_s: float) -> Sequence[Frame | SipPacket]:
        """What has arrived, in the order of its capture; empty where nothing did within `wait_s`."""

    @property
    def position(self) -> bytes:
        """Where `take` stands; opaque to everybody else."""

    async def release(self, position: bytes) -> None:
        """All up to `position` is durable."""

    @property
    def counters(self) -> dict[str, int]:
        """Totals since the start, `kernel_drops` among them; each name is documented in the README."""

    @property
    def detail(self) -> str:
        """A sentence for the status page."""

    async def close(self) -> None: ...
