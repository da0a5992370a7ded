"""Codecs: payload types, clocks, and what the E-model needs to know of each.

Laws
- A payload type that the session description names is what it says; the static table holds for the others.
- `impairment` comes from ITU-T G.113 appendix I where that gives a value. A codec without one has no MOS here.
"""

from msgspec import Struct


class Codec(Struct, frozen=True, gc=False, array_like=True):
    """`name` in upper case, as in `a=rtpmap`; `clock_hz` the rate of its RTP timestamp."""

    name: str
    clock_hz: int


STATIC = {  # RFC 3551 section 6, tables 4 and 5
    0: Codec("PCMU", 8000),
    3: Codec("GSM", 8000),
    4: Codec("G723", 8000),
    5: Codec("DVI4", 8000),
    6: Codec("DVI4", 16000),
    7: Codec("LPC", 8000),
    8: Codec("PCMA", 8000),
    9: Codec("G722", 8000),  # section 4.5.2: the clock is 8000 for a mistake of old, the sampling 16000
    10: Codec("L16", 44100),
    11: Codec("L16", 44100),
    12: Codec("QCELP", 8000),
    13: Codec("CN", 8000),
    14: Codec("MPA", 90000),
    15: Codec("G728", 8000),
    16: Codec("DVI4", 11025),
    17: Codec("DVI4", 22050),
    18: Codec("G729", 8000),
    19: Codec("CN", 8000),  # what RFC 3551 reserves, since drafts used it for comfort noise
    25: Codec("CELB", 90000),
    26: Codec("JPEG", 90000),
    28: Codec("NV", 90000),
    31: Codec("H261", 90000),
    32: Codec("MPV", 90000),
    33: Codec("MP2T", 90000),
    34: Codec("H263", 90000),
}

T38 = Codec("T38", 8000)
EVENTS, NOISE = "TELEPHONE-EVENT", "CN"
"""RFC 4733 and RFC 3389: they share the sequence numbers of the codec that they interrupt."""

CLOCK_HZ = {"audio": 8000, "video": 90000}
"""Of a payload type that nothing describes (RFC 3551 section 4.1, section 5)."""


def unknown(payload_type: int, kind: str) -> Codec:
    return STATIC.get(payload_type) or Codec(f"PT{payload_type}", CLOCK_HZ.get(kind, 8000))


def is_unknown(codec: Codec) -> bool:
    return codec.name.startswith("PT") and codec.name[2:].isdigit()


class Impairment(Struct, frozen=True, gc=False):
    """`ie`: what the codec itself takes off R. `bpl`: how robust it is against random loss, in percent."""

    ie: float
    bpl: float


NO_CONCEALMENT = 4.3
"""Bpl where G.113 gives none: the default of G.107 table 2, that of a decoder that conceals nothing."""

IMPAIRMENTS = {  # ITU-T G.113 (11/2007) appendix I, tables I.1 to I.4
    # With packet loss concealment (G.711 appendix I), as every phone has it; without, Bpl is 4.3.
    "PCMU": Impairment(0, 25.1),
    "PCMA": Impairment(0, 25.1),
    "G729": Impairment(11, 19.0),  # G.729A with annex B; the description does not tell annex A from the main body
    "G723": Impairment(15, 16.1),  # 6.3 kbit/s with VAD
    "GSM-EFR": Impairment(5, 10.0),
    "AMR": Impairment(5, 10.0),  # its 12.2 kbit/s mode is GSM-EFR (3GPP TS 26.071); lower modes are worse
    "GSM": Impairment(20, NO_CONCEALMENT),
    "GSM-HR-08": Impairment(23, NO_CONCEALMENT),
    "G728": Impairment(7, NO_CONCEALMENT),
    "G726-40": Impairment(2, NO_CONCEALMENT),
    "G726-32": Impairment(7, NO_CONCEALMENT),
    "G726-24": Impairment(25, NO_CONCEALMENT),
    "G726-16": Impairment(50, NO_CONCEALMENT),
    # A wideband codec on the narrowband scale (MOS-CQEN), so that calls can be compared; the scale cannot show what it gains.
    "G722": Impairment(0, NO_CONCEALMENT),
}


def impairment(name: str) -> Impairment | None:
    return IMPAIRMENTS.get(name)
