"""Lines to legs, one by one: columns, faults, keys and text."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.asterisk_cdr.decode import LINES_REMEMBERED, Decoder, State
from collectors.asterisk_cdr.leg import AsteriskLeg
from collectors.records import Reject
from tests.collectors.asterisk_cdr.rows import T0, UID, line

FIXED = (
    '"acc","101","102","office","""Ann"" <101>","PJSIP/101-00000001","PJSIP/102-00000002","Dial","PJSIP/102,20",'
    '"2026-01-05 09:30:00","2026-01-05 09:30:05","2026-01-05 09:31:05",65,60,"ANSWERED","DOCUMENTATION"'
)


def decode(data: bytes, decoder: Decoder | None = None) -> tuple[list[AsteriskLeg], list[Reject]]:
    return (decoder or Decoder("UTC", "UTC")).decode(data, "Master.csv", 1, 1)


def one(text: str) -> AsteriskLeg:
    (leg,), rejects = decode(text.encode() + b"\n")
    assert rejects == []
    return leg


def fault(text: str | bytes) -> Reject:
    legs, (reject,) = decode((text.encode() if isinstance(text, str) else text) + b"\n")
    assert legs == []
    return reject


@pytest.mark.parametrize(
    ("optional", "uniqueid", "linkedid", "sequence", "call_key"),
    [
        ("", "", "", 0, None),
        (f',"{UID}"', UID, "", 0, UID),
        (f',"pbx-1-{UID}"', f"pbx-1-{UID}", "", 0, f"pbx-1-{UID}"),
        (',"a note"', "", "", 0, None),
        (f',"{UID}","a note"', UID, "", 0, UID),
        (',"","1767605399.0",7', "", "1767605399.0", 7, "1767605399.0"),
        (f',"{UID}","","1767605399.0",7', UID, "1767605399.0", 7, "1767605399.0"),
        (',"a note","","1767605399.0",7', "", "1767605399.0", 7, "1767605399.0"),
        (f',"{UID}","a note","peer","1767605399.0",7', UID, "1767605399.0", 7, "1767605399.0"),
    ],
)
def test_columns_are_known_by_their_number(
    optional: str, uniqueid: str, linkedid: str, sequence: int, call_key: str | None
) -> None:
    leg = one(FIXED + optional)
    assert (leg.uniqueid, leg.linkedid, leg.sequence) == (uniqueid, linkedid, sequence)
    assert leg.call_key == (call_key or leg.key)
    assert (leg.started_at_ms, leg.answered_at_ms, leg.ended_at_ms, leg.billsec) == (T0, T0 + 5000, T0 + 65000, 60)
    assert (leg.endpoint, leg.dst_endpoint, leg.account) == ("101", "102", "acc")


def test_a_leg_keeps_its_text_and_doubled_quotes_are_single_in_its_columns() -> None:
    text = line(data='PJSIP/102,20,""x""')
    leg = one(text)
    assert leg.raw == text
    assert leg.lastdata == 'PJSIP/102,20,"x"'


def test_an_empty_source_is_taken_from_the_caller_id() -> None:
    assert one(FIXED.replace('"acc","101"', '"acc",""')).src == "101"


def test_line_ends_of_windows_make_no_difference() -> None:
    legs, _ = decode(line().encode() + b"\r\n")
    assert legs == [one(line())]


def test_empty_lines_are_nothing() -> None:
    assert decode(b"\n\n") == ([], [])


def test_an_unterminated_quote_costs_its_own_line_only() -> None:
    broken = line(sequence=2)[:-40]
    legs, (reject,) = decode(f"{line()}\n{broken}\n{line(sequence=3)}\n".encode())
    assert [leg.sequence for leg in legs] == [1, 3]
    assert (reject.reason, reject.position, reject.excerpt) == ("unterminated_quote", "Master.csv:2", broken.encode())


def test_two_unterminated_quotes_do_not_close_each_other() -> None:
    broken = line()[:-40]
    legs, rejects = decode(f"{broken}\n{broken}x\n{line(sequence=3)}\n".encode())
    assert [leg.sequence for leg in legs] == [3]
    assert [reject.position for reject in rejects] == ["Master.csv:1", "Master.csv:2"]


def test_an_unterminated_quote_in_the_last_line_is_found() -> None:
    legs, (reject,) = decode(f"{line()}\n{line()[:-40]}\n".encode())
    assert len(legs) == 1
    assert reject.reason == "unterminated_quote"


@pytest.mark.parametrize(
    ("wrong", "reason", "column"),
    [
        (line().replace(',"2026-01-05 09:31:05",', ',"2026-01-5 09:31:05",'), "bad_time", "Column 12, end"),
        (line().replace('"2026-01-05 09:30:00"', ""), "bad_time", "Column 10, start"),
        (line(answer="09:61:00", billsec=0), "bad_time", "Column 11, answer"),
        (line(start="09:32:00").replace(",-55,", ",0,"), "bad_time", "Column 12, end"),
        (line().replace(",65,60,", ",-65,60,"), "negative_number", "Column 13, duration"),
        (line().replace(",65,60,", ",65,-60,"), "negative_number", "Column 14, billsec"),
        (line().replace(",65,60,", ",65,abc,"), "bad_number", "Column 14, billsec"),
        (line(how="PERHAPS"), "bad_disposition", "Column 15, disposition"),
        (line().replace(f'"{UID}",1', f'"{UID}",one'), "bad_number", "Column 21, sequence"),
        (line() + ',"more"', "column_count", "22 columns"),
        ('"a","b"', "column_count", "2 columns"),
    ],
)
def test_a_fault_says_which_column_it_is_in(wrong: str, reason: str, column: str) -> None:
    reject = fault(wrong)
    assert reject.reason == reason
    assert column in reject.message
    assert reject.excerpt == wrong.encode()


def test_null_bytes_of_a_power_cut_are_rejected_and_the_next_line_is_read() -> None:
    legs, (reject,) = decode(b"\0" * 100 + b"\n" + line().encode() + b"\n")
    assert len(legs) == 1
    assert reject.reason == "null_bytes"


def test_a_line_beyond_the_limit_is_rejected_with_its_beginning() -> None:
    reject = fault("x" * 70_000)
    assert (reject.reason, len(reject.excerpt)) == ("line_too_long", 2048)


def test_a_carriage_return_inside_a_line_is_a_fault_of_that_line_only() -> None:
    legs, (reject,) = decode(f"{line()}\na,b\rc\n{line(sequence=2)}\n".encode())
    assert [leg.sequence for leg in legs] == [1, 2]
    assert reject.reason == "bad_csv"


@pytest.mark.parametrize("name", ["Zoë", "Müller", "\u2028", "\x85", "\x1c"])
def test_text_of_any_kind_stays_on_its_line(name: str) -> None:
    assert one(line(context=name)).dcontext == name


def test_bytes_that_are_not_utf8_are_read_as_latin1_and_others_beside_them_are_not() -> None:
    data = line(context="Müller").encode("latin-1") + b"\n" + line(context="Müller", sequence=2).encode() + b"\n"
    legs, _ = decode(data)
    assert [leg.dcontext for leg in legs] == ["Müller", "Müller"]
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(legs[0]), type=AsteriskLeg) == legs[0]


@given(st.binary(max_size=400))
def test_no_bytes_raise(data: bytes) -> None:
    legs, rejects = decode(data)
    msgspec.msgpack.encode((legs, rejects))


@given(
    st.lists(st.sampled_from([line(), line(sequence=2), line()[:-30], 'a"b', "", '"', "x,y"]), max_size=12), st.data()
)
def test_a_line_is_judged_by_itself_whatever_stands_around_it(lines: list[str], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(lines)))
    whole = decode("".join(f"{text}\n" for text in lines).encode())
    first = decode("".join(f"{text}\n" for text in lines[:cut]).encode())
    second = decode("".join(f"{text}\n" for text in lines[cut:]).encode())
    assert whole[0] == first[0] + second[0]
    assert [reject.key for reject in whole[1]] == [reject.key for reject in first[1] + second[1]]


# ---- keys


def keys(decoder: Decoder, *texts: str, generation: int = 1) -> list[str]:
    legs, rejects = decoder.decode(("\n".join(texts) + "\n").encode(), "Master.csv", 1, generation)
    assert rejects == []
    return [leg.key for leg in legs]


def test_with_a_sequence_equal_lines_are_one_record() -> None:
    first, second, other = keys(Decoder("UTC", "UTC"), line(), line(), line(sequence=2))
    assert first == second != other
    assert first.startswith(f"{UID}/1/")


def test_a_sequence_that_started_again_with_asterisk_does_not_make_records_equal() -> None:
    first, second = keys(Decoder("UTC", "UTC"), line(), line(end="09:32:00"))
    assert first != second


def test_without_a_sequence_equal_lines_of_one_generation_are_as_many_records() -> None:
    first, second, third = keys(Decoder("UTC", "UTC"), FIXED, FIXED, FIXED)
    assert len({first, second, third}) == 3


def test_the_count_of_equal_lines_survives_a_restart() -> None:
    decoder = Decoder("UTC", "UTC")
    together = keys(Decoder("UTC", "UTC"), FIXED, FIXED, FIXED)
    first = keys(decoder, FIXED, FIXED)
    state = msgspec.msgpack.decode(msgspec.msgpack.encode(decoder.state), type=State)
    assert first + keys(Decoder("UTC", "UTC", (), state), FIXED) == together


def test_the_same_file_read_again_as_another_generation_gives_the_same_keys() -> None:
    decoder = Decoder("UTC", "UTC")
    assert keys(decoder, FIXED, FIXED, generation=1) == keys(decoder, FIXED, FIXED, generation=2)


def test_what_is_counted_is_bounded() -> None:
    decoder = Decoder("UTC", "UTC")
    for number in range(LINES_REMEMBERED + 50):
        keys(decoder, FIXED.replace("acc", str(number)))
    assert len(decoder.state.counted) == LINES_REMEMBERED
    assert len(msgspec.msgpack.encode(decoder.state)) < 12 * 1024


def test_conference_rows_are_of_the_participants_own_call() -> None:
    own, merged = (
        one(line(app="ConfBridge", b="", data="500")),
        one(line(app="ConfBridge", b="", linked="1767605399.0")),
    )
    assert own.call_key == merged.call_key == UID


def test_trunks_are_named_by_patterns() -> None:
    decoder = Decoder("UTC", "UTC", ("carrier", "sip-*"))
    text = line(a="PJSIP/sip-berlin-00000001", b="SIP/carrier-00000002")
    (leg,), _ = decode(text.encode() + b"\n", decoder)
    assert (leg.trunk_in, leg.trunk_out) == ("sip-berlin", "carrier")
    assert (one(line()).trunk_in, one(line()).trunk_out) == ("", "")
