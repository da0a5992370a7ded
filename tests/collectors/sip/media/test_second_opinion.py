"""The same streams by tshark: its packets, losses and mean jitter beside ours, on captures of our own and on public ones."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from collectors.records import MediaFlow
from collectors.sip.capture import CaptureReader
from collectors.sip.leg import SipLeg
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import pcap
from tests.collectors.sip.rtp import PBX_RTP, PHONE_RTP, call_with, frames, voice

pytestmark = pytest.mark.skipif(shutil.which("tshark") is None, reason="needs tshark (Debian: tshark)")
SAMPLES = Path(__file__).resolve().parents[5] / "shared" / "samples" / "sip" / "captures"

Row = tuple[int, int, float]
"""Packets, lost, mean jitter in ms."""


def by_tshark(path: Path) -> dict[tuple[str, str, int], Row]:
    """By source, target and SSRC; columns from the right, since a source of unknown codec has two words more."""
    run = subprocess.run(["tshark", "-r", path, "-q", "-z", "rtp,streams"], capture_output=True, text=True, check=True)
    rows = {}
    for line in run.stdout.splitlines():
        cells = line.split()
        if len(cells) > 15 and cells[6].startswith("0x"):
            after = cells.index(next(cell for cell in cells if cell.startswith("(")))
            ends = f"{cells[2]}:{cells[3]}", f"{cells[4]}:{cells[5]}", int(cells[6], 16)
            rows[ends] = int(cells[after - 2]), int(cells[after - 1]), float(cells[after + 5])
    return rows


def by_us(path: Path) -> list[MediaFlow]:
    tracker = Tracker(media="rtp")
    with path.open("rb") as file:
        reader = CaptureReader(file, on_media=tracker.media)
        for packet in reader:
            tracker.feed(packet)
    tracker.finish(reader.at_us)
    return [flow for leg in tracker.drain()[0] if isinstance(leg, SipLeg) for flow in leg.media if flow.kind == "audio"]


@pytest.mark.parametrize("seed", range(4))
def test_loss_and_jitter_of_a_rough_network_are_those_of_tshark(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    up = voice(PHONE_RTP, PBX_RTP, 2, 30, late_us=[chance.randrange(15_000) for _ in range(997)], sequence=64_900)
    down = voice(PBX_RTP, PHONE_RTP, 2, 30, ssrc=9, late_us=[0, 5_000, 1_000])
    up = [packet for packet in up if chance.random() > 0.02]
    path = tmp_path / "call.pcap"
    path.write_bytes(pcap(frames(call_with(up, down))))
    theirs = by_tshark(path)
    ours = by_us(path)
    assert len(ours) == len(theirs) == 2
    for flow in ours:
        packets, lost, jitter_ms = theirs[flow.src, flow.dst, 0x1234 if flow.from_caller else 9]
        assert (flow.packets, flow.lost) == (packets, lost)
        assert flow.jitter_us / 1000 == pytest.approx(jitter_ms, rel=0.01)


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout")
@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("dangdanding_Docs__sip-rtp.pcap", [0, 0]),
        ("ntop_nDPI__FAX-Call-t38-CA-TDM-SIP-FB-1.pcap", [27, 0]),
        ("sipcapture_heplify__rtp_rtcp_sip_ipv4_udp.pcap", [0, 0]),
        ("sipcapture_heplify__sip_ipv4_tcp.pcap", [0, 0]),
    ],
)
def test_streams_of_public_captures_have_the_packets_that_tshark_counts(name: str, more: list[int]) -> None:
    """In the fax capture T.38 is offered on the port of the audio and refused by what is sent: 27 datagrams that tshark takes
    for T.38 are RTP, the next of the same SSRC, by their sequence numbers."""
    theirs = {(src, dst): row for (src, dst, _), row in by_tshark(SAMPLES / name).items()}
    ours = by_us(SAMPLES / name)
    told = [(flow.packets - theirs[flow.src, flow.dst][0], flow.lost - theirs[flow.src, flow.dst][1]) for flow in ours]
    assert told == [(packets, 0) for packets in more]
