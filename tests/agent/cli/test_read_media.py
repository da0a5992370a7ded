"""`pegcount read` on a capture with RTP: what the media tells, and no more of it than is asked for."""

import json
from pathlib import Path

import pytest

from tests.agent.cli.commands import pegcount
from tests.collectors.sip.flows import pcap
from tests.collectors.sip.rtp import PBX_RTP, PHONE_RTP, call_with, frames, voice, without


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A call of 28 s with voice both ways; of the phone's 1,400 packets 14 are missing."""
    heard = without(voice(PHONE_RTP, PBX_RTP, 2, 30), *range(100, 1400, 100), 1399 - 50)
    path = tmp_path / "office.pcap"
    path.write_bytes(pcap(frames(call_with(heard, voice(PBX_RTP, PHONE_RTP, 2, 30, ssrc=0x99)))))
    return path


def test_a_capture_shows_codec_quality_and_volume(capture: Path) -> None:
    done = pegcount("read", capture)
    assert done.status == 0, done.err
    assert "PCMU, MOS " in done.out
    assert "1.00 % lost" in done.out
    found = [json.loads(line) for line in pegcount("read", "--json", capture).out.splitlines()]
    (call,) = (one for one in found if one["kind"] == "call")
    assert sorted((flow["from_caller"], flow["packets"], flow["lost"]) for flow in call["media"]) == [
        (False, 1400, 0),
        (True, 1386, 14),
    ]
    assert [one["quantity"] for one in found if one["kind"] == "event" and one["meter"] == "media.gb"] == ["0.000446"]


def test_media_may_be_left_out(capture: Path) -> None:
    found = [json.loads(line) for line in pegcount("read", "--json", "--media", "off", capture).out.splitlines()]
    assert [one["media"] for one in found if one["kind"] == "call"] == [[]]
    assert not [one for one in found if one["kind"] == "event" and one["meter"] == "media.gb"]
