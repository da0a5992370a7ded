"""From SIP packets to calls, registrations and uses of features.

Laws
- Sans-I/O: packets in, records out. No socket, no file, no clock: time is what the packets and `tick` say.
- A call is handed in once, whole, when the last of its dialogs has ended and settled; all its legs together.
- No input raises. What cannot be read is a `Reject`; what is dropped at a limit is counted.
- Determinism: the records depend on the packets and ticks alone. `restore(snapshot())` changes nothing of what follows.
"""

from collectors.records import Record, Reject
from collectors.sip.limits import Limits
from collectors.sip.packets import SipPacket


class Tracker:
    """Feed it packets in the order of their capture; drain it as often as you like.

    `counters`: totals by name since the tracker was made; they are part of the snapshot. The README names them all.
    """

    def __init__(self, limits: Limits = Limits()) -> None:
        self.limits = limits
        self.counters: dict[str, int] = {}

    def feed(self, packet: SipPacket) -> None:
        """Take one packet. Time runs to `packet.at_us` first; a packet that is older than the newest one does not turn it back."""

    def tick(self, now_us: int) -> None:
        """Time has come to `now_us`, on the packets' clock: what is due ends now."""

    def drain(self) -> tuple[list[Record], list[Reject]]:
        """What became final since the last drain."""
        return [], []

    def finish(self, now_us: int) -> None:
        """The source has ended: whatever is still open is handed in with `ending="open"`."""

    def snapshot(self) -> bytes:
        """All that is known of calls in progress, bindings and unfinished streams. Drain first: records that wait to be
        drained are not part of it."""
        return b""

    def restore(self, state: bytes) -> None:
        """Go on where `snapshot` stood. Raises ValueError where these bytes are no snapshot of this version."""
