"""The E-model (ITU-T G.107, 06/2015): from loss, delay and codec to the rating R, and from R to MOS. Pure.

Laws
- What nobody measured takes the default of G.107 table 2; with all of them R is 93.2 and MOS 4.41.
- Symbols are G.107's own, in lower case.
"""

from collections.abc import Iterable
from math import exp, log10, pow, sqrt

SLR, RLR, STMR, DS, DR = 8.0, 2.0, 15.0, 3.0, 3.0
TELR, WEPL = 65.0, 110.0
QDU, NC, NFOR, PS, PR = 1.0, -70.0, -64.0, 35.0, 35.0
"""G.107 table 2: loudness ratings, sidetone, D-values; echo losses; quantizing distortion units and noises."""

IE, BPL = 0.0, 4.3
"""G.107 table 2."""

R_MAX = 100.0


def _power_sum(decibels: Iterable[float]) -> float:
    return 10 * log10(sum(10 ** (one / 10) for one in decibels))


_OLR = SLR + RLR
_NOS = PS - SLR - DS - 100 + 0.004 * (PS - _OLR - DS - 14) ** 2
_PRE = PR + 10 * log10(1 + 10 ** ((10 - (STMR + DR)) / 10))
_NOR = RLR - 121 + _PRE + 0.008 * (_PRE - 35) ** 2
_NO = _power_sum((NC, _NOS, _NOR, NFOR + RLR))
_RO = 15 - 1.5 * (SLR + _NO)
"""Equations 7-2 to 7-7: the basic signal to noise ratio; none of it depends on what a packet network does."""


def _simultaneous(delay_ms: float) -> float:
    """Is, equations 7-8 to 7-16: impairments that come with the voice."""
    x = _OLR + 0.2 * (64 + _NO - RLR)
    loud = 20 * (pow(1 + pow(x / 8, 8), 1 / 8) - x / 8)
    stmro = -10 * log10(pow(10, -STMR / 10) + exp(-delay_ms / 4) * pow(10, -TELR / 10))
    sidetone = (
        12 * pow(1 + pow((stmro - 13) / 6, 8), 1 / 8)
        - 28 * pow(1 + pow((stmro + 1) / 19.4, 35), 1 / 35)
        - 13 * pow(1 + pow((stmro - 3) / 33, 13), 1 / 13)
        + 29
    )
    q = 37 - 15 * log10(QDU)
    g = 1.07 + 0.258 * q + 0.0602 * q * q
    y, z = (_RO - 100) / 15 + 46 / 8.4 - g / 9, 46 / 30 - g / 40
    return loud + sidetone + 15 * log10(1 + pow(10, y) + pow(10, z))


def _delayed(delay_ms: float) -> float:
    """Id, equations 7-17 to 7-28: talker echo, listener echo, and too long a way. `delay_ms` is Ta, T and half of Tr."""
    terv = TELR - 40 * log10((1 + delay_ms / 10) / (1 + delay_ms / 150)) + 6 * exp(-0.3 * delay_ms**2)
    half = (-1.5 * (_NO - RLR) - (80 + 2.5 * (terv - 14))) / 2
    talker = (half + sqrt(half * half + 100) - 1) * (1 - exp(-delay_ms))
    half = (_RO - 10.5 * (WEPL + 7) * pow(2 * delay_ms + 1, -0.25)) / 2
    listener = half + sqrt(half * half + 169)
    return talker + listener + _too_long(delay_ms)


def _too_long(delay_ms: float) -> float:
    if delay_ms <= 100:
        return 0.0
    x = log10(delay_ms / 100) / log10(2)
    return 25 * (pow(1 + pow(x, 6), 1 / 6) - 3 * pow(1 + pow(x / 3, 6), 1 / 6) + 2)


def equipment(ie: float, bpl: float, loss_percent: float, burst_ratio: float = 1.0) -> float:
    """Ie,eff, equation 7-29: the codec and the packets that it lacks. `burst_ratio` is 1 where losses are random."""
    if loss_percent <= 0:
        return ie
    return ie + (95 - ie) * loss_percent / (loss_percent / burst_ratio + bpl)


def rating(
    ie: float = IE, bpl: float = BPL, loss_percent: float = 0.0, burst_ratio: float = 1.0, delay_ms: float = 0.0
) -> float:
    """R, equation 7-1, with no advantage factor. `delay_ms`: mouth to ear, one way."""
    return _RO - _simultaneous(delay_ms) - _delayed(delay_ms) - equipment(ie, bpl, loss_percent, burst_ratio)


def mos(r: float) -> float:
    """Annex B: the mean opinion score (CQE) that goes with R."""
    if r <= 0:
        return 1.0
    if r >= R_MAX:
        return 4.5
    return max(1.0, 1 + 0.035 * r + r * (r - 60) * (R_MAX - r) * 7e-6)  # between 0 and 6.5 the formula falls below 1
