"""The kind's own papers say what there is: each key, each counter, and a sample that is valid as it stands."""

import tomllib
from pathlib import Path

import msgspec

import collectors.hep
from collectors.contract import Context
from collectors.hep.kind import KIND

FOLDER = Path(collectors.hep.__file__).parent
README = (FOLDER / "README.md").read_text()
SAMPLE = (FOLDER / "sample.toml").read_text()


def keys(text: str) -> dict[str, object]:
    """The keys of the sample's only source, as its struct wants them."""
    (table,) = tomllib.loads(text)["source"]
    assert table.pop("name")
    return dict(table)


def test_the_sample_is_valid_as_it_stands() -> None:
    assert msgspec.convert(keys(SAMPLE), KIND.config) == KIND.config()


def test_the_sample_shows_every_key_and_is_valid_with_all_of_them() -> None:
    every = "\n".join(
        line.removeprefix("# ") if "=" in line and line.startswith("# ") else line for line in SAMPLE.splitlines()
    )
    assert {*keys(every)} == {"kind", *KIND.config.__struct_fields__}
    assert msgspec.convert(keys(every), KIND.config)


def test_every_key_is_documented() -> None:
    for key in KIND.config.__struct_fields__:
        assert f"`{key}`" in README


def test_every_counter_is_documented(tmp_path: Path) -> None:
    context = Context(name="pbx", folder=tmp_path, clock_ms=lambda: 0)
    counters = {*KIND.open(KIND.config(), context).probe().counters, "kernel_drops"}
    for name in counters:
        assert name.startswith("sip_") or f"| `{name}` |" in README
    assert "datagrams" in counters
