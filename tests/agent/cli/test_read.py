"""`pegcount read` on handwritten Asterisk records. What they come to is worked out by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.agent.cli.commands import SITE, Done, pegcount

ANSWERED = (
    '"","101","102","from-internal","""Ann"" <101>","PJSIP/101-00000001","PJSIP/102-00000002","Dial","PJSIP/102,20",'
    '"2026-11-20 09:00:00","2026-11-20 09:00:05","2026-11-20 09:01:10",70,65,"ANSWERED","DOCUMENTATION","1795165200.1",""\n'
)
"""Dialled at 09:00:00, answered at :05, 65 s talked: 2 minutes at 60/60."""
UNANSWERED = (
    '"","102","103","from-internal","""Bob"" <102>","PJSIP/102-00000003","PJSIP/103-00000004","Dial","PJSIP/103,20",'
    '"2026-11-20 09:10:00",,"2026-11-20 09:10:20",20,0,"NO ANSWER","DOCUMENTATION","1795165800.3",""\n'
)
BAD = '"","101","102"\n'


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "Master.csv"


def objects(done: Done) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.out.splitlines()]


def of_kind(done: Done, kind: str) -> list[dict[str, Any]]:
    return [one for one in objects(done) if one["kind"] == kind]


def test_json_has_the_calls_and_their_events(records: Path) -> None:
    records.write_text(ANSWERED + UNANSWERED)
    done = pegcount("read", "--json", records)
    assert done.status == 0, done.err
    calls = {call["dialled"]: call for call in of_kind(done, "call")}
    assert {number: call["outcome"] for number, call in calls.items()} == {"102": "answered", "103": "no_answer"}
    assert calls["102"]["talk_ms"] == 65_000
    assert calls["102"]["started_at_ms"] == 1_795_165_200_000
    net = [(event["meter"], event["quantity"], event["unit"]) for event in of_kind(done, "event")]
    assert net.count(("call", "1", "call")) == 2
    assert net.count(("voice.minutes", "2", "min")) == 1
    assert "2 calls" in done.err


def test_the_table_is_for_people(records: Path) -> None:
    records.write_text(ANSWERED)
    done = pegcount("read", records)
    assert done.status == 0
    lines = done.out.splitlines()
    assert lines[0].split() == ["TIME", "UTC", "KIND", "WHO", "WHAT"]
    assert any(line.split()[:6] == ["2026-11-20", "09:00:00", "call", "101", "->", "102"] for line in lines)
    assert any("voice.minutes 2 min" in line for line in lines)


def test_the_time_zone_is_the_files_and_the_sites(records: Path) -> None:
    records.write_text(ANSWERED)
    done = pegcount("read", "--json", "--timezone", "Europe/Berlin", records)
    assert of_kind(done, "call")[0]["started_at_ms"] == 1_795_165_200_000 - 3_600_000


def test_a_bad_line_is_told_and_ends_with_1(records: Path) -> None:
    records.write_text(ANSWERED + BAD)
    done = pegcount("read", "--json", records)
    assert done.status == 1
    (reject,) = of_kind(done, "reject")
    assert reject["excerpt"].startswith('"","101","102"')
    assert "Master.csv:2" in reject["position"]
    assert len(of_kind(done, "call")) == 1
    assert "1 reject" in done.err


def test_several_files_are_one_source_in_the_order_given(tmp_path: Path) -> None:
    (tmp_path / "Master.csv.1").write_text(ANSWERED)
    (tmp_path / "Master.csv").write_text(UNANSWERED + ANSWERED)
    done = pegcount("read", "--json", "--kind", "asterisk_cdr", tmp_path / "Master.csv.1", tmp_path / "Master.csv")
    assert done.status == 0, done.err
    assert sorted(call["dialled"] for call in of_kind(done, "call")) == ["102", "103"]


def test_a_configurations_rules_are_used(records: Path, tmp_path: Path) -> None:
    records.write_text(ANSWERED)
    config = tmp_path / "pegcount.toml"
    config.write_text(SITE + "[metering]\nincrement_s = 6\nminimum_s = 30\n")
    done = pegcount("read", "--json", "--config", config, records)
    minutes = [event["quantity"] for event in of_kind(done, "event") if event["meter"] == "voice.minutes"]
    assert minutes == ["1.1"]  # 65 s in steps of 6 s are 66 s


def test_nothing_is_stored(records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    records.write_text(ANSWERED)
    assert pegcount("read", records).status == 0
    assert [one.name for one in tmp_path.iterdir()] == ["Master.csv"]
    assert records.read_text() == ANSWERED


def test_control_characters_reach_no_terminal(records: Path) -> None:
    records.write_bytes(ANSWERED.replace('"102","from', '"1\x1b[2J02","from').encode())
    done = pegcount("read", records)
    assert "\x1b" not in done.out


def test_a_file_that_is_not_there_ends_with_66(tmp_path: Path) -> None:
    for extra in ((), ("--kind", "asterisk_cdr")):
        done = pegcount("read", *extra, tmp_path / "none.csv")
        assert (done.status, done.out) == (66, "")
        assert "none.csv" in done.err


@pytest.mark.parametrize(
    "arguments", [["read"], ["read", "--kind", "tape", "x"], ["read", "--timezone", "Mars/X", "x"]]
)
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    done = pegcount(*arguments)
    assert (done.status, done.out) == (2, "")


def test_a_file_of_no_known_kind_names_the_kinds_there_are(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    done = pegcount("read", tmp_path / "photo.jpg")
    assert done.status == 66
    assert "asterisk_cdr" in done.err


def test_an_empty_file_and_one_of_no_known_kind_are_told_without_a_usage_text(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "letter.txt").write_text("Dear customer,\n")
    empty, letter = pegcount("read", tmp_path / "empty"), pegcount("read", tmp_path / "letter.txt")
    assert (empty.status, letter.status) == (66, 66)
    assert "empty is empty; --kind" in empty.err
    assert (
        "letter.txt looks like nothing that can be read; --kind names its kind (asterisk_cdr, hep, sip, syslog)"
        in letter.err
    )
    assert "Usage" not in empty.err + letter.err


def test_a_long_time_zone_is_named_whole(records: Path) -> None:
    records.write_text(ANSWERED)
    done = pegcount("read", "--timezone", "America/Argentina/Buenos_Aires", records)
    assert done.out.splitlines()[0].startswith("TIME America/Argentina/Buenos_Aires  KIND")


def test_the_table_says_which_feature_was_used(records: Path) -> None:
    records.write_text(
        ANSWERED.replace('"Dial","PJSIP/102,20"', '"VoiceMail","102@default"').replace('"PJSIP/102-00000002"', '""')
    )
    done = pegcount("read", records)
    assert "feature.use 1 use voicemail_deposit" in done.out
