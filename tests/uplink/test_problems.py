"""Problems are data, and the documentation names each of them."""

from pathlib import Path

from uplink import session
from uplink.problems import CATALOGUE
from uplink.receiver.problems import CODES
from uplink.receiver.screen import METERS

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "wire.md"


def test_every_problem_says_what_to_do() -> None:
    for problem in CATALOGUE.values():
        assert problem.text.endswith(".")
        assert problem.hint.endswith(".")


def test_the_reference_names_every_problem_refusal_and_meter() -> None:
    text = REFERENCE.read_text()
    for code in [*CATALOGUE, *CODES, *METERS]:
        assert f"`{code}`" in text, code


def test_the_reference_gives_the_problem_of_every_status_that_has_a_rule() -> None:
    text = REFERENCE.read_text()
    assert [status for status in session._BY_STATUS if f"{status}" not in text] == []
