"""The rows that the main house's phone system writes, compared with rows written by hand."""

import msgspec

from agent.demo.asterisk_rows import AsteriskRows
from agent.demo.office import PlayedCall

TEN_MS = 1_795_168_800_000
"""2026-11-20T10:00:00Z."""

CALL = PlayedCall(
    way="cdr",
    key="1795168800.1",
    kind="answered",
    caller="101",
    dialled="102",
    started_at_ms=TEN_MS,
    answered_at_ms=TEN_MS + 4_000,
    ended_at_ms=TEN_MS + 64_000,
    outcome="answered",
    call_class="internal",
    rings=("102",),
    answered_by="102",
)


def rows(**changes: object) -> list[str]:
    text = AsteriskRows().rows(msgspec.structs.replace(CALL, **changes))
    assert text.endswith("\n")
    return text.splitlines()


def test_an_answered_call_is_one_row_of_21_columns() -> None:
    assert rows() == [
        '"","101","102","office","""Reception"" <101>","PJSIP/101-00000001","PJSIP/102-00000002","Dial","PJSIP/102,20",'
        '"2026-11-20 10:00:00","2026-11-20 10:00:04","2026-11-20 10:01:04",64,60,"ANSWERED","DOCUMENTATION",'
        '"1795168800.1","","","1795168800.1",1'
    ]


def test_a_date_that_is_missing_is_nothing_at_all() -> None:
    (row,) = rows(answered_at_ms=None, ended_at_ms=TEN_MS + 9_000, outcome="no_answer", answered_by="")
    assert '"2026-11-20 10:00:00",,"2026-11-20 10:00:09",9,0,"NO ANSWER"' in row


def test_a_ring_group_is_a_row_for_each_phone_that_rang() -> None:
    found = rows(kind="ring group", dialled="200", rings=("102", "103", "104"), answered_by="103")
    assert ["NO ANSWER" in row for row in found] == [True, True, False]
    assert all('"PJSIP/102&PJSIP/103&PJSIP/104,20"' in row for row in found)
    assert '"2026-11-20 10:00:00",,"2026-11-20 10:00:04",4,0,"NO ANSWER"' in found[0]


def test_voicemail_is_a_dial_in_vain_and_a_row_of_the_same_channel() -> None:
    beep_ms = TEN_MS + 10_000
    dial, box = rows(kind="voicemail", answered_by="", answered_at_ms=beep_ms, turned_at_ms=beep_ms)
    assert '"Dial","PJSIP/102,10","2026-11-20 10:00:00",,"2026-11-20 10:00:10",10,0,"NO ANSWER"' in dial
    assert '"PJSIP/101-00000001","","VoiceMail","102@default,u","2026-11-20 10:00:10","2026-11-20 10:00:10"' in box


def test_a_call_over_the_trunk_names_it() -> None:
    (out,) = rows(dialled="02079460123", rings=(), answered_by="02079460123")
    assert '"PJSIP/carrier-00000002","Dial","PJSIP/02079460123@carrier,60"' in out
    (inward,) = rows(caller="01134960123", kind="inbound")
    assert '"01134960123","102","from-carrier",""""" <01134960123>","PJSIP/carrier-00000001"' in inward


def test_a_transfer_goes_on_where_it_was_and_rows_are_numbered() -> None:
    before, after = rows(kind="transfer", moved_to="105", turned_at_ms=TEN_MS + 20_000)
    assert before.endswith('"1795168800.1",1')
    assert after.endswith('"1795168800.1",2')
    assert '"2026-11-20 10:00:20",20,16,"ANSWERED"' in before
    assert '"101","105"' in after
    assert '"2026-11-20 10:00:20","2026-11-20 10:00:20","2026-11-20 10:01:04",44,44,"ANSWERED"' in after
