"""Rows whose figures nobody can mean are rejects: what cannot be stored or told must not stop what comes after it."""

import pytest

from collectors.asterisk_cdr.decode import Decoder

ROW = (
    '"","100","101","internal","""A"" <100>","PJSIP/100-1","PJSIP/101-2","Dial","PJSIP/101","{time}","{time}","{time}",'
    '0,{billsec},"ANSWERED","DOCUMENTATION","1795172587.0","","","1795172587.0",{sequence}\n'
)
USUAL = {"time": "2026-11-20 10:00:00", "billsec": "0", "sequence": "1"}


def test_the_usual_row_is_a_leg() -> None:
    legs, rejects = Decoder("UTC").decode(ROW.format(**USUAL).encode(), "Master.csv", 1, 1)
    assert (len(legs), rejects) == (1, [])


@pytest.mark.parametrize(
    ("column", "text", "reason"),
    [
        ("billsec", "9" * 20, "bad_number"),
        ("sequence", "9" * 20, "bad_number"),
        ("time", "9999-12-31 23:59:59", "bad_time"),
    ],
)
def test_a_row_beyond_all_measure_is_a_reject(column: str, text: str, reason: str) -> None:
    legs, rejects = Decoder("UTC").decode(ROW.format(**(USUAL | {column: text})).encode(), "Master.csv", 1, 1)
    assert (legs, [reject.reason for reject in rejects]) == ([], [reason])
