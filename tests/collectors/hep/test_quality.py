"""Reports of media in HEP, in the forms that the agents of the field write."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.hep.quality import reports
from collectors.sip.media.report import Report

SAMPLES = Path(__file__).resolve().parents[3] / "../shared/samples/cdr/hep3"
PHONE, PBX = "192.0.2.9:16001", "192.0.2.1:12001"
"""RTCP's own ports: those of RTP are one lower."""

RTPENGINE = {
    "sender_information": {
        "ntp_timestamp_sec": 3_667_834_977,
        "ntp_timestamp_usec": 2_355_549_043,
        "octets": 82_240,
        "rtp_timestamp": 84_679,
        "packets": 514,
    },
    "ssrc": 3_724_882_677,
    "type": 200,
    "report_count": 1,
    "report_blocks": [
        {
            "source_ssrc": 2_062_957_521,
            "highest_seq_no": 4663,
            "fraction_lost": 0,
            "ia_jitter": 13,
            "packets_lost": 4,
            "lsr": 3_093_100_159,
            "dlsr": 296_222,
        }
    ],
    "sdes_ssrc": 3_724_882_677,
    "sdes_report_count": 1,
    "sdes_information": [],
}


def of(told: object, src: str = PHONE, dst: str = PBX) -> list[Report] | None:
    return reports(json.dumps(told).encode(), 7, src, dst, b"call-1")


def test_a_sender_report_tells_of_what_it_sent_and_of_what_it_got() -> None:
    sent = Report(
        at_us=7,
        told_by="rtcp",
        src="192.0.2.9:16000",
        dst="192.0.2.1:12000",
        call_id=b"call-1",
        ssrc=3_724_882_677,
        packets=514,
        octets=82_240,
    )
    got = Report(
        at_us=7,
        told_by="rtcp",
        src="192.0.2.1:12000",
        dst="192.0.2.9:16000",
        call_id=b"call-1",
        ssrc=2_062_957_521,
        lost=4,
        jitter_units=13,
    )
    assert of(RTPENGINE) == [sent, got]


def test_asterisk_writes_numbers_as_texts() -> None:
    told = {
        "ssrc": "17",
        "sender_information": {"ntp_timestamp_sec": "1", "packets": "3", "octets": 480},
        "report_blocks": [],
    }
    (found,) = of(told) or []
    assert (found.ssrc, found.packets, found.octets) == (17, 3, 480)


def test_rtcp_on_the_port_of_rtp_is_not_moved() -> None:
    (sent, _) = of(RTPENGINE, "192.0.2.9:16000", "[2001:db8::1]:12000") or []
    assert (sent.src, sent.dst) == ("192.0.2.9:16000", "[2001:db8::1]:12000")


def test_what_heplify_fills_in_with_zeros_says_nothing() -> None:
    empty = {
        "sender_information": dict.fromkeys(("ntp_timestamp_sec", "rtp_timestamp", "packets", "octets"), 0),
        "ssrc": 9,
        "type": 201,
        "report_blocks": [
            dict.fromkeys(("source_ssrc", "fraction_lost", "packets_lost", "highest_seq_no", "ia_jitter"), 0)
        ],
        "report_blocks_xr": dict.fromkeys(("type", "id", "round_trip_delay", "end_system_delay"), 0),
    }
    assert of(empty) == []


def test_a_negative_number_of_lost_packets_comes_unsigned() -> None:
    told = {"report_blocks": [{"source_ssrc": 1, "packets_lost": 0xFFFFFE, "ia_jitter": 0}]}
    (found,) = of(told) or []
    assert found.lost == -2


def test_rtcp_xr_gives_the_round_trip() -> None:
    told = {"report_blocks": [], "report_blocks_xr": {"type": 7, "id": 5, "round_trip_delay": 40}}
    (found,) = of(told) or []
    assert (found.told_by, found.round_trip_us, found.ssrc) == ("xr", 40_000, 5)


def test_binary_rtcp_is_read_too() -> None:
    head = struct.pack(">BBHI", 0x81, 200, 12, 17) + struct.pack(">IIIII", 1, 2, 3, 50, 8000)
    block = struct.pack(">IIIIII", 99, 7, 1000, 13, 0, 0)
    sent, got = reports(head + block, 7, PHONE, PBX, b"call-1") or []
    assert (sent.src, sent.packets, sent.octets, sent.ssrc) == ("192.0.2.9:16000", 50, 8000, 17)
    assert (got.src, got.lost, got.jitter_units, got.call_id) == ("192.0.2.1:12000", 7, 13, b"call-1")


def test_what_an_agent_counted_of_a_stream() -> None:
    told = {
        "RTP_SIP_CALL_ID": "abc@pbx",
        "EXPECTED_PK": 500,
        "PACKET_LOSS": 2,
        "MEAN_JITTER": 1.25,
        "MEAN_MOS": 4.38,
        "MEAN_RFACTOR": 92.6,
        "SRC_IP": "192.0.2.9",
        "SRC_PORT": 16000,
        "DST_IP": "192.0.2.1",
        "DST_PORT": 12000,
    }
    assert of(told) == [
        Report(
            at_us=7,
            told_by="vq",
            src="192.0.2.9:16000",
            dst="192.0.2.1:12000",
            call_id=b"abc@pbx",
            packets=500,
            lost=2,
            jitter_us=1250,
            mos=438,
            r_factor=93,
        )
    ]


def test_a_phones_own_report_is_known_by_its_first_word() -> None:
    (found,) = (
        reports(b"VQSessionReport: CallTerm\nLocalMetrics:\nQualityEst:MOSCQ=4.0", 7, PHONE, PBX, b"call-1") or []
    )
    assert (found.mos, found.call_id) == (400, b"call-1")


@pytest.mark.parametrize(
    "payload",
    [b"", b"{}", b"[1]", b"text", b'{"report_blocks":', b'{"report_blocks":{}}', b'{"MOS":"high"}'],
)
def test_what_is_no_report_is_none(payload: bytes) -> None:
    assert reports(payload, 7, PHONE, PBX, b"") is None


def test_no_depth_of_nesting_makes_it_raise() -> None:
    assert reports(b'{"report_blocks":[],"x":' + b"[" * 60_000, 7, PHONE, PBX, b"") is None


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    for head in (b"", b'{"report_blocks":', b'{"MOS":', b'{"sender_information":{"packets":'):
        reports(head + data, 7, PHONE, PBX, b"")
        reports(head + data + b"}", 7, PHONE, PBX, b"")


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout")
def test_real_rtcp_of_heplify() -> None:
    found = reports((SAMPLES / "heplify_RTCPStat.json").read_bytes(), 7, PHONE, PBX, b"call-1") or []
    assert [(one.ssrc, one.packets, one.octets, one.lost, one.jitter_units) for one in found] == [
        (2_543_003_035, 4017, 642_720, None, None),
        (1_393_754_395, None, None, 0, 159),
    ]
