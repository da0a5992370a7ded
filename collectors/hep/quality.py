"""What HEP carries of media: RTCP written as JSON, what agents count of RTP, and phones' own reports. Pure.

Laws
- `reports` never raises. It gives None where the payload is no report of a form known here, and an empty list where it is one
  that tells nothing.
- A figure that an agent fills in with zero because it has none is not taken for one: heplify writes every field of its own
  structure, asked or not.

Forms
- RTCP as JSON (protocol type 5): heplify (`decoder/rtcp.go`), rtpengine, RTPproxy and Asterisk (`res_hep_rtcp`) write the same
  names; Asterisk writes some numbers as texts.
- What an agent counts of a stream (34, and 35 in newer ones): captagent's and heplify's `RTP_SIP_CALL_ID` ... `RFACTOR`.
- RFC 6035 as text (35).
- Binary RTCP (RFC 3550), where type 5 holds no JSON: `collectors.sip.media.rtcp`.
"""

from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from collectors.sip.media import rtcp, vq
from collectors.sip.media.endpoint import endpoint, rtp_side
from collectors.sip.media.report import Report

BLOCKS_MAX = 31
"""RFC 3550 section 6.4.1: the count of report blocks has five bits."""

SIGN_24 = 1 << 23
VOIP_METRICS = 7
"""RFC 3611 section 4.7: the block type that heplify's `report_blocks_xr` is made of."""

Count = Annotated[int, Meta(ge=0)] | None


class _Sender(Struct):
    ntp_timestamp_sec: Count = None
    packets: Count = None
    octets: Count = None


class _Block(Struct):
    source_ssrc: Count = None
    packets_lost: int | None = None
    highest_seq_no: Count = None
    ia_jitter: float | None = None


class _Extended(Struct):
    type: Count = None
    id: Count = None
    round_trip_delay: Count = None


class _Rtcp(Struct):
    ssrc: Count = None
    sender_information: _Sender | None = None
    report_blocks: list[_Block] = []
    report_blocks_xr: _Extended | None = None


class _Counted(Struct, rename="upper"):
    """What an agent counted of one RTP stream, from SRC to DST; jitter in milliseconds."""

    rtp_sip_call_id: str = ""
    correlation_id: str = ""
    expected_pk: Count = None
    packet_loss: int | None = None
    mean_jitter: float | None = None
    jitter: float | None = None
    mean_mos: float | None = None
    mos: float | None = None
    mean_rfactor: float | None = None
    rfactor: float | None = None
    src_ip: str = ""
    src_port: int = 0
    dst_ip: str = ""
    dst_port: int = 0


_rtcp = msgspec.json.Decoder(_Rtcp, strict=False).decode
_counted = msgspec.json.Decoder(_Counted, strict=False).decode


def reports(payload: bytes, at_us: int, src: str, dst: str, call_id: bytes) -> list[Report] | None:
    """`src` and `dst`: the ends of the HEP packet; `call_id`: its correlation id (chunk 17)."""
    if rtcp.is_rtcp(payload, 0, len(payload)):
        return _of_binary(payload, at_us, rtp_side(src), rtp_side(dst), call_id)
    text = payload.strip()
    if text.startswith(vq.KINDS):
        return vq.reports(text, at_us, call_id)
    if not text.startswith(b"{"):
        return None
    try:
        if b'"report_blocks"' in text or b'"sender_information"' in text:
            return _of_rtcp(_rtcp(text), at_us, rtp_side(src), rtp_side(dst), call_id)
        if b'"EXPECTED_PK"' in text or b'"PACKET_LOSS"' in text or b'"MOS"' in text:
            return _of_counted(_counted(text), at_us, src, dst, call_id)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None


def _of_rtcp(told: _Rtcp, at_us: int, src: str, dst: str, call_id: bytes) -> list[Report]:
    """The sender's own counts are of the stream from `src` to `dst`, the blocks of the one that comes back."""
    found: list[Report] = []
    sent = told.sender_information
    if sent and (sent.packets or sent.ntp_timestamp_sec):
        found.append(
            Report(
                at_us=at_us,
                told_by="rtcp",
                src=src,
                dst=dst,
                call_id=call_id,
                ssrc=told.ssrc,
                packets=sent.packets,
                octets=sent.octets,
            )
        )
    found += [
        Report(
            at_us=at_us,
            told_by="rtcp",
            src=dst,
            dst=src,
            call_id=call_id,
            ssrc=block.source_ssrc,
            lost=_signed(block.packets_lost),
            jitter_units=None if block.ia_jitter is None else round(block.ia_jitter),
        )
        for block in told.report_blocks[:BLOCKS_MAX]
        if block.source_ssrc or block.highest_seq_no
    ]
    extended = told.report_blocks_xr
    if extended and extended.round_trip_delay:
        found.append(
            Report(
                at_us=at_us,
                told_by="xr",
                src=dst,
                dst=src,
                call_id=call_id,
                ssrc=extended.id or None,
                round_trip_us=extended.round_trip_delay * 1000,
            )
        )
    return found


def _of_binary(payload: bytes, at_us: int, src: str, dst: str, call_id: bytes) -> list[Report]:
    found = rtcp.read(at_us, payload) or rtcp.Compound()
    sent = [replace(report, src=src, dst=dst, call_id=call_id) for report in found.sent]
    return [*sent, *(replace(report, src=dst, dst=src, call_id=call_id) for report in found.received)]


def _signed(lost: int | None) -> int | None:
    """RFC 3550 section 6.4.1: the number lost is signed, of 24 bits; agents print it unsigned."""
    if lost is None or not 0 <= lost < 2 * SIGN_24:
        return lost
    return lost - 2 * SIGN_24 if lost >= SIGN_24 else lost


def _of_counted(told: _Counted, at_us: int, src: str, dst: str, call_id: bytes) -> list[Report]:
    jitter = told.mean_jitter if told.mean_jitter is not None else told.jitter
    mos = told.mean_mos or told.mos
    r_factor = told.mean_rfactor or told.rfactor
    return [
        Report(
            at_us=at_us,
            told_by="vq",
            src=endpoint(told.src_ip, told.src_port) or src,
            dst=endpoint(told.dst_ip, told.dst_port) or dst,
            call_id=(told.rtp_sip_call_id or told.correlation_id).encode() or call_id,
            packets=told.expected_pk,
            lost=told.packet_loss,
            jitter_us=None if jitter is None else round(jitter * 1000),
            mos=round(mos * 100) if mos and 1 <= mos <= 5 else None,
            r_factor=round(r_factor) if r_factor and r_factor <= 100 else None,
        )
    ]
