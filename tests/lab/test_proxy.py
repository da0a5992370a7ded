"""A real proxy in front of a real phone system: every message of a call is on the wire twice, and it is one call."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collectors.records import Call, Leg
from collectors.sip.kind import KIND
from collectors.sip.leg import SipLeg
from tests.lab.asterisk import WITH_US, AsteriskLab, end, wait_for
from tests.lab.kamailio import PROXY_IP, Kamailio
from tests.lab.office import CALLERS, CARRIER_IP, Office, PlacedCall

pytestmark = pytest.mark.lab

TALK_TOLERANCE_MS = 50
"""sipp and the capture look at the same machine's clock; a busy machine makes some milliseconds of it."""

LINGER_S = 1.0
"""What still lies in a half-filled block of the kernel's ring when dumpcap ends is not written; a block is handed over after a
fraction of a second."""


@contextlib.contextmanager
def captured(path: Path) -> Iterator[None]:
    """All UDP on loopback, into a file, by Wireshark's own tool."""
    dumpcap = shutil.which("dumpcap")
    assert dumpcap is not None, "dumpcap is part of Debian's tshark"
    command = [*WITH_US, dumpcap, "-q", "-i", "lo", "-f", "udp", "-w", str(path)]
    with path.with_suffix(".log").open("wb") as log:
        running = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_for(path.exists, 10, "dumpcap does not capture")
        yield
        time.sleep(LINGER_S)
    finally:
        running.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.wait(5)
        end(running)


@dataclass(frozen=True)
class Heard:
    placed: list[PlacedCall]
    legs: dict[str, list[SipLeg]]

    def call(self, placed: PlacedCall) -> tuple[Call, list[SipLeg]]:
        """The one call that has a leg with the Call-ID that its caller gave it."""
        found = [legs for legs in self.legs.values() if any(leg.call_id == placed.call_id for leg in legs)]
        assert len(found) == 1, f"{placed.kind} {placed.call_id} is in {len(found)} calls"
        return KIND.join(found[0]), found[0]


@pytest.fixture(scope="module")
def heard(lab: AsteriskLab, folder: Path) -> Heard:
    path = folder / "loopback.pcapng"
    with captured(path), Kamailio(lab) as proxy, Office(lab, folder, f"{proxy.sip_ip}:{proxy.sip_port}") as office:
        placed = office.play(1)
    legs: dict[str, list[SipLeg]] = {}
    for batch in KIND.read(path, KIND.config(trunks={"carrier": CARRIER_IP})):
        for record in batch.records:
            if isinstance(record, Leg):
                assert isinstance(record, SipLeg)
                legs.setdefault(record.call_key, []).append(record)
    return Heard(placed, legs)


def test_each_call_placed_is_one_call_and_there_are_no_others(heard: Heard) -> None:
    assert len(heard.legs) == len(heard.placed) >= 20
    for placed in heard.placed:
        call, _ = heard.call(placed)
        assert (call.caller.number, call.dialled, call.outcome) == (placed.caller, placed.dialled, placed.outcome)


def test_calls_through_the_proxy_were_seen_on_both_its_sides(heard: Heard) -> None:
    through = [placed for placed in heard.placed if placed.caller in CALLERS]
    assert len(through) >= 15
    for placed in through:
        _, legs = heard.call(placed)
        hops = [leg for leg in legs if leg.call_id == placed.call_id and not leg.forked]
        assert [(leg.src.startswith(PROXY_IP), leg.dst.startswith(PROXY_IP)) for leg in hops] == [
            (False, True),
            (True, False),
        ]


def test_talk_times_are_those_of_sipps_clock(heard: Heard) -> None:
    wrong = [
        (placed.kind, placed.caller, placed.talk_ms, call.talk_ms)
        for placed in heard.placed
        for call, _ in [heard.call(placed)]
        if abs(placed.talk_ms - call.talk_ms) > TALK_TOLERANCE_MS
    ]
    assert wrong == []
