"""`pegcount read` on a capture of registrations: devices, risks and what they come to as events."""

import json
from pathlib import Path

import pytest

from tests.agent.cli.commands import pegcount
from tests.collectors.sip.flows import frame_of, pcap, register

STRANGER = "198.51.100.66:5071"


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A softphone registers, and a stranger guesses nine accounts."""
    packets = [
        *register(0, "101", agent="Zoiper rv2.10.3.2"),
        *(packet for n in range(9) for packet in register(10 + n, str(200 + n), src=STRANGER, status=403)),
    ]
    path = tmp_path / "office.pcap"
    path.write_bytes(pcap((packet.at_us, frame_of(packet)) for packet in packets))
    return path


def test_json_tells_devices_and_risks_and_their_events(capture: Path) -> None:
    done = pegcount("read", "--json", capture)
    assert done.status == 0, done.err
    found = [json.loads(line) for line in done.out.splitlines()]
    assert [one["device"] for one in found if one["kind"] == "registration"] == ["softphone"]
    risks = [(one["code"], one["origin"], one["count"]) for one in found if one["kind"] == "risk"]
    assert risks == [
        ("risk.register_guessing", "198.51.100.66", 8),
        ("risk.register_guessing", "198.51.100.66", 1),
    ]
    events = [(one["meter"], one["subject"], one["data"].get("feature", "")) for one in found if one["kind"] == "event"]
    assert sorted(events) == [
        ("feature.use", "101", "softphone"),
        ("risk.register_guessing", "site", ""),
        ("risk.register_guessing", "site", ""),
        ("seat.day", "101", ""),
    ]


def test_the_table_is_for_people(capture: Path) -> None:
    done = pegcount("read", capture)
    assert "registered 101@10.0.1.101:5060 (softphone)" in done.out
    assert "198.51.100.66                 risk.register_guessing 8 times (205, 206, 207)" in done.out
    assert "1 registration, 2 risks" in done.out + done.err
