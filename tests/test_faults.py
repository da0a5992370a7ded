"""The table of faults holds: no row of the list is left out, and the tests that it names are there."""

import re
from functools import cache
from pathlib import Path

import pytest

from tests.faults import ROWS

TESTS = Path(__file__).parent
DEFINED = re.compile(r"^(?:async def |def )?(test_\w+|Test\w+)(?=\(| = )", re.MULTILINE)


@cache
def defined() -> frozenset[str]:
    return frozenset(name for path in TESTS.rglob("test_*.py") for name in DEFINED.findall(path.read_text("utf-8")))


def test_no_row_is_left_out() -> None:
    assert set(ROWS) == {f"{part}{n}" for part, last in (("A", 21), ("B", 16), ("C", 14)) for n in range(1, last + 1)}


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_are_there(row: str) -> None:
    assert set(ROWS[row][1]) <= defined()


@pytest.mark.parametrize("row", ROWS)
def test_a_test_bears_the_name_of_its_row(row: str) -> None:
    named = re.compile(rf"{row}(?!\d)", re.IGNORECASE)
    assert any(named.search(name) for name in ROWS[row][1])
