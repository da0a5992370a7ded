"""RFC 6035's reports, from the RFC's own form to what phones make of it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.sip.media.report import Report
from collectors.sip.media.vq import reports

SAMPLES = Path(__file__).resolve().parents[4] / "../shared/samples/cdr/hep3"

SESSION = b"""VQSessionReport: CallTerm\r
CallID: 7f3@192.0.2.9\r
LocalID: <sip:101@example.com>\r
RemoteID: <sip:202@example.com>\r
OrigID: <sip:101@example.com>\r
LocalAddr: IP=192.0.2.9 PORT=16000 SSRC=0x12345678\r
RemoteAddr: IP=192.0.2.7 PORT=16002 SSRC=0xA0B0C0D0\r
LocalMetrics:\r
Timestamps: START=2026-01-05T10:00:00Z STOP=2026-01-05T10:02:00Z\r
SessionDesc: PT=0 PD=PCMU SR=8000 FD=20 FO=160 FPP=1 PPS=50 PLC=3 SSUP=on\r
PacketLoss: NLR=5.0 JDR=2.0\r
BurstGapLoss: BLD=0 BD=0 GLD=2.0 GD=500 GMIN=16\r
Delay: RTD=200 ESD=140 IAJ=2.5\r
QualityEst: RLQ=90 RCQ=85 MOSLQ=4.2 MOSCQ=4.1\r
RemoteMetrics:\r
Delay: RTD=0 ESD=127 IAJ=7\r
QualityEst: RCQ=127 MOSLQ=3.4 MOSCQ=127\r
"""


def test_a_session_report_tells_of_both_streams() -> None:
    heard, sent = reports(SESSION, 5)
    assert heard == Report(
        at_us=5,
        told_by="vq",
        src="192.0.2.7:16002",
        dst="192.0.2.9:16000",
        call_id=b"7f3@192.0.2.9",
        ssrc=0xA0B0C0D0,
        jitter_us=2500,
        round_trip_us=200_000,
        mos=410,
        r_factor=85,
    )
    assert sent == Report(
        at_us=5,
        told_by="vq",
        src="192.0.2.9:16000",
        dst="192.0.2.7:16002",
        call_id=b"7f3@192.0.2.9",
        ssrc=0x12345678,
        jitter_us=7000,
        mos=340,
    )


def test_what_is_not_said_is_none_and_the_callers_call_id_stands_in() -> None:
    (told,) = reports(b"VQIntervalReport\nLocalMetrics:\nQualityEst:MOSLQ=4.0", 5, b"its-dialog")
    assert told == Report(at_us=5, told_by="vq", call_id=b"its-dialog", mos=400)


@pytest.mark.parametrize("body", [b"", b"v=0\r\n", b"VQSessionReport: CallTerm", b"VQSessionReport\nLocalMetrics:\n"])
def test_what_tells_nothing_gives_nothing(body: bytes) -> None:
    assert reports(body, 5) == []


@given(st.binary(max_size=400))
def test_no_bytes_make_it_raise(tail: bytes) -> None:
    reports(b"VQSessionReport:" + tail, 5)
    reports(SESSION[: len(tail)] + tail + SESSION[len(tail) :], 5)


@pytest.mark.samples
@pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout")
def test_a_real_report_with_an_address_that_cannot_be() -> None:
    (told,) = reports((SAMPLES / "heplify_VQSessionReport.txt").read_bytes(), 5)
    assert told == Report(
        at_us=5,
        told_by="vq",
        src="10.0.3.123:10034",
        dst="",
        call_id=b"825962570309-8ds5sl3mca99",
        ssrc=0x1F634EA2,
        jitter_us=0,
        mos=420,
    )
