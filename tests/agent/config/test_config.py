"""The configuration file: what is right loads, and what is wrong is told with its place. Places are counted by hand."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from agent.config import Config, ConfigError, Finding, load
from agent.config.loading import parse
from collectors.contract import Collector, Context, Kind
from collectors.records import Call, Leg

SITE = """[site]
id = "0190a3c2-6f4b-7c11-9d5e-3a1f0c2b4d6e"
provider = "example"
"""


class TapeConfig(Struct, frozen=True, forbid_unknown_fields=True, tag="tape", tag_field="kind"):
    path: str
    speed: Annotated[int, Meta(ge=1, le=9)] = 1
    timezone: str = ""
    services: dict[str, str] = {}


def _join(legs: Sequence[Leg]) -> Call:
    raise AssertionError("loading a configuration joins nothing")


def _open(config: Any, context: Context) -> Collector:
    raise AssertionError("loading a configuration opens nothing")


KINDS = {"tape": Kind(name="tape", config=TapeConfig, leg=Leg, join=_join, open=_open)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "pegcount.toml"


def loaded(file: Path, text: str) -> Config:
    file.write_text(text)
    return load(file, KINDS)


def findings(file: Path, text: str) -> list[Finding]:
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, KINDS)
    return list(caught.value.findings)


def the_finding(file: Path, text: str) -> Finding:
    found = [one for one in findings(file, text) if one.severity == "error"]
    assert len(found) == 1, found
    return found[0]


def test_the_smallest_file_has_every_default(file: Path) -> None:
    config = loaded(file, SITE)
    assert config.site.provider == "example"
    assert config.ledger.path == "/var/lib/pegcount/ledger.db"
    assert (config.ledger.retention_days, config.ledger.max_size_mb, config.ledger.max_rejects) == (92, 2048, 10_000)
    assert (config.web.listen, config.web.enabled, config.web.allow_remote) == ("127.0.0.1:8042", True, False)
    assert (config.log.level, config.log.format) == ("info", "text")
    assert config.uplink is None
    assert config.sources == ()


def test_a_source_has_a_name_and_its_kinds_own_keys(file: Path) -> None:
    config = loaded(file, SITE + f'[[source]]\nname = "office"\nkind = "tape"\npath = "{file}"\nspeed = 2\n')
    assert [(one.name, one.kind, one.config) for one in config.sources] == [
        ("office", "tape", TapeConfig(path=str(file), speed=2))
    ]
    assert config.warnings == ()


def test_broken_toml_is_told_with_line_and_column(file: Path) -> None:
    found = the_finding(file, SITE + "name = Main office\n")
    assert (found.line, found.column) == (4, 8)
    assert 'key = "text"' in found.hint


def test_an_unknown_key_names_the_one_that_was_meant(file: Path) -> None:
    found = the_finding(file, SITE + 'tmezone = "Europe/Berlin"\n')
    assert (found.line, found.column, found.path) == (4, 1, "site.tmezone")
    assert str(found) == f"{file}:4:1: unknown key `tmezone` in `site` (did you mean `timezone`?)"


def test_an_unknown_table_is_refused(file: Path) -> None:
    found = the_finding(file, SITE + "\n[sources]\nx = 1\n")
    assert (found.line, found.column) == (5, 1)
    assert "did you mean `source`?" in found.hint


def test_a_wrong_type_says_what_is_expected_and_stands_at_the_value(file: Path) -> None:
    found = the_finding(file, SITE + '[ledger]\nretention_days = "three months"\n')
    assert (found.line, found.column, found.path) == (5, 18, "ledger.retention_days")
    assert found.message == '`ledger.retention_days` must be a whole number from 1 to 3660, not "three months"'


def test_a_choice_names_the_nearest(file: Path) -> None:
    found = the_finding(file, SITE + '[log]\nlevel = "warn"\n')
    assert found.message == '`log.level` must be one of `debug`, `error`, `info`, `warning`, not "warn"'
    assert found.hint == "did you mean `warning`?"


def test_a_missing_key_is_placed_at_its_table(file: Path) -> None:
    found = the_finding(file, "\n[site]\nprovider = 'example'\n")
    assert (found.line, found.path) == (2, "site.id")
    assert found.message == "`site.id` is missing: it must be a UUID in lower case"


def test_a_file_without_a_site_is_refused(file: Path) -> None:
    assert "`[site]`" in the_finding(file, "[log]\n").message


def test_all_findings_of_all_tables_are_told_at_once_in_the_files_order(file: Path) -> None:
    text = (
        SITE
        + '[ledger]\nmax_rejects = -1\npth = "x"\n[[source]]\nname = "A"\nkind = "tape"\nspeed = 10\n[web]\nlisten = 1\n'
    )
    assert [(one.line, one.path) for one in findings(file, text)] == [
        (5, "ledger.max_rejects"),
        (6, "ledger.pth"),
        (7, "source[0].path"),
        (8, "source[0].name"),
        (10, "source[0].speed"),
        (12, "web.listen"),
    ]


def test_an_unknown_kind_names_the_nearest(file: Path) -> None:
    found = the_finding(file, SITE + '[[source]]\nname = "a"\nkind = "tpae"\n')
    assert (found.line, found.column, found.hint) == (6, 8, "did you mean `tape`?")


def test_a_single_bracket_source_is_explained(file: Path) -> None:
    found = the_finding(file, SITE + '[source]\nname = "a"\nkind = "tape"\n')
    assert (found.line, found.hint) == (4, "write `[[source]]`")


def test_two_sources_of_one_name_are_refused(file: Path) -> None:
    one = f'[[source]]\nname = "a"\nkind = "tape"\npath = "{file}"\n'
    found = the_finding(file, SITE + one + one)
    assert (found.line, found.path) == (9, "source[1].name")


def test_a_time_zone_that_does_not_exist_is_refused(file: Path) -> None:
    found = the_finding(file, SITE + 'timezone = "Europe/Belin"\n')
    assert (found.line, found.column, found.hint) == (4, 12, "did you mean `Europe/Berlin`?")


def test_a_sources_time_zone_is_checked_too(file: Path) -> None:
    text = SITE + f'[[source]]\nname = "a"\nkind = "tape"\npath = "{file}"\ntimezone = "Mars/Olympus"\n'
    assert the_finding(file, text).path == "source[0].timezone"


def test_a_country_without_a_numbering_plan_is_refused(file: Path) -> None:
    found = the_finding(file, SITE + '[site.dialplan]\ncountry = "XX"\n')
    assert (found.line, found.path) == (5, "site.dialplan.country")


def test_a_level_may_only_name_features_of_the_catalogue(file: Path) -> None:
    text = SITE + '[[metering.levels]]\nname = "basic"\nfeatures = ["hold", "confrence"]\n'
    found = the_finding(file, text)
    assert (found.line, found.column, found.hint) == (6, 21, "did you mean `conference`?")


def test_a_level_that_no_seat_can_reach_is_a_warning(file: Path) -> None:
    levels = (("basic", '"hold"'), ("more", '"fax"'), ("again", '"hold", "fax"'))
    text = SITE + "".join(
        f'[[metering.levels]]\nname = "{name}"\nfeatures = [{features}]\n' for name, features in levels
    )
    found = [one for one in loaded(file, text).warnings if one.path.startswith("metering")]
    assert [(one.severity, one.path, one.line) for one in found] == [("warning", "metering.levels[2]", 10)]


@pytest.mark.parametrize("listen", ["0.0.0.0:8042", "192.0.2.7:8042", "[::]:8042"])
def test_the_page_is_not_shown_to_other_machines_unless_that_is_asked_for(file: Path, listen: str) -> None:
    found = the_finding(file, SITE + f'[web]\nlisten = "{listen}"\n')
    assert (found.line, found.column) == (5, 10)
    assert loaded(file, SITE + f'[web]\nlisten = "{listen}"\nallow_remote = true\n').web.listen == listen


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:8042", "localhost:80", "127.8.8.8:65535"])
def test_loopback_addresses_are_accepted(file: Path, listen: str) -> None:
    assert loaded(file, SITE + f'[web]\nlisten = "{listen}"\n').web.listen == listen


@pytest.mark.parametrize("listen", ["8042", "127.0.0.1", "127.0.0.1:99999", "example.org:80", "127.0.0.1:", ":80"])
def test_what_is_no_address_and_port_is_refused(file: Path, listen: str) -> None:
    assert the_finding(file, SITE + f'[web]\nlisten = "{listen}"\n').path == "web.listen"


def test_a_folder_that_is_not_there_is_a_warning(file: Path) -> None:
    config = loaded(file, SITE + f'[ledger]\npath = "{file.parent}/no/ledger.db"\n')
    assert [(one.path, one.severity) for one in config.warnings if one.path == "ledger.path"] == [
        ("ledger.path", "warning")
    ]


def test_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load(tmp_path / "none.toml", KINDS)


def test_a_file_that_is_not_utf8_is_told_with_its_place(file: Path) -> None:
    file.write_bytes(SITE.encode() + b'name = "M\xfcnchen"\n')
    with pytest.raises(ConfigError) as caught:
        load(file, KINDS)
    assert [(one.line, one.column) for one in caught.value.findings] == [(4, 10)]


def test_a_file_far_too_large_is_not_read(file: Path) -> None:
    file.write_bytes(b"#" * 1_100_000)
    with pytest.raises(ConfigError, match="larger than one megabyte"):
        load(file, KINDS)


def test_windows_line_ends_change_no_place(file: Path) -> None:
    file.write_bytes((SITE + "\nlevl = 1\n").replace("\n", "\r\n").encode())
    with pytest.raises(ConfigError) as caught:
        load(file, KINDS)
    assert [(one.line, one.column) for one in caught.value.findings] == [(5, 1)]


UPLINK = '[uplink]\nurl = "https://meter.example.net"\n'


def test_an_uplink_is_read_with_its_kinds_settings(file: Path) -> None:
    config = loaded(file, SITE + UPLINK + f'token_file = "{file.parent}/token"\n')
    assert config.uplink is not None
    assert (config.uplink.kind, config.uplink.url, config.uplink.interval_s) == (
        "pegcount",
        "https://meter.example.net",
        900,
    )


def test_an_unknown_kind_of_platform_is_refused(file: Path) -> None:
    found = the_finding(file, SITE + UPLINK + 'kind = "pegcuont"\ntoken = "t"\n')
    assert (found.line, found.path) == (6, "uplink.kind")
    assert found.message == '`uplink.kind` must be `pegcount`, not "pegcuont"'


def test_what_only_the_whole_table_can_tell_is_placed_at_the_key_it_names(file: Path) -> None:
    found = the_finding(file, SITE + '[uplink]\ntoken = "t"\nurl = "http://meter.example.net"\n')
    assert (found.line, found.column, found.path) == (6, 7, "uplink.url")
    assert "https" in found.message


def test_a_token_never_stands_in_a_finding(file: Path) -> None:
    for wrong in ("token = 77131977\n", 'token = "77131977"\ntoken_file = "x"\n', 'token = "77131977\\n"\n'):
        assert [one for one in findings(file, SITE + UPLINK + wrong) if "77131977" in str(one)] == []


def test_a_cron_expression_is_checked(file: Path) -> None:
    found = the_finding(file, SITE + UPLINK + 'token = "t"\ncron = "61 * * * *"\n')
    assert (found.line, found.column, found.path) == (7, 8, "uplink.cron")
    assert loaded(file, SITE + UPLINK + 'token = "t"\ncron = "*/5 7-19 * * mon-fri"\n').uplink is not None


@pytest.mark.parametrize("window", ["22-6", "22:00", "24:00-06:00", "22:00-06:00+01:00", "always"])
def test_a_window_is_two_times_of_day(file: Path, window: str) -> None:
    found = the_finding(file, SITE + UPLINK + f'token = "t"\nwindow = "{window}"\n')
    assert (found.line, found.column, found.path) == (7, 10, "uplink.window")
    uplink = loaded(
        file, SITE + UPLINK + 'token = "t"\nwindow = "22:00-06:00"\nstream = true\nmax_kbit_s = 64\n'
    ).uplink
    assert uplink is not None
    assert (uplink.window, uplink.stream, uplink.max_kbit_s) == ("22:00-06:00", True, 64)


def test_a_number_can_only_be_answered_by_a_feature_of_the_catalogue(file: Path) -> None:
    table = f'[[source]]\nname = "a"\nkind = "tape"\npath = "{file}"\nservices = {{ 300 = "auto_attendnat" }}\n'
    found = the_finding(file, SITE + table)
    assert (found.line, found.column, found.hint) == (8, 20, "did you mean `auto_attendant`?")


def test_a_source_without_a_file_to_read_is_refused(file: Path) -> None:
    found = the_finding(file, SITE + '[[source]]\nname = "a"\nkind = "tape"\npath = ""\n')
    assert (found.line, found.message) == (7, "`source[0].path` is empty: it must name a file")


def test_a_byte_order_mark_is_passed_over(file: Path) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + SITE.encode())
    assert load(file, KINDS).site.provider == "example"


def test_a_text_that_is_not_closed_is_told_as_that(file: Path) -> None:
    fault = the_finding(file, SITE + 'name = "open\n')
    assert (fault.line, fault.column) == (4, 13)
    assert "closing quote" in fault.hint


def test_a_wrong_item_of_a_list_is_shown_itself(file: Path) -> None:
    fault = the_finding(file, SITE + '[metering]\nseat_when = ["registered", "activ"]\n')
    assert fault.message == '`metering.seat_when[1]` must be one of `active`, `registered`, not "activ"'
    assert fault.hint == "did you mean `active`?"
    assert (fault.line, fault.column) == (5, 28)


def test_two_sources_of_one_file_would_count_it_twice(file: Path) -> None:
    source = '[[source]]\nkind = "tape"\npath = "/dev/null"\n'
    fault = the_finding(file, f'{SITE}{source}name = "a"\n{source}name = "b"\n')
    assert fault.path == "source[1].path"
    assert fault.message == "two sources read /dev/null (the other is source 1, `a`)"


WHOLE_UPLINK = '[uplink]\nurl = "https://meter.example.net"\ntoken = "x"\n'


def test_a_cron_expression_that_never_comes_is_refused(file: Path) -> None:
    fault = the_finding(file, SITE + WHOLE_UPLINK + 'cron = "0 0 30 2 *"\n')
    assert (fault.line, fault.path) == (7, "uplink.cron")
    assert "day-of-month" in fault.message


@pytest.mark.parametrize(
    ("url", "said"),
    [("https://meter.example.net:99999", "port"), ("https://me:secret@meter.example.net", "no user or password")],
)
def test_an_address_that_cannot_be_used_is_refused(file: Path, url: str, said: str) -> None:
    fault = the_finding(file, SITE + WHOLE_UPLINK.replace("https://meter.example.net", url))
    assert (fault.line, fault.column, fault.path) == (5, 7, "uplink.url")
    assert said in fault.message
    assert "secret" not in fault.message.replace("token_file is for secrets", "")


def test_a_folder_that_cannot_be_looked_at_is_a_warning_and_no_end(file: Path) -> None:
    warnings = loaded(file, f'{SITE}[[source]]\nname = "a"\nkind = "tape"\npath = "/{"x" * 300}/tape"\n').warnings
    assert [(one.line, one.path, one.severity) for one in warnings] == [(7, "source[0].path", "warning")]
    assert "cannot be looked into: File name too long" in warnings[0].message


def test_a_folder_that_this_user_may_not_search_is_a_warning_and_no_end(file: Path) -> None:
    locked = file.parent / "locked"
    locked.mkdir()
    locked.chmod(0)
    text = f'{SITE}[[source]]\nname = "a"\nkind = "tape"\npath = "{locked}/cdr/tape"\n'
    own = os.geteuid()
    if own == 0:  # whom nothing is closed to
        os.seteuid(65534)
    try:
        warnings = parse(text, file, KINDS).warnings
    finally:
        os.seteuid(own)
    assert [one.severity for one in warnings] == ["warning"]
    assert warnings[0].message.endswith("cannot be looked into: Permission denied")
