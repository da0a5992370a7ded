"""What a rate card must hold to, each fault at its place; in a file and in a policy alike."""

from collections.abc import Callable
from pathlib import Path

import pytest

from agent.config import Config, ConfigError, load
from agent.config.loading import parse
from agent.config.policy import check, governed
from agent.metering.catalogue import METERS, UNITS
from agent.rating.card import PRICES_MAX, TIERS_MAX
from uplink.receiver.screen import METERS as CONTRACT

SITE = '[site]\nid = "3f0a2f3e-0000-4000-8000-00000000beef"\nprovider = "acme"\n'
CARD = """[rates]
currency = "EUR"
version = "2026-11"

[[rates.price]]
meter = "voice.minutes"
unit = "min"
class = ["national", "mobile"]
included = "1000"
tiers_mode = "graduated"
tiers = [{ up_to = "500", amount = "0.02" }, { amount = "0.015" }]

[[rates.price]]
meter = "seat.month"
unit = "seat-month"
amount = "9.50"
"""


def local(tmp_path: Path, more: str = "") -> Config:
    path = tmp_path / "pegcount.toml"
    path.write_text(SITE + more)
    return load(path, {})


def priced(keys: str) -> str:
    """A card with one price."""
    return f'[rates]\ncurrency = "EUR"\n[[rates.price]]\n{keys}\n'


MINUTES = 'meter = "voice.minutes"\nunit = "min"\n'
TWICE = priced(f'{MINUTES}amount = "1"') + "[[rates.price]]\n" + MINUTES

WRONG = [
    ('[rates]\ncurrency = "EUX"\n', "2:12: `rates.currency`: ISO 4217 has no currency `EUX`"),
    ('[rates]\ncurrency = "euro"\n', "2:12: `rates.currency` must be three capital letters"),
    ("[rates]\n", "1:1: `rates.currency` is missing"),
    (
        priced('meter = "minutes"\nunit = "min"\namount = "1"'),
        "4:9: `rates.price[0].meter`: there is no meter `minutes`",
    ),
    (
        priced('meter = "voice.minutes"\nunit = "minute"\namount = "1"'),
        "5:8: `rates.price[0].unit`: `voice.minutes` is counted in `min`, not `minute`",
    ),
    (priced(f'{MINUTES}amount = "-1"'), "6:10: `rates.price[0].amount` must be a price as text, not negative"),
    (priced(f"{MINUTES}amount = 0.02"), "6:10: `rates.price[0].amount` must be a price as text"),
    (priced(f'{MINUTES}amount = "1e3"'), "must be a price as text"),
    (priced(f'{MINUTES}amount = "0.02\\n"'), "must be a price as text"),
    (priced(MINUTES), "3:1: `rates.price[0]` needs either `amount` or `tiers`"),
    (
        priced(f'{MINUTES}amount = "1"\ntiers_mode = "volume"\ntiers = [{{ amount = "1" }}]'),
        "needs either `amount` or `tiers`",
    ),
    (priced(f'{MINUTES}tiers = [{{ amount = "1" }}]'), "`tiers` and `tiers_mode` go together"),
    (priced(f'{MINUTES}amount = "1"\ntiers_mode = "volume"'), "`tiers` and `tiers_mode` go together"),
    (
        priced(
            f'{MINUTES}tiers_mode = "graduated"\n'
            'tiers = [{ up_to = "10", amount = "1" }, { up_to = "10.0", amount = "2" }, { amount = "3" }]'
        ),
        "7:52: `rates.price[0].tiers[1].up_to`: overlaps the tier before, which ends at 10",
    ),
    (
        priced(f'{MINUTES}tiers_mode = "volume"\ntiers = [{{ up_to = "0", amount = "1" }}, {{ amount = "3" }}]'),
        "overlaps",
    ),
    (
        priced(f'{MINUTES}tiers_mode = "volume"\ntiers = [{{ amount = "1" }}, {{ amount = "3" }}]'),
        "`rates.price[0].tiers[0].up_to`: only the last tier has no end",
    ),
    (
        priced(f'{MINUTES}tiers_mode = "volume"\ntiers = [{{ up_to = "9", amount = "1" }}]'),
        "the last tier must have no end",
    ),
    (
        priced(
            f'{MINUTES}tiers_mode = "volume"\ntiers = ['
            + "".join(f'{{ up_to = "{n}", amount = "1" }}, ' for n in range(1, TIERS_MAX + 1))
            + '{ amount = "1" }]'
        ),
        f"{TIERS_MAX + 1} tiers; a price has {TIERS_MAX} at most",
    ),
    (
        priced(f'{MINUTES}amount = "1"\nlevel = ["basic"]'),
        "7:9: `rates.price[0].level`: events of `voice.minutes` do not tell",
    ),
    (priced(f'{MINUTES}amount = "1"\nclass = ["mobil"]'), "7:10: `rates.price[0].class[0]`: there is no class `mobil`"),
    (priced(f'{MINUTES}amount = "1"\ncountry = ["XX"]'), "there is no country `XX`"),
    (
        priced('meter = "feature.use"\nunit = "use"\namount = "1"\nfeature = ["holding"]'),
        "there is no feature `holding`",
    ),
    (priced('meter = "call"\nunit = "call"\namount = "1"\noutcome = ["lost"]'), "there is no outcome `lost`"),
    (priced(f'{MINUTES}amount = "1"\nprefix = "+33"'), "unknown key `prefix`"),
    (TWICE + 'amount = "2"\n', "7:1: `rates.price[1]`: price 1 takes every use that this one fits"),
    (TWICE + 'amount = "2"\nclass = ["mobile"]\n', "price 1 takes every use"),
    (
        '[rates]\ncurrency = "EUR"\n' + f'[[rates.price]]\n{MINUTES}amount = "1"\n' * (PRICES_MAX + 1),
        f"{PRICES_MAX + 1} prices; a card has {PRICES_MAX} at most",
    ),
]


@pytest.mark.parametrize(("card", "said"), WRONG, ids=[said[:60] for _, said in WRONG])
def test_what_is_wrong_is_told_with_its_place_in_a_file_and_in_a_policy_and_to_the_operator(
    tmp_path: Path, card: str, said: str
) -> None:
    with pytest.raises(ConfigError) as in_file:
        parse(card + SITE, tmp_path / "f", {})
    assert said in str(next(each for each in in_file.value.findings if each.severity == "error"))
    refusals: tuple[Callable[[], object], ...] = (
        lambda: governed(local(tmp_path), card, {}),
        lambda: check(card),
    )
    for refusing in refusals:
        with pytest.raises(ConfigError) as in_policy:
            refusing()
        assert said in str(in_policy.value.findings[0])
        assert str(in_policy.value.findings[0]).startswith("policy:")


def test_the_narrower_price_first_is_right() -> None:
    check(priced(f'{MINUTES}amount = "1"\nclass = ["mobile"]') + f'[[rates.price]]\n{MINUTES}amount = "2"\n')


def test_a_policys_card_takes_the_place_of_a_local_one_as_a_whole(tmp_path: Path) -> None:
    before = local(tmp_path, CARD)
    assert before.rates is not None
    assert (before.rates.version, len(before.rates.price)) == ("2026-11", 2)
    after = governed(before, priced(f'{MINUTES}amount = "1"'), {})
    assert after.rates is not None
    assert (after.rates.version, len(after.rates.price)) == ("", 1)
    assert governed(before, "", {}).rates == before.rates
    with pytest.raises(ConfigError, match="does not let the platform set"):
        governed(local(tmp_path, '[policy]\nallow = ["schedule"]\n'), CARD, {})


def test_a_level_that_the_site_lacks_and_seats_that_are_charged_twice_are_warnings(tmp_path: Path) -> None:
    day = '[[rates.price]]\nmeter = "seat.day"\nunit = "seat-day"\nlevel = ["basic"]\namount = "0.5"\n'
    warnings = [each.message for each in local(tmp_path, CARD + day).warnings]
    assert "`rates.price[2].level[0]`: this site has no level `basic`" in warnings
    assert "`seat.day` and `seat.month` have prices both: each seat is charged twice" in warnings
    levels = "[[metering.levels]]\nname = 'basic'\n"
    assert not [each for each in local(tmp_path, levels + CARD + day).warnings if "no level" in each.message]


def test_every_meter_of_the_contract_can_have_a_price() -> None:
    assert set(UNITS) == CONTRACT
    assert {meter: unit for meter, (unit, _) in METERS.items()}.items() <= UNITS.items()


def test_the_operator_is_told_of_every_value_that_a_site_would_refuse() -> None:
    for wrong in ("[schedule]\ninterval_s = 0\n", "[metering]\nincrement_s = 'x'\n", "[privacy]\nnumbers = 'some'\n"):
        with pytest.raises(ConfigError, match="must be"):
            check(wrong)
