"""Public captures, beside what an independent tool (tshark, by their INDEX) reads in them.

They lie beside the checkout and are no part of the project.
"""

import re
from collections import Counter
from pathlib import Path

import pytest

from collectors.net.frames import CaptureError
from collectors.sip.capture import CaptureReader
from collectors.sip.packets import looks_like_sip
from collectors.sip.site import Site
from collectors.sip.tracker import Tracker
from tests.collectors.sip.flows import Told

SAMPLES = Path(__file__).resolve().parents[4] / "shared" / "samples" / "sip"
pytestmark = [
    pytest.mark.samples,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout"),
]

Messages = tuple[int, dict[str, int]]

NOT_COMPARED = {
    "ntop_nDPI__fuzz-2006-06-26-2594.pcap": "fuzzed: the INDEX calls its own counts not meaningful",
    "hep3_udp_from_sngrep.pcap": "HEP, another kind of source: tests/collectors/hep/test_read.py",
}
"""Captures whose counts in the INDEX are not those of this decoder."""

ANSWER_ALONE = {"synth_500_ipv4frag576_lost.pcap": 5}
"""Answers to INVITEs whose fragments were not all captured: the INDEX counts them, a call needs its INVITE."""

Row = tuple[int, int, int]


def rows(index: Path, calls: int) -> dict[str, Row]:
    """INVITE Call-IDs, answered ones and REGISTER requests of each file; `calls` is the first of the three columns."""
    found = {}
    for line in index.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) > calls + 2 and cells[0].split("/")[-1].endswith((".pcap", ".pcapng")) and cells[calls].isdigit():
            found[cells[0]] = (int(cells[calls]), int(cells[calls + 1]), int(cells[calls + 2]))
    return found


def messages(index: Path, sip: int, transports: int) -> dict[str, Messages]:
    """SIP messages of each file, and of each transport where the INDEX tells."""
    found = {}
    for line in index.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if len(cells) > sip and cells[0].endswith((".pcap", ".pcapng")) and cells[sip].isdigit():
            told = re.findall(r"(UDP|TCP|SCTP)(?:/IPv6)? (\d+)", cells[transports].split(";")[0])
            found[cells[0]] = int(cells[sip]), {name.lower(): int(number) for name, number in told}
    return found


def expected_messages() -> dict[Path, Messages]:
    told = {SAMPLES / "captures" / name: row for name, row in messages(SAMPLES / "captures" / "INDEX.md", 5, 9).items()}
    own = messages(SAMPLES / "own" / "INDEX.md", 2, 6)
    for name, (count, _) in own.items():
        told[SAMPLES / "own" / name] = count, {"tcp" if "_tcp_" in name else "udp": count}
    return told


def expected() -> dict[Path, Row]:
    told = {SAMPLES / "captures" / name: row for name, row in rows(SAMPLES / "captures" / "INDEX.md", 6).items()}
    told |= {SAMPLES / "own" / name: row for name, row in rows(SAMPLES / "own" / "INDEX.md", 3).items()}
    return told


def read(path: Path, site: Site | None = None) -> Told:
    tracker = Tracker(site=site or Site())
    with path.open("rb") as file:
        reader = CaptureReader(file)
        for packet in reader:
            tracker.feed(packet)
    tracker.finish(reader.at_us)
    return Told(*tracker.drain(), {**reader.counters, **tracker.counters})


def test_the_index_is_understood() -> None:
    known = expected()
    assert len(known) == 34
    assert all(path.exists() for path in known)
    assert {path.name for path in known} >= set(NOT_COMPARED)


@pytest.mark.parametrize("path", sorted(expected()) if SAMPLES.is_dir() else [], ids=lambda path: path.name)
def test_calls_answers_and_registrations_of_plain_captures_are_those_of_the_index(path: Path) -> None:
    if path.name in NOT_COMPARED:
        read(path)
        return
    told = read(path)
    calls = {leg.call_id for leg in told.legs}
    answered = {leg.call_id for leg in told.legs if leg.answered_at_ms is not None}
    alone = ANSWER_ALONE.get(path.name, 0)
    assert (len(calls), len(answered) + alone, told.counters["registers"]) == expected()[path]


@pytest.mark.parametrize("path", sorted(expected_messages()) if SAMPLES.is_dir() else [], ids=lambda path: path.name)
def test_the_messages_of_each_transport_are_those_of_the_index(path: Path) -> None:
    if path.name in NOT_COMPARED:
        return
    with path.open("rb") as file:
        heard = [packet for packet in CaptureReader(file) if looks_like_sip(packet.payload)]
    assert (len(heard), dict(Counter(packet.transport for packet in heard))) == expected_messages()[path]


def test_tunnels_of_all_kinds_in_one_capture_are_stepped_into() -> None:
    """By tshark's view: two GRE with ping and one with ERSPAN, two VXLAN, three GENEVE, one GTP-U, two IP in IPv6."""
    told = read(SAMPLES / "captures" / "arkime_arkime__arkime_synthetic.pcap")
    assert told.counters["tunnelled"] == 11
    assert "gre" not in told.counters


@pytest.mark.parametrize(
    "path", sorted(SAMPLES.rglob("*.pcap*")) if SAMPLES.is_dir() else [], ids=lambda path: path.name
)
def test_every_capture_is_read_and_so_is_one_that_breaks_off(path: Path, tmp_path: Path) -> None:
    read(path)
    short = tmp_path / path.name
    short.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CaptureError):
        read(short)


def test_one_call_seen_on_several_hops_and_behind_a_border_controller_is_one_call() -> None:
    """Two Call-IDs, four hops: the border controller has an address on either side, which its site knows."""
    path = SAMPLES / "captures" / "ntop_nDPI__FAX-Call-t38-CA-TDM-SIP-FB-1.pcap"
    assert len(read(path).calls) == 2
    call = read(path, Site(pbx=("10.35.60.100", "138.132.169.101", "10.35.40.200", "10.35.60.72"))).call
    assert call.outcome == "answered"
    assert "fax" in {use.code for use in call.features}


def test_nineteen_of_twenty_calls_are_whole_and_the_last_is_open() -> None:
    for name in ("sipp_udp_20calls", "sipp_udp_vlan100", "sipp_udp_qinq", "sipp_tcp_20calls"):
        calls = read(SAMPLES / "own" / f"{name}.pcap").calls
        assert [call.ending for call in calls] == ["confirmed"] * 19 + ["open"], name
        assert all(call.outcome == "answered" for call in calls)
