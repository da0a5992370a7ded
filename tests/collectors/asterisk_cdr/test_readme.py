"""The README says what is there: its configuration is the sample file, and it names every counter and reason."""

import re
import tomllib
from pathlib import Path

import msgspec

from collectors.asterisk_cdr import collect, conference, decode
from collectors.asterisk_cdr.config import AsteriskCdrConfig
from collectors.contract import Context
from collectors.io import tail

FOLDER = Path(collect.__file__).parent
README = (FOLDER / "README.md").read_text()


def test_the_readmes_configuration_is_the_sample_file() -> None:
    assert f"```toml\n{(FOLDER / 'sample.toml').read_text()}```" in README


def test_the_sample_names_every_setting_with_its_default() -> None:
    text = re.sub(r"^# (\w+ = )", r"\1", (FOLDER / "sample.toml").read_text(), flags=re.M)
    (table,) = tomllib.loads(text)["source"]
    name = table.pop("name")
    config = msgspec.convert({**table, "trunks": []}, AsteriskCdrConfig, strict=False)
    assert (name, config) == ("pbx", AsteriskCdrConfig(path=config.path))
    assert set(table) - {"kind"} == set(AsteriskCdrConfig.__struct_fields__)


def test_every_counter_is_explained() -> None:
    context = Context(name="pbx", folder=FOLDER, clock_ms=lambda: 0)
    probe = collect.AsteriskCdrCollector(AsteriskCdrConfig(path="/nowhere"), context).probe()
    assert {counter for counter in probe.counters if f"| `{counter}` |" not in README} == set()


def test_every_reason_of_a_reject_is_explained() -> None:
    code = "".join(Path(str(module.__file__)).read_text() for module in (decode, tail))
    reasons = set(re.findall(r'(?:Fault|_tell)\(\s*"(\w+)"', code))
    assert len(reasons) >= 10
    assert {reason for reason in reasons if f"`{reason}`" not in README} == set()


def test_the_bounds_are_those_of_the_code() -> None:
    assert f"{decode.LINES_REMEMBERED} different lines" in README
    assert f"{conference.REMEMBERED_MAX} participants" in README
    assert f"{tail.LINE_MAX_BYTES // 1024} KiB a line; {tail.CHUNK_BYTES // 1024} KiB a batch" in README
    assert tail.LINE_MAX_BYTES == decode.LINE_MAX_BYTES
