"""A policy over a local file: what it may set, what it may not, and how it is told."""

from pathlib import Path

import pytest
from msgspec import structs

from agent.config import Config, ConfigError, load
from agent.config.policy import KEYS, TEXT_MAX_BYTES, check, governed
from agent.config.validation import SECRET_WORDS
from agent.metering.rules import Level

LOCAL = """
[site]
id = "3f0a2f3e-0000-4000-8000-00000000beef"
provider = "acme"

[metering]
increment_s = 60
numbers = "masked"

[uplink]
url = "https://meter.example.net"
token = "t"
cron = "0 3 * * *"
jitter_s = 30
"""


def local(tmp_path: Path, more: str = "") -> Config:
    path = tmp_path / "pegcount.toml"
    path.write_text(LOCAL + more)
    return load(path, {})


def under(tmp_path: Path, policy: str, more: str = "") -> Config:
    return governed(local(tmp_path, more), policy, {})


def refused(tmp_path: Path, policy: str, more: str = "") -> str:
    with pytest.raises(ConfigError) as error:
        under(tmp_path, policy, more)
    return str(error.value.findings[0])


def test_it_is_laid_over_the_local_file_and_leaves_the_rest_as_it_is(tmp_path: Path) -> None:
    policy = """
[schedule]
jitter_s = 600
[metering]
increment_s = 6
minimum_s = 30
levels = [{ name = "basic", features = [] }]
[seats]
seat_when = ["active"]
extensions = ["1XX"]
"""
    config, before = under(tmp_path, policy), local(tmp_path)
    assert config.uplink is not None
    assert (config.uplink.jitter_s, config.uplink.cron, config.uplink.token) == (600, "0 3 * * *", "t")
    assert (config.metering.increment_s, config.metering.minimum_s, config.metering.numbers) == (6, 30, "masked")
    assert config.metering.levels == (Level("basic"),)
    assert config.metering.seat_when == ("active",)
    assert config.site.dialplan.extensions == ("1XX",)
    assert (config.site.id, config.ledger, config.path) == (before.site.id, before.ledger, before.path)


def test_an_empty_policy_changes_nothing(tmp_path: Path) -> None:
    assert under(tmp_path, "") == local(tmp_path)


def test_an_interval_takes_the_place_of_a_local_cron(tmp_path: Path) -> None:
    config = under(tmp_path, "[schedule]\ninterval_s = 300\n")
    assert config.uplink is not None
    assert (config.uplink.interval_s, config.uplink.cron) == (300, "")
    assert config.governed == ("schedule.interval_s",)


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("[schedule]\ninterval_s = 0\n", "policy:2:14: `uplink.interval_s` must be"),
        ("[schedule]\n\ncron = 'every day'\n", "policy:3:8: `"),
        ("[metering]\nincrement_s = 'x'\n", "policy:2:15:"),
        ("[metering]\nlevels = [{ name = 'a', features = ['no_such'] }]\n", "policy:2:"),
        ("[metering]\nseat_when = []\n", "unknown key `seat_when`"),
        ("[metering]\nnumbers = 'full'\n", "unknown key `numbers`"),
        ("[schedule]\nurl = 'https://thief.example.net'\n", "unknown key `url`"),
        ("[uplink]\nurl = 'https://thief.example.net'\n", "unknown key `uplink`"),
        ("[ledger]\npath = '/etc/passwd'\n", "unknown key `ledger`"),
        ("[[source]]\nname = 'x'\nkind = 'sip'\n", "unknown key `source`"),
        ("[policy]\nallow = ['privacy']\n", "unknown key `policy`"),
        ("[site]\nid = 'x'\n", "unknown key `site`"),
        ("[privacy]\nnumbers = 'full'\n", "does not let the platform set `[privacy]`"),
        ("schedule = 7\n", "table"),
        ("[schedule\n", "no valid TOML"),
        ("# " + "x" * TEXT_MAX_BYTES, "64 KiB"),
        ("[schedule]\ninterval_s = 300\n[privacy]\nnumbers = 'none'\n", "does not let"),
    ],
    ids=lambda text: text[:40],
)
def test_what_is_wrong_or_not_permitted_refuses_all_of_it(tmp_path: Path, policy: str, said: str) -> None:
    assert said in refused(tmp_path, policy)


def test_the_local_file_says_what_may_be_set(tmp_path: Path) -> None:
    more = '[policy]\nallow = ["privacy"]\n'
    assert under(tmp_path, "[privacy]\nnumbers = 'none'\n", more).metering.numbers == "none"
    assert "does not let" in refused(tmp_path, "[schedule]\ninterval_s = 300\n", more)
    assert "does not let" in refused(tmp_path, "[metering]\n", "[policy]\nallow = []\n")


def test_nothing_that_a_policy_can_set_is_a_file_an_address_a_command_or_a_secret() -> None:
    keys = {key for table in KEYS.values() for key in table}
    assert not {key for key in keys if any(word in key for word in (*SECRET_WORDS, "path", "file", "url", "proxy"))}
    assert set(KEYS) == {"schedule", "metering", "privacy", "seats", "rates"}


def test_a_site_without_an_uplink_has_no_schedule_to_set(tmp_path: Path) -> None:
    config = structs.replace(local(tmp_path), uplink=None)
    with pytest.raises(ConfigError, match=r"no `\[uplink\]`"):
        governed(config, "[schedule]\ninterval_s = 300\n", {})


def test_an_operator_is_told_before_any_site_is() -> None:
    check("[privacy]\nnumbers = 'none'\n")
    for wrong in ("[uplink]\n", "[schedule]\nurl = 'x'\n", "schedule = 1", "["):
        with pytest.raises(ConfigError):
            check(wrong)
