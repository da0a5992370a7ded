"""Each collector's `sample.toml` is a `[[source]]` that loads as it stands, and so is each `[[destination]]` of its page."""

import re
from pathlib import Path

import pytest

from agent.config.loading import parse
from collectors.registry import KINDS

COLLECTORS = Path(__file__).resolve().parents[3] / "collectors"
DESTINATIONS = Path(__file__).resolve().parents[3] / "docs/destinations.md"
BLOCK = re.compile(r"^```toml\n(\[\[destination\]\].*?)^```", re.MULTILINE | re.DOTALL)
SITE = '[site]\nid = "0190a3c2-6f4b-7c11-9d5e-3a1f0c2b4d6e"\nprovider = "example"\n'


@pytest.mark.parametrize("kind", KINDS)
def test_the_sample_of_a_kind_is_a_correct_source(kind: str) -> None:
    path = COLLECTORS / kind / "sample.toml"
    config = parse(SITE + path.read_text("utf-8"), path, KINDS)
    assert {source.kind for source in config.sources} == {kind}


@pytest.mark.parametrize("block", BLOCK.findall(DESTINATIONS.read_text("utf-8")), ids=lambda block: block.split('"')[1])
def test_a_destination_of_the_page_is_a_correct_one(block: str) -> None:
    config = parse(SITE + block, DESTINATIONS, KINDS)
    assert len(config.destinations) == 1
