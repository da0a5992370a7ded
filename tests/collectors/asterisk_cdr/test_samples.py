"""Records of real systems and of Asterisk's own documentation; read where they lie, which is beside the checkout."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.asterisk_cdr.config import AsteriskCdrConfig
from collectors.asterisk_cdr.kind import KIND
from collectors.records import Call, Leg, Reject

SAMPLES = Path(__file__).resolve().parents[3] / "../shared/samples/cdr"
OWN = SAMPLES / "asterisk_cdr_csv"

pytestmark = [
    pytest.mark.samples,
    pytest.mark.skipif(not SAMPLES.is_dir(), reason="the sample corpus is not beside the checkout"),
]


def read(path: Path) -> tuple[list[Leg], list[Reject]]:
    assert KIND.read is not None
    batches = list(KIND.read(path, AsteriskCdrConfig(path=str(path), timezone="UTC")))
    legs = [leg for batch in batches for leg in batch.records if isinstance(leg, Leg)]
    return legs, [reject for batch in batches for reject in batch.rejects]


def calls(legs: list[Leg]) -> list[Call]:
    gathered: dict[str, list[Leg]] = {}
    for leg in legs:
        gathered.setdefault(leg.call_key, []).append(leg)
    return [KIND.join(of_one) for of_one in gathered.values()]


def files() -> Iterator[Path]:
    return (path for path in sorted(SAMPLES.rglob("*")) if path.is_file())


@pytest.mark.parametrize("path", list(files()) if SAMPLES.is_dir() else [], ids=lambda path: path.name)
def test_no_file_of_any_vendor_raises_and_no_line_vanishes(path: Path) -> None:
    legs, rejects = read(path)
    calls(legs)
    filled = [text for text in path.read_bytes().split(b"\n") if text.rstrip(b"\r")]
    assert len([leg for leg in legs if not leg.key.endswith("/b")]) + len(rejects) == len(filled)


@pytest.mark.parametrize("path", list(files()) if SAMPLES.is_dir() else [], ids=lambda path: path.name)
def test_files_of_cdr_csv_are_told_from_all_others(path: Path) -> None:
    assert KIND.sniff is not None
    own = path.parent.name in ("asterisk_cdr_csv", "asterisk_cdr_sql") and "labels" not in path.name
    broken = "unterminated_quote" in path.name
    assert (KIND.sniff(path.name, path.read_bytes()[:8192]) > 50) is (own and not broken)


SCENARIOS: dict[str, list[tuple[str, int, str, str, str, set[str], set[str]]]] = {
    # (outcome, seconds connected, caller, dialled, answered by, offered, features), per call
    'Unanswered "Inbound" Call': [("no_answer", 0, "alice", "500", "", set(), set())],
    'Unanswered "Outbound" Call': [("no_answer", 0, "alice", "s", "", set(), set())],
    "Single Party": [("answered", 58, "alice", "8500", "", set(), set())],
    "Basic Call": [("answered", 112, "alice", "200", "bob", {"bob"}, set())],
    "Unanswered Dial": [("no_answer", 0, "alice", "200", "", {"bob"}, set())],
    "Parallel Dial": [("answered", 60, "alice", "200", "bob", {"bob"}, {"simultaneous_ring bob"})],
    "Blind Transfer": [("answered", 85, "alice", "200", "bob", {"bob", "charlie"}, {"transfer_blind bob"})],
    "Core Attended Transfer to Channel": [
        ("answered", 85, "alice", "200", "bob", {"bob", "charlie"}, {"transfer_attended bob"})
    ],
    "Core Attended Transfer to Application": [
        ("answered", 110, "alice", "200", "bob", {"bob"}, {"transfer_attended bob", "voicemail_deposit 300"})
    ],
    "Blonde Transfer": [("answered", 62, "alice", "200", "bob", {"bob", "charlie"}, {"transfer_attended bob"})],
    "Three Way Call": [("answered", 110, "alice", "200", "bob", {"bob", "charlie"}, set())],
    "SIP Attended Transfer": [("answered", 60, "alice", "200", "bob", {"bob", "charlie"}, {"transfer_attended bob"})],
    "Local channel to an application": [("answered", 50, "", "100", "alice", {"alice"}, {"voicemail_retrieve alice"})],
    "Local channel between bridges": [("answered", 50, "", "100", "alice", {"alice", "bob"}, set())],
    "Call Park": [("answered", 130, "alice", "200", "bob", {"bob", "charlie"}, {"park bob"})],
    "Call Queue - Example 1": [("answered", 120, "alice", "800", "charlie", {"bob", "charlie"}, {"queue charlie"})],
    "Call Queue - Example 2": [("answered", 100, "alice", "800", "charlie", {"bob", "charlie"}, {"queue charlie"})],
    # Charlie has no row of his own in the document, where a real Asterisk writes one: he is not counted here.
    "Conference Call": [
        ("answered", 230, "alice", "1000", "", set(), {"conference alice"}),
        ("answered", 120, "bob", "1000", "", set(), {"conference bob"}),
    ],
}
"""The tables of Asterisk's CDR specification, by the names it gives them; worked out by hand from their times."""


def scenario_lines() -> dict[str, list[str]]:
    lines = (OWN / "asterisk_spec_scenarios_newcdrcolumns_Master.csv").read_text().splitlines()
    found: dict[str, list[str]] = {}
    with (OWN / "asterisk_spec_scenarios_labels.csv").open(newline="") as file:
        for label, text in zip(csv.DictReader(file), lines, strict=True):
            found.setdefault(label["scenario"], []).append(text)
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_the_scenarios_of_the_cdr_specification(scenario: str, tmp_path: Path) -> None:
    path = tmp_path / "Master.csv"
    path.write_text("".join(f"{text}\n" for text in scenario_lines()[scenario]))
    legs, rejects = read(path)
    assert rejects == []
    told = [
        (
            call.outcome,
            call.talk_ms // 1000,
            call.caller.endpoint,
            call.dialled,
            call.answered_by.endpoint if call.answered_by else "",
            set(call.offered),
            {f"{use.code} {use.endpoint}" for use in call.features},
        )
        for call in calls(legs)
    ]
    assert told == SCENARIOS[scenario]


def test_a_transfer_by_sip_itself_is_two_calls_since_nothing_in_the_rows_joins_them(tmp_path: Path) -> None:
    """The first row's end is misspelt in the document: a reject, that says so."""
    path = tmp_path / "Master.csv"
    path.write_text("".join(f"{text}\n" for text in scenario_lines()["SIP Protocol Attended Transfer"]))
    legs, (reject,) = read(path)
    assert [(call.caller.endpoint, call.talk_ms) for call in calls(legs)] == [("bob", 10_000), ("alice", 60_000)]
    assert reject.message.startswith("Column 12, end, is '2013-04-13:12:08'")


def test_the_complex_example_is_one_call_per_linked_id(tmp_path: Path) -> None:
    """Alice calls Bob, who sends her to a queue; David takes her there after Frank did not, and hands her on to Ellen; Bob
    has called Charlie meanwhile. Connected: 13:00:05 to 13:05:00. A misspelt row is a reject."""
    path = tmp_path / "Master.csv"
    path.write_text("".join(f"{text}\n" for text in scenario_lines()["A Complex Example"]))
    legs, rejects = read(path)
    alice, bob = calls(legs)
    assert (alice.caller.endpoint, alice.talk_ms, bob.caller.endpoint, bob.talk_ms) == (
        "alice",
        295_000,
        "bob",
        120_000,
    )
    assert set(alice.offered) == {"bob", "frank", "david", "ellen", "charlie"}
    assert {"queue david", "transfer_blind bob", "transfer_attended david"} == {
        f"{use.code} {use.endpoint}" for use in alice.features
    }
    assert [reject.reason for reject in rejects] == ["bad_time"]


def test_the_testsuites_rows_of_one_unique_id_are_five_legs_of_one_call() -> None:
    legs, rejects = read(OWN / "testsuite_good_Master.csv")
    (call,) = calls(legs)
    assert (len(legs), rejects, call.legs, call.outcome) == (5, [], 5, "answered")


def test_a_unique_id_that_dialled_in_vain_and_then_left_a_message_is_one_call() -> None:
    legs, _ = read(SAMPLES / "asterisk_cdr_sql/asterisk18_mysql_cdr_rows.csv")
    by_key = {call.key: call for call in calls(legs)}
    call = by_key["1684679866.0"]
    assert (call.legs, call.talk_ms, call.outcome) == (2, 27_000, "answered")
    assert [use.code for use in call.features] == ["voicemail_deposit"]
