"""The contenders are held to what the file is known to hold: a fast wrong answer is no result."""

import json
from pathlib import Path

import pytest

from benchmarks.measure import once
from benchmarks.report import Mismatch
from benchmarks.sip import check, ours
from benchmarks.sip_bare import read
from benchmarks.sip_traffic import Expected, generate


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Expected]:
    path = tmp_path_factory.mktemp("office") / "office.pcap"
    return path, generate(path, 3_000)


def test_the_bare_loop_reads_every_message(office: tuple[Path, Expected]) -> None:
    path, expected = office
    assert read(str(path)) == expected.packets


def test_our_own_figures_are_those_that_were_generated(office: tuple[Path, Expected]) -> None:
    path, expected = office
    found = json.loads(once(ours(path)).output)
    check(found, expected)
    with pytest.raises(Mismatch, match="talk_ms"):
        check({**found, "talk_ms": found["talk_ms"] + 1}, expected)
