"""Each collector's `sample.toml` is a `[[source]]` that loads as it stands."""

from pathlib import Path

import pytest

from agent.config.loading import parse
from collectors.registry import KINDS

COLLECTORS = Path(__file__).resolve().parents[3] / "collectors"
SITE = '[site]\nid = "0190a3c2-6f4b-7c11-9d5e-3a1f0c2b4d6e"\nprovider = "example"\n'


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_of_a_kind_is_a_correct_source(kind: str) -> None:
    path = COLLECTORS / kind / "sample.toml"
    config = parse(SITE + path.read_text("utf-8"), path, KINDS)
    assert {source.kind for source in config.sources} == {kind}
