"""`pegcount read` on a capture of calls: what only signalling tells of them."""

import json
from pathlib import Path

import pytest

from tests.agent.cli.commands import pegcount
from tests.collectors.sip.flows import CARRIER, PBX, Exchange, frame_of, in_order, pcap, phone


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A busy number, an outsider who wants to stay unknown, and the end of a call that was up before."""
    busy = Exchange("a", phone(101), PBX, "101", "102")
    reason = [("Reason", "Q.850;cause=17")]
    asserted = [("P-Asserted-Identity", "<sip:+12125550123@carrier.example>"), ("Privacy", "id")]
    hidden = Exchange("b", CARRIER, PBX, "anonymous", "103", headers=asserted)
    before = Exchange("c", phone(104), PBX, "104", "105")
    packets = in_order(
        [*busy.ring(0), busy.answer(2, 486, headers=reason), busy.ack(2.1)],
        hidden.talk(10, 15, 75),
        [before.bye(90), before.bye_ok(90.1)],
    )
    path = tmp_path / "office.pcap"
    path.write_bytes(pcap((packet.at_us, frame_of(packet)) for packet in packets))
    return path


def test_the_table_tells_status_cause_delay_privacy_and_what_was_not_heard(capture: Path) -> None:
    lines = [
        line.partition("call  ")[2].strip() for line in pegcount("read", capture).out.splitlines() if " call  " in line
    ]
    told = {line.split("  ")[0]: line.split("  ")[-1].strip() for line in lines}
    assert told["101 -> 102"] == "busy, status 486, cause 17, PDD 0.1 s"
    assert told["+12125550123 -> 103"].endswith("PDD 0.1 s, number withheld")
    assert told["104 -> 105"].endswith("beginning not heard")


def test_events_tell_the_same_and_not_who_wants_to_stay_unknown(capture: Path) -> None:
    found = [json.loads(line) for line in pegcount("read", "--json", capture).out.splitlines()]
    calls = [one["data"] for one in found if one["kind"] == "event" and one["meter"] == "call"]
    names = ("caller", "status", "cause", "pdd_ms", "private", "partial")
    assert [[data.get(name) for name in names] for data in calls] == [
        ["101", 486, 17, 100, None, None],
        [None, 200, None, 100, 1, None],
        ["104", None, None, None, None, 1],
    ]
    minutes = [one["quantity"] for one in found if one["kind"] == "event" and one["meter"] == "voice.minutes"]
    assert minutes == ["1"]
