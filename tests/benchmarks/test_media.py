"""The benchmark's own capture holds what it says, and a wrong figure is no result."""

import json
from pathlib import Path

import pytest

from benchmarks.measure import once
from benchmarks.media import check, generate, ours
from benchmarks.report import Mismatch


def test_our_own_figures_are_those_that_were_generated(tmp_path: Path) -> None:
    path = tmp_path / "media.pcap"
    packets = generate(path, 3, 2)
    found = json.loads(once(ours(path)).output)
    check(found, 3, packets)
    with pytest.raises(Mismatch, match="octets"):
        check({**found, "octets": 1}, 3, packets)
