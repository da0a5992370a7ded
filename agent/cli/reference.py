"""The reference pages, written from the code: `python -m agent.cli.reference [FOLDER]` writes docs/reference.

Every page is made of the table that the program itself works by: click's commands, the configuration's structs, the
metrics, the problem codes, the catalogue of meters. A test compares the files with what is made here.
"""

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import click
from msgspec import NODEFAULT, Struct, inspect, structs

from agent.cli.main import main
from agent.config import meanings
from agent.config.tables import Ledger, Log, Policy, Web
from agent.config.wording import describe
from agent.metering.catalogue import CLASSES, FEATURES, METERS, RISKS, UNITS
from agent.metering.rules import DialPlan, Level, Metering, Site
from agent.rating.card import CONDITIONS, Price, Rates, Tier
from agent.service.problems import CODES
from agent.web.metrics import METRICS
from collectors.registry import KINDS
from uplink.destinations import PLATFORMS, TAKERS
from uplink.problems import CATALOGUE
from uplink.receiver.metrics import METRICS as RECEIVER_METRICS
from uplink.receiver.metrics import PREFIX
from uplink.taker import Names

MADE = "<!-- made by `python -m agent.cli.reference`; do not edit -->\n"


def cli_page() -> str:
    """Every command with its usage, its words and its options."""
    top = click.Context(main, info_name="pegcount", **main.context_settings)
    parts = [
        "# Command line\n",
        MADE,
        f"{_plain_help(main)} Every command has `-h` and `--help`.\n",
        *_options(top, main),
    ]
    for name, command in main.commands.items():
        parts += _command(top, name, command, 2)
    return "\n".join(parts) + "\n"


def _command(parent: click.Context, name: str, command: click.Command, level: int) -> Iterator[str]:
    """One command, and those within it, each a heading further in."""
    context = click.Context(command, info_name=name, parent=parent)
    usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
    yield from (f"\n{'#' * level} {context.command_path}\n", f"    {usage}\n", _plain_help(command), "")
    yield from _options(context, command)
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _command(context, inner_name, inner, level + 1)


def _plain_help(command: click.Command) -> str:
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in (command.help or "").split("\n\n"))


def _options(context: click.Context, command: click.Command) -> Iterator[str]:
    options = [param for param in command.params if isinstance(param, click.Option)]
    records = [record for option in options if (record := option.get_help_record(context))]
    yield from _table(("option", "meaning"), ((f"`{option}`", text) for option, text in records))


def configuration_page() -> str:
    """Every table and key, with type, default and meaning."""
    parts = [
        "# Configuration\n",
        MADE,
        "One TOML file, `/etc/pegcount/pegcount.toml` unless `--config` or `PEGCOUNT_CONFIG` names another. Unknown keys are "
        "refused; `pegcount check` tells everything that is wrong, with line and column. "
        "`packaging/pegcount.toml` is an example to begin with.\n",
    ]
    for title, name, struct in _config_tables():
        parts += [f"## {title}\n", f"{meanings.TABLES[name]}\n", *_keys(struct, name), ""]
        if name == "source":
            parts += list(_source_kinds())
        if name == "destination.names":
            parts += list(_destination_kinds())
    return "\n".join(parts).rstrip() + "\n"


class SourceTable(Struct):
    """The two keys that every `[[source]]` has; the loader takes them out before the kind's own."""

    name: str
    kind: str


class DestinationTable(Struct):
    """The two keys that every `[[destination]]` has."""

    name: str
    kind: str


def _config_tables() -> Iterator[tuple[str, str, type[Struct]]]:
    """(heading, name, struct) of each table."""
    yield "`[site]`", "site", Site
    yield "`[site.dialplan]`", "site.dialplan", DialPlan
    yield "`[metering]`", "metering", Metering
    yield "`[[metering.levels]]`", "metering.levels", Level
    yield "`[ledger]`", "ledger", Ledger
    yield "`[[source]]`", "source", SourceTable
    for kind in PLATFORMS.values():
        yield "`[uplink]`", "uplink", kind.settings
    yield "`[[destination]]`", "destination", DestinationTable
    yield "`[destination.names]`", "destination.names", Names
    yield "`[rates]`", "rates", Rates
    yield "`[[rates.price]]`", "rates.price", Price
    yield "`rates.price.tiers`", "rates.price.tiers", Tier
    yield "`[web]`", "web", Web
    yield "`[policy]`", "policy", Policy
    yield "`[log]`", "log", Log


def _source_kinds() -> Iterator[str]:
    for name, kind in KINDS.items():
        yield f'### kind = "{name}"\n'
        yield f"[README](../../collectors/{name}/README.md) tells what it hears, and how.\n"
        yield from _keys(kind.config, f"source.{name}")
        yield ""


def _destination_kinds() -> Iterator[str]:
    for name, kind in TAKERS.items():
        yield f'### destination of kind = "{name}"\n'
        yield f"[Destinations](../destinations.md#{name}) tells what it takes, and what its answer is worth.\n"
        yield from _keys(kind.settings, f"destination.{name}")
        yield ""


def _keys(struct: type[Struct], table: str) -> Iterator[str]:
    taken = ("name", "kind") if table.startswith("source.") else ()
    fields = [field for field in structs.fields(struct) if field.encode_name not in taken]
    rows = ((f"`{f.encode_name}`", _type(f.type), _default(f), meanings.meaning(table, f.encode_name)) for f in fields)
    yield from _table(("key", "is", "default", "meaning"), rows)


def _type(kind: Any) -> str:
    info = inspect.type_info(kind)
    item = info.item_type if isinstance(info, inspect.VarTupleType) else info
    return "tables" if isinstance(item, inspect.StructType) and item is not info else describe(kind)


def _default(field: structs.FieldInfo) -> str:
    if field.required:
        return "**required**"
    value = field.default if field.default is not NODEFAULT else field.default_factory()
    return "" if isinstance(value, Struct) or value in ("", (), {}, None) else f"`{_toml(value)}`"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def metrics_page() -> str:
    """Every metric with its type, labels and meaning."""
    head = ("metric", "type", "labels", "meaning")
    rows = ((f"`{one.name}`", one.type, ", ".join(f"`{label}`" for label in one.labels), one.help) for one in METRICS)
    text = (
        "The status page's server answers `/metrics` with these, in Prometheus' text format. All are drawn from the snapshot "
        "that the page itself shows; a metric without a value (no source, no uplink) is left out.\n"
    )
    central = (
        (f"`{PREFIX}{one.name}`", one.type, f"`{one.label}`" if one.label else "", one.help) for one in RECEIVER_METRICS
    )
    central_text = (
        "`/metrics` of a receiver needs no login: it has sums only, and names no site. What the store must be asked for "
        "(from `forward_behind` on, but `store_up`) is left out while it cannot tell. [Rules for alerts](../fleet.md#alerts).\n"
    )
    parts = ["# Metrics\n", MADE, "## Of the agent\n", text, *_table(head, rows)]
    return "\n".join([*parts, "", "## Of the receiver\n", central_text, *_table(head, central)]) + "\n"


def problems_page() -> str:
    """Every problem code of the agent and of the uplink."""
    own = ((f"`{code}`", one.severity, f"{one.title}. {one.meaning}", one.hint) for code, one in CODES.items())
    sent = ((f"`{code}`", one.severity, one.text, one.hint) for code, one in CATALOGUE.items())
    head = ("code", "severity", "what it is", "what to do")
    text = (
        "What the status page, `pegcount status` and the metric `pegcount_problems` call by a code. A code keeps its meaning "
        "from version to version. Whatever the problem, nothing is dropped that was not acknowledged.\n"
    )
    parts = ["# Problems\n", MADE, text, "## Of the agent\n", *_table(head, own), "", "## Of the uplink\n"]
    critical = "\nThe page shows `critical` as an error: numbers are in doubt, and a person must look.\n"
    return "\n".join([*parts, *_table(head, sent), critical]).rstrip() + "\n"


def meters_page() -> str:
    """The catalogue: meters, features and call classes."""
    meters = ((f"`{name}`", unit, meaning) for name, (unit, meaning) in METERS.items())
    priced = (
        (f"`{name}`", f"`{unit}`", ", ".join(f"`{key}`" for key in CONDITIONS.get(name, ())))
        for name, unit in UNITS.items()
    )
    risks = ((f"`{code}`", meaning) for code, meaning in RISKS.items())
    features = ((f"`{code}`", meaning) for code, meaning in FEATURES.items())
    classes = ((f"`{code}`", meaning) for code, meaning in CLASSES.items())
    parts = [
        "# Meters\n",
        MADE,
        "## Meters\n",
        *_table(("meter", "unit", "one event for"), meters),
        "\n## What can have a price\n",
        "Meters of a [rate card](../metering.md#rate-card), their units, and what their uses can be told apart by there. A "
        "seat-month is worked out of the seat-days; of meters that are not in the table above this version makes no events.\n",
        *_table(("meter", "unit", "conditions"), priced),
        "\n## Risks\n",
        "What a technician should look at: events of their own, each `1 occurrence`, with `billable` = `no`. `origin` is the "
        "address that it comes from, `times` how often it was seen from the event's time to `until`, `account` what it was "
        "after. Never billed.\n",
        *_table(("event", "what happened"), risks),
        "\n## Features\n",
        "The codes of `feature.use`, and of the levels in the configuration.\n",
        *_table(("code", "what happened"), features),
        "\n## Call classes\n",
        *_table(("class", "what it is"), classes),
    ]
    return "\n".join(parts) + "\n"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    if lines:
        yield "| " + " | ".join(head) + " |"
        yield "|" + "---|" * len(head)
        yield from lines


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "configuration.md": configuration_page,
    "metrics.md": metrics_page,
    "problems.md": problems_page,
    "meters.md": meters_page,
}


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/reference"))
