"""The E-model against figures that ITU-T publishes."""

import pytest

from collectors.sip.media import emodel
from collectors.sip.media.codecs import IMPAIRMENTS


def test_with_all_defaults_r_is_93_2_and_mos_4_41() -> None:  # G.107 section 7.8 and table 2
    assert emodel.rating() == pytest.approx(93.2, abs=0.05)
    assert emodel.mos(emodel.rating()) == pytest.approx(4.41, abs=0.005)


@pytest.mark.parametrize(
    ("r", "mos"),
    [(90, 4.34), (80, 4.03), (70, 3.60), (60, 3.10), (50, 2.58), (100, 4.5), (0, 1.0), (-7, 1.0), (3, 1.0)],
)
def test_r_becomes_mos_as_annex_b_has_it(r: float, mos: float) -> None:
    assert emodel.mos(r) == pytest.approx(mos, abs=0.01)


@pytest.mark.parametrize(
    ("codec", "loss_percent", "taken"),
    [  # Ie + (95 - Ie) * Ppl / (Ppl + Bpl), by hand
        ("G729", 0, 11.0),
        ("G729", 2, 11 + 84 * 2 / 21),
        ("PCMU", 1, 95 * 1 / 26.1),
        ("G723", 5, 15 + 80 * 5 / 21.1),
    ],
)
def test_a_codec_and_its_losses_take_what_g_113_and_equation_7_29_say(
    codec: str, loss_percent: float, taken: float
) -> None:
    known = IMPAIRMENTS[codec]
    assert emodel.equipment(known.ie, known.bpl, loss_percent) == pytest.approx(taken)
    assert emodel.rating() - emodel.rating(known.ie, known.bpl, loss_percent) == pytest.approx(taken)


def test_losses_in_bursts_are_worse_than_the_same_at_random() -> None:
    assert emodel.equipment(0, 25.1, 3, burst_ratio=3) > emodel.equipment(0, 25.1, 3)


def test_up_to_100_ms_the_way_costs_little_and_beyond_it_much() -> None:
    assert emodel.rating(delay_ms=50) == pytest.approx(emodel.rating(), abs=2)
    assert emodel.rating(delay_ms=100) > 90
    assert emodel.rating(delay_ms=400) < 70


@pytest.mark.parametrize("delay_ms", range(0, 800, 50))
def test_a_longer_way_is_never_better(delay_ms: int) -> None:
    assert emodel.rating(delay_ms=delay_ms + 50) <= emodel.rating(delay_ms=delay_ms)
