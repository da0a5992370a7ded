"""HEP out of files: raw packets one after the other, and captures that carry HEP over UDP."""

import gzip
from pathlib import Path

import pytest

from collectors.contract import SourceUnavailable
from collectors.hep.kind import KIND
from collectors.records import Leg, Reject
from tests.collectors.hep.calls import TALK_S, beginning, end
from tests.collectors.hep.packets import OPTIONS, sip
from tests.collectors.net import wrap
from tests.collectors.net.wrap import TUNNELS
from tests.collectors.sip.flows import ethernet, pcap, udp

START_S = 1_759_000_000.0
CAPTURES = Path(__file__).resolve().parents[3] / "../shared/samples/sip/own"
assert KIND.read is not None
assert KIND.sniff is not None
read, sniff = KIND.read, KIND.sniff


def legs(path: Path) -> list[Leg]:
    return [record for batch in read(path, KIND.config()) for record in batch.records if isinstance(record, Leg)]


def rejects(path: Path) -> list[Reject]:
    return [reject for batch in read(path, KIND.config()) for reject in batch.rejects]


def test_raw_packets_one_after_the_other_give_their_calls(tmp_path: Path) -> None:
    path = tmp_path / "calls.hep"
    path.write_bytes(b"".join(beginning(1, START_S) + end(1, START_S) + beginning(2, START_S + 100)))
    found = sorted((KIND.join([leg]) for leg in legs(path)), key=lambda call: call.started_at_ms)
    assert found[0].talk_ms == TALK_S * 1000
    assert [call.ending for call in found] == ["confirmed", "open"]


def test_what_stands_between_two_packets_is_one_reject_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "noise.hep"
    first = sip(OPTIONS)
    path.write_bytes(first + b"noise" + sip(OPTIONS) + b"HEP3")
    found = rejects(path)
    assert [(one.reason, one.position) for one in found] == [
        ("hep_not_hep", f"byte {len(first)} byte 0"),
        ("hep_truncated", f"byte {2 * len(first) + 5} byte 4"),
    ]
    assert found[0].excerpt == b"noise"


def test_an_empty_file_holds_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.hep").write_bytes(b"")
    assert legs(tmp_path / "empty.hep") == []


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceUnavailable):
        legs(tmp_path / "none.hep")


def test_hep_is_known_by_its_first_bytes() -> None:
    assert sniff("calls.bin", sip(OPTIONS)) > 90
    assert sniff("calls.hep", b"INVITE sip:1@x SIP/2.0\r\n") == 0


def test_a_capture_is_hep_where_its_first_packet_is() -> None:
    head = bytes.fromhex("d4c3b2a1020004000000000000000000ffff000001000000") + bytes(16 + 42)
    assert sniff("x.pcap", head + sip(OPTIONS)) > 80
    assert sniff("x.pcap", head + OPTIONS) == 0


@pytest.mark.parametrize("tunnel", ["", "GRE", "VXLAN"])
def test_hep_in_a_capture_is_read_through_tags_tunnels_fragments_and_gzip(tmp_path: Path, tunnel: str) -> None:
    src, dst = "192.0.2.9:5070", "192.0.2.1:9060"
    frames = []
    for data in beginning(1, START_S) + end(1, START_S):
        packet = wrap.ipv4(src, dst, 17, udp(src, dst, data))
        pieces = wrap.fragments(TUNNELS[tunnel](packet) if tunnel else packet, wrap.every(200))
        frames += [(round(START_S * 1e6), ethernet(piece, [(0x8100, 7)])) for piece in pieces]
    path = tmp_path / "calls.pcap.gz"
    path.write_bytes(gzip.compress(pcap(frames)))
    [leg] = legs(path)
    assert KIND.join([leg]).talk_ms == TALK_S * 1000
    assert rejects(path) == []


def test_a_compressed_capture_is_hep_where_its_first_packet_is() -> None:
    src, dst = "192.0.2.9:5070", "192.0.2.1:9060"
    whole = pcap([(1, ethernet(wrap.ipv4(src, dst, 17, udp(src, dst, sip(OPTIONS)))))])
    assert sniff("x.pcap.gz", gzip.compress(whole)) == sniff("x.pcap", whole) > 90


@pytest.mark.samples
@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the sample corpus is not beside the checkout")
def test_a_capture_of_what_sngrep_sends_as_hep() -> None:
    path = CAPTURES / "hep3_udp_from_sngrep.pcap"
    assert sniff(path.name, path.read_bytes()[:4096]) > 80
    found = legs(path)
    answered = {leg.call_id for leg in found if leg.answered_at_ms is not None}  # type: ignore[attr-defined]
    assert rejects(path) == []
    assert len({leg.call_id for leg in found}) == 25  # type: ignore[attr-defined]
    assert len(answered) == 21
