"""The lab judged by Asterisk itself: what sipp says it placed is what Asterisk says it had. None of the project's own code is
asked."""

import csv
import re
import socket
from calendar import timegm
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from time import strptime

import pytest

from tests.lab.asterisk import AsteriskLab, wait_for
from tests.lab.office import DESKS, Office, PlacedCall

pytestmark = pytest.mark.lab

SRC, DCONTEXT, CHANNEL, DSTCHANNEL, LASTAPP, START, ANSWER, END, DISPOSITION, UNIQUEID = (
    1,
    3,
    5,
    6,
    7,
    9,
    10,
    11,
    14,
    16,
)
"""Columns of Master.csv (Asterisk's documentation of cdr_csv, with loguniqueid, loguserfield, newcdrcolumns)."""

Row = list[str]


@pytest.fixture(scope="module")
def placed(lab: AsteriskLab, folder: Path) -> list[PlacedCall]:
    with Office(lab, folder) as office:
        calls = office.play(1)
        wait_for(lambda: "0 active channels" in lab.cli("core show channels count"), 5, "channels stay up")
        return calls


@pytest.fixture(scope="module")
def rows(lab: AsteriskLab, placed: list[PlacedCall]) -> list[Row]:
    return list(csv.reader(lab.cdr_rows()))


def second(stamp: str) -> int:
    return timegm(strptime(stamp, "%Y-%m-%d %H:%M:%S"))


def serial(row: Row) -> tuple[int, int]:
    """A unique id is the channel's second and its number in this run of Asterisk."""
    made_at, number = row[UNIQUEID].split(".")
    return int(made_at), int(number)


@pytest.fixture(scope="module")
def rows_of(rows: list[Row], placed: list[PlacedCall]) -> dict[str, list[Row]]:
    """Call-ID -> the rows of that call. A row has no Call-ID: each caller's n-th call is its n-th unique id."""
    by_caller = defaultdict(list)
    for call in placed:
        by_caller[call.caller].append(call.call_id)
    ids_by_caller = defaultdict[str, list[str]](list)
    for row in sorted(rows, key=serial):
        if row[UNIQUEID] not in ids_by_caller[row[SRC]]:
            ids_by_caller[row[SRC]].append(row[UNIQUEID])
    assert {caller: len(ids) for caller, ids in ids_by_caller.items()} == {
        caller: len(ids) for caller, ids in by_caller.items()
    }
    return {
        call_id: [row for row in rows if row[UNIQUEID] == unique_id]
        for caller, ids in by_caller.items()
        for call_id, unique_id in zip(ids, ids_by_caller[caller], strict=True)
    }


def test_the_office_places_calls_of_all_ten_kinds(placed: list[PlacedCall]) -> None:
    assert {call.kind for call in placed} == {
        "answered",
        "unanswered",
        "busy",
        "ring_group",
        "voicemail",
        "ivr",
        "conference",
        "queue",
        "transfer",
        "trunk",
    }


def test_asterisk_counts_as_many_calls_as_sipp_placed(lab: AsteriskLab, placed: list[PlacedCall]) -> None:
    said = re.search(r"(\d+) calls? processed", lab.cli("core show calls"))
    assert said
    assert int(said[1]) == len(placed)


def test_every_call_has_rows_and_every_row_a_call(
    rows: list[Row], rows_of: dict[str, list[Row]], placed: list[PlacedCall]
) -> None:
    assert {call.call_id for call in placed} == rows_of.keys()
    assert sum(map(len, rows_of.values())) == len(rows)


def test_asterisk_has_answered_exactly_the_calls_that_sipp_had_answered(
    rows_of: dict[str, list[Row]], placed: list[PlacedCall]
) -> None:
    answered = {call_id for call_id, own in rows_of.items() if any(row[ANSWER] for row in own)}
    assert answered == {call.call_id for call in placed if call.answered_at_ms is not None}


def test_the_rows_of_a_call_begin_and_end_in_the_second_in_which_sipp_saw_it_begin_and_end(
    rows: list[Row], rows_of: dict[str, list[Row]], placed: list[PlacedCall]
) -> None:
    """In a conference a caller also stands in the rows of those who came before, as their `dstchannel`."""
    for call in placed:
        channel = rows_of[call.call_id][0][CHANNEL]
        own = [row for row in rows if channel in (row[CHANNEL], row[DSTCHANNEL])]
        assert abs(min(second(row[START]) for row in own) - call.invited_at_ms // 1000) <= 1, call
        assert abs(max(second(row[END]) for row in own) - call.ended_at_ms // 1000) <= 1, call
        if call.answered_at_ms is not None:
            answered_at = min(second(row[ANSWER]) for row in own if row[ANSWER])
            assert abs(answered_at - call.answered_at_ms // 1000) <= 1, call
            talk_s = max(second(row[END]) for row in own) - answered_at
            assert abs(talk_s - call.talk_ms / 1000) < 1, call


def test_what_sipp_was_told_is_what_asterisk_wrote_down(
    rows_of: dict[str, list[Row]], placed: list[PlacedCall]
) -> None:
    for call in placed:
        if call.outcome == "busy":
            assert {row[DISPOSITION] for row in rows_of[call.call_id]} == {"BUSY"}
        if call.outcome in ("no_answer", "failed", "cancelled"):
            assert {row[DISPOSITION] for row in rows_of[call.call_id]} == {"NO ANSWER"}


def test_a_message_was_left(lab: AsteriskLab, placed: list[PlacedCall]) -> None:
    said = lab.cli("voicemail show users")
    assert re.search(r"default +107 +Phone 107 +1\b", said), said


def test_the_queue_has_served_two_and_lost_one(lab: AsteriskLab, placed: list[PlacedCall]) -> None:
    assert "C:2, A:0" in lab.cli("queue show support")
    assert "C:0, A:1" in lab.cli("queue show night")


def test_every_desk_phone_is_logged_in(lab: AsteriskLab, placed: list[PlacedCall]) -> None:
    contacts = lab.cli("pjsip show contacts")
    assert set(re.findall(r"(\d+)/sip:", contacts)) == {desk.number for desk in DESKS}


def test_hep_was_sent_for_every_call(hep_socket: socket.socket, placed: list[PlacedCall]) -> None:
    hep_socket.setblocking(False)
    heard = b""
    with suppress(BlockingIOError):
        while True:
            heard += hep_socket.recv(65535)
    assert [call for call in placed if f"Call-ID: {call.call_id}\r\n".encode() not in heard] == []
