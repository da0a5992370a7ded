"""Time stamps, their zone, and the hour that comes twice. The instants are of `date -u -d`."""

from zoneinfo import ZoneInfo

import pytest

from collectors.asterisk_cdr.decode import Decoder
from collectors.asterisk_cdr.stamps import NoStamp, Stamps, made_at_s, zone_found
from tests.collectors.asterisk_cdr.rows import line

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "text", "instants_s"),
    [
        ("UTC", "2026-01-05 09:30:07", (1767605407,)),
        (BERLIN, "2026-01-05 10:30:07", (1767605407,)),
        (BERLIN, "2026-07-05 11:30:07", (1783243807,)),
        (BERLIN, "2026-10-25 02:30:00", (1792888200, 1792891800)),
        (BERLIN, "2026-10-25 03:30:00", (1792895400,)),
        ("America/St_Johns", "2026-01-05 06:00:07", (1767605407,)),
    ],
)
def test_stamps(zone: str, text: str, instants_s: tuple[int, ...]) -> None:
    assert Stamps(ZoneInfo(zone)).learn(text) == tuple(second * 1000 for second in instants_s)


def test_a_time_that_the_clocks_skip_is_one_instant() -> None:
    assert len(Stamps(ZoneInfo(BERLIN)).learn("2026-03-29 02:30:00")) == 1


@pytest.mark.parametrize(
    "text",
    ["", "2026-01-05", "2026-01-05T09:30:07", "2026-13-05 09:30:07", "2026-01-05 09:30:7 ", "2026-1-005 09:30:07"],
)
def test_other_texts_are_no_stamps(text: str) -> None:
    with pytest.raises(NoStamp):
        Stamps(ZoneInfo("UTC")).learn(text)


@pytest.mark.parametrize(
    ("uniqueid", "second"),
    [
        ("1767605400.1", 1767605400),
        ("pbx-1-1767605400.99", 1767605400),
        ("", None),
        ("abc", None),
        ("13624276.2", None),
    ],
)
def test_the_second_in_a_unique_id(uniqueid: str, second: int | None) -> None:
    assert made_at_s(uniqueid) == second


MADE = "1767605400.1"
"""2026-01-05 09:30:00 UTC, 10:30 in Berlin, 03:30 in Chicago."""


@pytest.mark.parametrize(
    ("start", "rows", "site", "zone"),
    [
        ("2026-01-05 10:30:00", 1, BERLIN, BERLIN),
        ("2026-01-05 10:30:41", 1, BERLIN, BERLIN),
        ("2026-01-05 09:30:00", 1, BERLIN, "UTC"),
        ("2026-01-05 03:30:00", 3, BERLIN, "-06:00"),
        ("2026-01-05 03:30:00", 2, BERLIN, ""),
        ("2026-01-05 10:37:30", 9, BERLIN, ""),
        ("2026-01-05 09:30:00", 9, "Europe/London", ""),
        ("2026-01-05 09:30:00", 1, "UTC", "UTC"),
        ("nonsense", 9, BERLIN, ""),
    ],
)
def test_the_zone_is_found_in_the_distance_of_unique_id_and_start(start: str, rows: int, site: str, zone: str) -> None:
    assert zone_found([(MADE, start)] * rows, site) == zone


def started(decoder: Decoder, text: str) -> int:
    (leg,), rejects = decoder.decode(text.encode() + b"\n", "Master.csv", 1, 1)
    assert rejects == []
    return leg.started_at_ms // 1000


def test_auto_reads_utc_where_asterisk_writes_utc_although_the_site_is_elsewhere() -> None:
    decoder = Decoder(BERLIN, "auto")
    assert started(decoder, line()) == 1767605400
    assert decoder.zone == "UTC"


def test_auto_takes_the_sites_zone_where_the_file_has_no_unique_ids() -> None:
    assert started(Decoder(BERLIN, "auto"), line(uid="", linked="")) == 1767605400 - 3600


def test_a_zone_found_is_kept_over_rows_that_do_not_tell() -> None:
    decoder = Decoder(BERLIN, "auto")
    assert started(decoder, line()) == 1767605400
    late = line(start="11:00:00", answer="", end="11:00:05", how="NO ANSWER")
    assert started(Decoder(BERLIN, "auto", (), decoder.state), late) == 1767605400 + 5400


@pytest.mark.parametrize(("made", "start_s"), [("1792888200.1", 1792888200), ("1792891800.1", 1792891800)])
def test_in_the_hour_that_comes_twice_the_unique_id_decides(made: str, start_s: int) -> None:
    text = line(day="2026-10-25", start="02:30:00", answer="02:30:05", end="02:31:05", uid=made, linked=made)
    (leg,), _ = Decoder(BERLIN, BERLIN).decode(text.encode() + b"\n", "Master.csv", 1, 1)
    assert (leg.started_at_ms, leg.answered_at_ms, leg.ended_at_ms) == (
        start_s * 1000,
        (start_s + 5) * 1000,
        (start_s + 65) * 1000,
    )


def test_a_call_over_the_end_of_summer_time_is_as_long_as_its_duration_says() -> None:
    text = line(day="2026-10-25", start="02:50:00", answer="02:50:10", end="02:10:00", uid="", linked="", billsec=1190)
    text = text.replace(",-2400,", ",1200,")
    (leg,), rejects = Decoder(BERLIN, BERLIN).decode(text.encode() + b"\n", "Master.csv", 1, 1)
    assert rejects == []
    assert leg.ended_at_ms - leg.started_at_ms == 1_200_000
    assert leg.answered_at_ms == leg.started_at_ms + 10_000
