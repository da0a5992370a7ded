"""The table of faults holds: what it names is there, and each test that is named after a row stands in it."""

import re
from pathlib import Path

import pytest

from tests.faults import ROWS

TESTS = Path(__file__).parent
NAMED = re.compile(r"^(?:async )?def (test_((?:[abc]\d+_)+)\w*)", re.MULTILINE)


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    _, shown = ROWS[row]
    for each in shown if isinstance(shown, tuple) else ():
        path, _, name = each.partition("::")
        text = (TESTS / path).read_text("utf-8")
        assert re.search(rf"^(?:async def |def )?{name}\b", text, re.MULTILINE), each


def test_rows_are_those_of_the_list() -> None:
    assert set(ROWS) <= {f"{part}{n}" for part, last in (("A", 21), ("B", 16), ("C", 14)) for n in range(1, last + 1)}


def test_a_test_that_is_named_after_a_row_stands_in_it() -> None:
    for path in TESTS.rglob("test_*.py"):
        for name, rows in NAMED.findall(path.read_text("utf-8")):
            for row in rows.strip("_").upper().split("_"):
                assert f"{path.relative_to(TESTS)}::{name}" in ROWS[row][1], (row, name)
