"""TOML file -> Config, or all that is wrong with it.

Nothing is opened but the file itself: no ledger, no network, no token file. What a token file holds is read when it is
needed, and never stands in a finding.
"""

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

import msgspec
from msgspec import Struct

from agent.config.findings import ConfigError, Fault, Finding, Path, dotted
from agent.config.places import Places
from agent.config.semantics import semantic_faults
from agent.config.tables import Config, Destination, Ledger, Log, Policy, Source, Web
from agent.config.validation import faults, missing_key, unknown_key, wrong_value
from agent.config.wording import near_miss, shown
from agent.metering.rules import Metering, Site
from agent.rating.card import Rates
from collectors.contract import Kind
from uplink.destinations import PLATFORMS, TAKERS

FILE_MAX_BYTES = 1_048_576
"""A configuration is a few kilobytes; a file of more than a megabyte is something else, given by mistake."""

TABLES: dict[str, Any] = {
    "site": Site,
    "metering": Metering,
    "ledger": Ledger,
    "web": Web,
    "log": Log,
    "policy": Policy,
    "rates": Rates,
}
LISTS = {"source": "sources", "destination": "destinations"}
DESTINATION_SHAPES: dict[str, type[Any]] = {name: kind.settings for name, kind in TAKERS.items()}
PLATFORM_DEFAULT = "pegcount"
NAME = re.compile(r"[a-z0-9_-]{1,32}")
_SYNTAX_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def load(path: FilePath | str, kinds: Mapping[str, Kind] | None = None) -> Config:
    """Read and check the file. `kinds` are the kinds of source that there may be (default: all of the registry).

    Raises ConfigError with every error that was found; warnings come with the Config."""
    path = FilePath(path)
    text = _read(path)
    return parse(text, path, _registered() if kinds is None else kinds)


def parse(text: str, path: FilePath, kinds: Mapping[str, Kind]) -> Config:
    """The same for a text that has been read from `path`."""
    tree = tree_of(text, path)
    found = list(_tree_faults(tree, kinds))
    config = None if found else _config(tree, path, kinds)
    if config is not None:
        found = list(semantic_faults(config))
    findings = placed(found, text, path)
    if config is None or any(one.severity == "error" for one in findings):
        raise ConfigError(findings)
    return msgspec.structs.replace(config, warnings=findings, text=text)


def checked(tree: Mapping[str, Any], path: FilePath, kinds: Mapping[str, Kind] | None = None) -> Config | list[Fault]:
    """The same for a tree that is no file's: all of its errors, or what it says."""
    kinds = _registered() if kinds is None else kinds
    found = list(_tree_faults(tree, kinds))
    if found:
        return found
    config = _config(tree, path, kinds)
    return [fault for fault in semantic_faults(config) if fault.severity == "error"] or config


def _registered() -> Mapping[str, Kind]:
    from collectors.registry import KINDS

    return KINDS


def _read(path: FilePath) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError([_about_file(path, f"cannot be read: {error.strerror}")]) from error
    if len(data) > FILE_MAX_BYTES:
        raise ConfigError([_about_file(path, "is larger than one megabyte: this is no configuration file")])
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        finding = _about_file(path, "the text is not UTF-8", "save the file as UTF-8")
        raise ConfigError([msgspec.structs.replace(finding, line=line, column=column)]) from error


def _about_file(path: FilePath, message: str, hint: str = "") -> Finding:
    return Finding(file=str(path), line=0, column=0, path="", message=message, hint=hint)


def tree_of(text: str, path: FilePath) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError([_about_file(path, "no TOML of ours: brackets within brackets without end")]) from None
    except tomllib.TOMLDecodeError as error:
        found = _SYNTAX_PLACE.search(str(error))
        message = _SYNTAX_PLACE.sub("", str(error))
        line, column = (text.count("\n") + 1, 1) if not found or not found[1] else (int(found[1]), int(found[2]))
        finding = _about_file(path, f"no valid TOML: {message[:1].lower()}{message[1:]}", _syntax_hint(message))
        raise ConfigError([msgspec.structs.replace(finding, line=line, column=column)]) from error


def _syntax_hint(message: str) -> str:
    if message == "Invalid value":
        return 'texts stand in quotes: key = "text"'
    if "'\\n'" in message:
        return "the closing quote is missing on this line"
    return "a key or table may stand only once" if "overwrite" in message or "declare" in message else ""


def _tree_faults(tree: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Iterator[Fault]:
    tables = {**TABLES, "uplink": _uplink_type(tree)}
    known = {*tables, *LISTS}
    yield from (unknown_key((name,), known) for name in tree if name not in known)
    if "site" not in tree:
        yield Fault(path=(), message="the table `[site]` is missing", hint="it needs at least `id` and `provider`")
    for name in tables.keys() & tree.keys():
        if isinstance(tree[name], dict):
            yield from faults(tree[name], tables[name], (name,))
        else:
            yield wrong_value((name,), f"a table, `[{name}]`", tree[name])
    shapes = {name: kind.config for name, kind in kinds.items()}
    yield from _list_faults("source", tree.get("source", []), shapes)
    yield from _list_faults("destination", tree.get("destination", []), DESTINATION_SHAPES)


def _uplink_type(tree: Mapping[str, Any]) -> type[Struct]:
    """The settings of the kind of platform that `[uplink]` names; an unknown kind is told by the default's own check."""
    table = tree.get("uplink")
    kind = table.get("kind", PLATFORM_DEFAULT) if isinstance(table, dict) else PLATFORM_DEFAULT
    return PLATFORMS[kind if kind in PLATFORMS else PLATFORM_DEFAULT].settings


def _list_faults(table: str, listed: Any, shapes: Mapping[str, type[Struct]]) -> Iterator[Fault]:
    if isinstance(listed, list) and all(isinstance(one, dict) for one in listed):
        for index, one in enumerate(listed):
            yield from _entry_faults(one, (table, index), shapes)
    else:
        yield Fault(
            path=(table,), message=f"{LISTS[table]} are a list of tables", hint=f"write `[[{table}]]`", at="key"
        )


def _entry_faults(entry: dict[str, Any], path: Path, shapes: Mapping[str, type[Struct]]) -> Iterator[Fault]:
    if "name" not in entry:
        yield missing_key((*path, "name"), f"the name of the {path[0]}, unique in this file")
    elif not isinstance(entry["name"], str) or not NAME.fullmatch(entry["name"]):
        yield wrong_value((*path, "name"), "1 to 32 of `a`-`z`, `0`-`9`, `_` and `-`", entry["name"])
    choices = "one of " + ", ".join(f"`{name}`" for name in sorted(shapes))
    kind = entry.get("kind")
    if kind is None:
        yield missing_key((*path, "kind"), choices)
    elif not isinstance(kind, str) or kind not in shapes:
        yield Fault(
            path=(*path, "kind"),
            message=f"there is no kind of {path[0]} {shown(kind)}",
            hint=near_miss(str(kind), shapes) or choices,
        )
    else:
        yield from faults(_own_keys(entry, shapes[kind]), shapes[kind], path)


def _own_keys(table: dict[str, Any], shape: type[Struct]) -> dict[str, Any]:
    """The table as the kind's struct wants it: `name` and `kind` only where the struct itself has them."""
    fields = {field.encode_name for field in msgspec.structs.fields(shape)}
    struct = shape.__struct_config__
    own = {key: value for key, value in table.items() if key not in {"name", "kind"} - fields}
    return {**own, struct.tag_field: struct.tag} if struct.tag_field else own


def _config(tree: Mapping[str, Any], path: FilePath, kinds: Mapping[str, Kind]) -> Config:
    types = {**TABLES, "uplink": _uplink_type(tree)}
    tables = {name: msgspec.convert(tree[name], kind) for name, kind in types.items() if name in tree}
    sources = tuple(_source(table, kinds[table["kind"]]) for table in tree.get("source", []))
    destinations = tuple(_destination(table) for table in tree.get("destination", []))
    return Config(**tables, sources=sources, destinations=destinations, path=path)


def _source(table: dict[str, Any], kind: Kind) -> Source:
    config: Struct = msgspec.convert(_own_keys(table, kind.config), kind.config)
    return Source(name=table["name"], kind=kind.name, config=config)


def _destination(table: dict[str, Any]) -> Destination:
    shape = DESTINATION_SHAPES[table["kind"]]
    return Destination(table["name"], table["kind"], msgspec.convert(_own_keys(table, shape), shape))


def placed(found: Iterable[Fault], text: str, path: FilePath) -> tuple[Finding, ...]:
    places = Places(text)
    findings = []
    for fault in found:
        line, column = places.line_column(fault.path, fault.at)
        findings.append(
            Finding(
                file=str(path),
                line=line,
                column=column,
                path=dotted(fault.path),
                message=fault.message,
                hint=fault.hint,
                severity=fault.severity,
            )
        )
    return tuple(sorted(findings, key=lambda one: (one.line, one.column)))
