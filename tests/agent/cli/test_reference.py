"""The reference pages are what the code says now, and nothing of the code is missing from them."""

import re
import tomllib

import pytest
from msgspec import structs

from agent.cli.main import main
from agent.cli.reference import PAGES, DestinationTable, SourceTable
from agent.config import Ledger, Log, Web, meanings
from agent.config.tables import Policy
from agent.metering.catalogue import CLASSES, FEATURES, METERS, UNITS
from agent.metering.rules import DialPlan, Level, Metering, Site
from agent.rating.card import Price, Rates, Tier
from agent.service.problems import CODES
from agent.web.metrics import METRICS
from collectors.registry import KINDS
from tests.agent.cli.commands import CHECKOUT
from uplink.destinations import PLATFORMS, TAKERS
from uplink.problems import CATALOGUE
from uplink.receiver.metrics import METRICS as RECEIVER_METRICS
from uplink.receiver.metrics import PREFIX
from uplink.taker import Names

REFERENCE = CHECKOUT / "docs/reference"
STRUCTS = {
    "site": Site,
    "site.dialplan": DialPlan,
    "metering": Metering,
    "metering.levels": Level,
    "ledger": Ledger,
    "source": SourceTable,
    "web": Web,
    "log": Log,
    "policy": Policy,
    "rates": Rates,
    "rates.price": Price,
    "rates.price.tiers": Tier,
    **{f"source.{name}": kind.config for name, kind in KINDS.items()},
    "uplink": PLATFORMS["pegcount"].settings,
    "destination": DestinationTable,
    "destination.names": Names,
    **{f"destination.{name}": kind.settings for name, kind in TAKERS.items()},
}


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_as_the_code_makes_it(name: str) -> None:
    assert (REFERENCE / name).read_text("utf-8") == PAGES[name](), "run python -m agent.cli.reference"


def text(name: str) -> str:
    return (REFERENCE / name).read_text("utf-8")


def test_every_command_and_option_is_documented() -> None:
    for name, command in main.commands.items():
        assert f"## pegcount {name}" in text("cli.md")
        for param in command.params:
            if param.param_type_name == "option":
                assert all(option in text("cli.md") for option in param.opts)


def test_every_key_has_a_meaning_and_every_meaning_a_key() -> None:
    keys = {(table, field.encode_name) for table, struct in STRUCTS.items() for field in structs.fields(struct)}
    told = {meanings.meaning(table, key) for table, key in keys}
    assert told == set(meanings.KEYS.values())
    for _, key in keys:
        assert f"| `{key}` |" in text("configuration.md")


@pytest.mark.parametrize(
    ("page", "names"),
    [
        ("metrics.md", [metric.name for metric in METRICS]),
        ("metrics.md", [PREFIX + metric.name for metric in RECEIVER_METRICS]),
        ("problems.md", [*CODES, *CATALOGUE]),
        ("meters.md", [*METERS, *FEATURES, *CLASSES, *UNITS]),
    ],
)
def test_every_name_is_documented(page: str, names: list[str]) -> None:
    assert [name for name in names if f"| `{name}` |" not in text(page)] == []


def test_the_example_file_shows_every_key_of_the_agents_own_tables() -> None:
    example = (CHECKOUT / "packaging/pegcount.toml").read_text("utf-8")
    for table in ("site", "site.dialplan", "metering", "ledger", "web", "log"):
        body = re.split(r"^# ?\[|^\[", example.partition(f"[{table}]\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
        fields = {field.encode_name for field in structs.fields(STRUCTS[table])} - {"dialplan", "levels"}
        assert {key for key in fields if not re.search(rf"^(# )?{key} = ", body, re.MULTILINE)} == set(), table


def test_the_example_file_is_right_with_every_line_switched_on() -> None:
    from agent.config.loading import parse

    example = (CHECKOUT / "packaging/pegcount.toml").read_text("utf-8")
    lines = [re.sub(r"^# ?(?=\[|[a-z_]+ = )", "", line) for line in example.splitlines()]
    tree = tomllib.loads("\n".join(lines))
    assert {"uplink", "source", "metering"} <= set(tree)
    parse("\n".join(lines), CHECKOUT / "packaging/pegcount.toml", KINDS)
