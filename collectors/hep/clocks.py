"""Senders' clocks, brought to one: that of this machine. Pure: the times of receipt come in as arguments.

Laws
- A sender's times are moved by one constant span, so that what lies between two of them stays what it was.
- A clock that agrees with the time of receipt within TOLERANCE_US is believed as it is.
- One that is ahead cannot be right: nothing arrives before it was sent.
- One that is behind may be right, and what it says late: a sender that kept its packets while the network was down, a recording
  that is played back. It is believed where it has been right before, or where it is the only sender; else it would tear
  apart what several senders say of one call, and is moved.
- What comes out depends on what was fed, and `senders` is plain data: reading a journal again gives the same times.
"""

from msgspec import Struct

TOLERANCE_US = 600_000_000
"""Ten minutes. A clock that nobody sets drifts by minutes in a year (20 ppm: 10.5); the delays of networks are far below."""

CLOCK_SET_US = 1_735_689_600_000_000
"""2025-01-01. A machine that believes itself to be before this has no clock battery and has not yet heard of the time:
then the senders' clocks are the better ones."""

SENDERS_MAX = 1_024
"""A site has a handful; beyond, the one that was heard longest ago is forgotten, and judged anew when it comes again."""

COUNTERS = ("clock_offset_senders", "clock_late_senders", "clock_senders_evicted")


class Sender(Struct, array_like=True):
    """`offset_us`: what is added to its times. `right`: its clock has agreed with ours; `late`: its times were believed though
    they lay behind."""

    offset_us: int = 0
    right: bool = False
    late: bool = False


Senders = dict[str, Sender]


class Clocks:
    """`senders` is by name, and in the order in which they were last heard."""

    def __init__(self, counters: dict[str, int]) -> None:
        self.senders: Senders = {}
        self._counters = counters
        counters.update(dict.fromkeys(COUNTERS, 0))

    def instant(self, name: str, told_us: int, received_us: int) -> int:
        """When something happened that the sender `name` says was at `told_us` (0: it does not say)."""
        if told_us <= 0:
            return received_us
        if received_us < CLOCK_SET_US:
            return told_us
        sender = self._sender(name)
        behind_us = received_us - told_us - sender.offset_us
        if (
            abs(behind_us) <= TOLERANCE_US
        ):  # asked first: a clock that is off by just so much would else be moved to and fro
            sender.right = sender.right or not sender.offset_us
        elif abs(received_us - told_us) <= TOLERANCE_US:
            sender.right, sender.offset_us = True, 0
        elif behind_us < -TOLERANCE_US or not (sender.right or sender.offset_us or len(self.senders) == 1):
            sender.offset_us = received_us - told_us
            self._counters["clock_offset_senders"] += 1
        elif not sender.late:
            sender.late = True
            self._counters["clock_late_senders"] += 1
        return told_us + sender.offset_us

    def _sender(self, name: str) -> Sender:
        sender = self.senders.pop(name, None)
        if sender is None:
            sender = Sender()
            if len(self.senders) >= SENDERS_MAX:
                del self.senders[next(iter(self.senders))]
                self._counters["clock_senders_evicted"] += 1
        self.senders[name] = sender
        return sender
