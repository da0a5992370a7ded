"""No decoder raises anything but what it declares, nor takes long: over found cases, some thousands of new inputs, and 64 kB of
whatever takes a careless parser quadratic time."""

from importlib.util import find_spec

import pytest

from tests.fuzz.__main__ import covered, own
from tests.fuzz.judge import CASES, SLACK, SLOW_S, judge, kept
from tests.fuzz.targets import TARGETS

INPUTS = 4_000


@pytest.mark.parametrize("name", TARGETS)
def test_what_was_found_once_is_borne(name: str) -> None:
    for path in kept(name):
        assert judge(TARGETS[name], path.read_bytes(), SLOW_S * SLACK) is None, path.name


def test_every_case_belongs_to_a_target() -> None:
    assert {path.name for path in CASES.iterdir() if path.is_dir()} <= TARGETS.keys()


@pytest.mark.parametrize("name", TARGETS)
def test_inputs_that_are_almost_right_are_borne(name: str) -> None:
    assert own(name, INPUTS, 60, 7, SLOW_S * SLACK) == 0


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no build for this Python or processor")
def test_inputs_that_reach_new_code_are_borne() -> None:
    assert covered("tracker", 2_000, 20, seed=7) == 0
