"""The media statistics that phones put into BYE."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sip.media.report import Report
from collectors.sip.media.rtp_stat import reports

SAMPLES = Path(__file__).resolve().parents[4] / "../shared/samples/cdr/hep3"
BARESIP = (
    b"EX=BareSip;CS=1000;CD=29;PR=1463;PS=1490;PL=0,0;PD=0,0;JI=3.0,3.5;IP=192.0.2.9:48926,192.0.2.1:12856;EN=PCMA/8000"
)


def test_received_first_sent_second() -> None:
    heard, sent = reports(BARESIP, 9, b"c1")
    ends = ("192.0.2.1:12856", "192.0.2.9:48926")
    assert (heard.src, heard.dst, sent.dst, sent.src) == (*ends, *ends)
    assert (heard.packets, heard.lost, heard.jitter_us, heard.call_id) == (1463, 0, 3000, b"c1")
    assert (sent.packets, sent.lost, sent.jitter_us, sent.octets) == (1490, 0, 3500, None)


def test_packets_are_those_that_were_sent_not_those_that_came() -> None:
    heard, sent = reports(b"PR=90;PL=10,0;OR=900;PS=1;OS=20", 9)
    assert (heard.packets, heard.lost, heard.octets) == (100, 10, None)
    assert (sent.octets, sent.lost) == (20, 0)


def test_what_is_not_said_is_none() -> None:
    assert reports(b"PS=7", 9) == [Report(at_us=9, told_by="vq", packets=7)]
    assert reports(b"none of it", 9) == []


@given(st.binary(max_size=200))
def test_no_bytes_make_it_raise(value: bytes) -> None:
    reports(value, 9)
    reports(b"PS=" + value + b";PR=1;IP=" + value, 9)


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout")
def test_a_real_header() -> None:
    heard, sent = reports((SAMPLES / "heplify_XRTPStat.txt").read_bytes(), 9)
    assert (heard.src, heard.dst) == ("172.17.66.118:21518", "172.29.208.227:7078")
    assert (heard.packets, heard.lost, heard.jitter_us, heard.round_trip_us) == (132_131, 22, 23_000, 34_000)
    assert (sent.packets, sent.octets, sent.lost, sent.jitter_us) == (131_918, 21_106_880, 33, 111_000)
