"""No message of 64 kB takes longer than a fiftieth of a second, whatever it is made of.

What is measured is CPU time, the least of some tries. `SLACK` is for machines slower than the one that the limit was set on
(where the slowest takes half of it); what takes more than linear time takes seconds at this size.
"""

import re
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from collectors.sip.media import rtp_stat, vq
from collectors.sip.message import Malformed, parse
from collectors.sip.packets import SipPacket
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import PBX, START_US, at, phone
from tests.fuzz.adversarial import MESSAGES, STREAMS
from tests.fuzz.judge import SLACK, SLOW_S

SIZE_BYTES = 65_000
TRIES = 3
SEGMENT_BYTES = 1_400


def least_s(run: Callable[[bytes], object], data: bytes) -> float:
    took = []
    for _ in range(TRIES):
        began = time.process_time()
        run(data)
        took.append(time.process_time() - began)
    return min(took)


def read(data: bytes) -> None:
    with suppress(Malformed):
        parse(data)


def track(data: bytes) -> None:
    Tracker().feed(SipPacket(at(0), "udp", phone(1), PBX, data))


def track_answered(data: bytes) -> None:
    """As a REGISTER and as the answer to it."""
    tracker = Tracker()
    tracker.feed(SipPacket(at(0), "udp", phone(1), PBX, data.replace(b"INVITE", b"REGISTER", 2)))
    answer = re.sub(rb"^[^\r]*", b"SIP/2.0 200 OK", data.replace(b"1 INVITE", b"1 REGISTER", 1), count=1)
    tracker.feed(SipPacket(at(1), "udp", PBX, phone(1), answer))


def track_segments(data: bytes) -> None:
    tracker = Tracker()
    for number in range(0, len(data), SEGMENT_BYTES):
        tracker.feed(SipPacket(at(0), "tcp", phone(1), PBX, data[number : number + SEGMENT_BYTES]))


WAYS = {"read": (read, 1), "tracked": (track, 1), "answered": (track_answered, 2), "in segments": (track_segments, 1)}
"""With how many messages of that size each takes."""


@pytest.mark.parametrize("way", WAYS)
def test_a_message_takes_linear_time(way: str) -> None:
    run, messages = WAYS[way]
    slow = {}
    for name, make in MESSAGES.items():
        took = least_s(run, make(SIZE_BYTES))
        if took > SLOW_S * messages * SLACK:
            slow[name] = f"{took * 1000:.0f} ms"
    assert not slow


@pytest.mark.parametrize("piece", ["A", "IP=", "PORT", "SSRC=0", "9", "IP=1 "])
def test_a_report_takes_linear_time(piece: str) -> None:
    line = f"VQSessionReport: CallTerm\r\nLocalMetrics:\r\nDelay: {piece * (SIZE_BYTES // len(piece))}\r\n".encode()
    for body in (line, line.replace(b"Delay", b"LocalAddr")):
        assert least_s(lambda body: vq.reports(body, START_US), body) < SLOW_S * SLACK
    assert least_s(lambda value: rtp_stat.reports(value, START_US), line) < SLOW_S * SLACK


def test_a_stream_takes_linear_time() -> None:
    slow = {}
    for name, make in STREAMS.items():
        took = least_s(track_segments, make(SIZE_BYTES))
        if took > SLOW_S * SLACK:
            slow[name] = f"{took * 1000:.0f} ms"
    assert not slow
