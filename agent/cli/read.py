"""`pegcount read`: what files would give, storing nothing."""

import sys
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path

import click
import msgspec
from msgspec import Struct, inspect, structs

from agent.cli.common import EX_NOINPUT, EX_OK, EX_TROUBLE, loaded
from agent.config import Config
from agent.metering.rules import Metering, Site
from collectors.contract import Batch, Kind, SourceError

SNIFFED_BYTES = 4096
"""Enough for a capture's header or the first lines of a file of records."""
MEDIA = ("off", "rtcp", "rtp")
NO_SITE = "00000000-0000-0000-0000-000000000000"


@click.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line, with its kind.")
@click.option(
    "--kind", "kind_name", metavar="KIND", help="The kind of source; guessed from the file unless it is given."
)
@click.option("--config", "config_path", metavar="FILE", help="Meter by this configuration's rules.")
@click.option(
    "--timezone", metavar="ZONE", help="Time zone of the site, and of the files' own times, such as Europe/Berlin."
)
@click.option(
    "--media",
    type=click.Choice(MEDIA),
    help="What of a capture's media is read; without --config: as much as the kind of file can show.",
)
def read(
    files: tuple[Path, ...],
    as_json: bool,
    kind_name: str | None,
    config_path: str | None,
    timezone: str | None,
    media: str | None,
) -> None:
    """Show the calls and micro-transactions that FILEs of call records or captures would give.

    Nothing is stored and nothing is sent. Several files of one kind are read as one source, in the order given. With
    --json each line is an object whose `kind` is `call`, `registration`, `feature_use`, `risk`, `reject` or `event`. Ends with
    0, with 1 where something was rejected, and with 66 where a file cannot be read.
    """
    from agent.cli.read_output import Counts, json_lines, table_lines
    from agent.ledger.preview import preview
    from collectors.registry import KINDS

    config = loaded(config_path) if config_path else None
    site, metering = _rules(config, timezone)
    counts = Counts()
    lines = json_lines if as_json else table_lines
    try:
        for kind, paths in _by_kind(files, kind_name, KINDS):
            found = preview(
                site, metering, kind.name, kind, _batches(kind, paths, _settings(kind, paths, config, timezone, media))
            )
            for line in lines(counts.counted(found), kind.name, site.timezone):
                click.echo(line)
    except (OSError, SourceError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        click.echo(f"pegcount read: {_in_words(error)}", err=True)
        sys.exit(EX_NOINPUT)
    click.echo(counts.summary(), err=True)
    sys.exit(EX_TROUBLE if counts.rejects else EX_OK)


def _rules(config: Config | None, timezone: str | None) -> tuple[Site, Metering]:
    """The configuration's rules, or the defaults for a site that is none."""
    site = config.site if config else Site(id=NO_SITE, provider="none")
    if timezone is not None:
        from agent.config.semantics import timezone_fault

        if fault := timezone_fault(timezone):
            raise click.BadParameter(fault, param_hint="--timezone")
        site = structs.replace(site, timezone=timezone)
    return site, config.metering if config else Metering()


def _by_kind(files: Iterable[Path], wanted: str | None, kinds: Mapping[str, Kind]) -> list[tuple[Kind, list[Path]]]:
    """Each kind with its files, in the order given."""
    readable = {name: kind for name, kind in kinds.items() if kind.read is not None}
    if wanted is not None and wanted not in readable:
        choices = ", ".join(sorted(readable))
        raise click.BadParameter(f"{wanted!r} is no kind that reads files; there are {choices}", param_hint="--kind")
    groups: dict[str, list[Path]] = {}
    for path in files:
        head = _head(path)
        groups.setdefault(wanted or _sniffed(path, head, readable), []).append(path)
    return [(readable[name], paths) for name, paths in groups.items()]


def _head(path: Path) -> bytes:
    """The first bytes; a file that is not to be read is told before anything is printed."""
    try:
        with path.open("rb") as file:
            return file.read(SNIFFED_BYTES)
    except OSError as error:
        click.echo(f"pegcount read: {_in_words(error)}", err=True)
        sys.exit(EX_NOINPUT)


def _sniffed(path: Path, head: bytes, kinds: Mapping[str, Kind]) -> str:
    """The kind that is surest that the file is its own."""
    sure = {name: kind.sniff(path.name, head) for name, kind in kinds.items() if kind.sniff is not None}
    best = max(sure, key=lambda name: sure[name], default="")
    if best and sure[best] > 0:
        return best
    what = "looks like nothing that can be read" if head else "is empty"
    click.echo(f"pegcount read: {path} {what}; --kind names its kind ({', '.join(sorted(kinds))})", err=True)
    sys.exit(EX_NOINPUT)


def _settings(kind: Kind, paths: list[Path], config: Config | None, timezone: str | None, media: str | None) -> Struct:
    """The settings of the configuration's first source of this kind, or the kind's defaults; options outweigh both."""
    own = next((one.config for one in config.sources if one.kind == kind.name), None) if config else None
    settings = own if own is not None else _defaults(kind, paths[0])
    readable = _media_of(kind)
    if media is not None and media in readable:
        settings = structs.replace(settings, media=media)
    elif own is None and readable:
        settings = structs.replace(settings, media=readable[-1])
    if timezone is not None and hasattr(settings, "timezone"):
        settings = structs.replace(settings, timezone=timezone)
    return settings


def _media_of(kind: Kind) -> list[str]:
    """What the kind can read of calls' media, the most last."""
    known = [inspect.type_info(field.type) for field in structs.fields(kind.config) if field.encode_name == "media"]
    values = {value for info in known if isinstance(info, inspect.LiteralType) for value in info.values}
    return [setting for setting in MEDIA if setting in values]


def _defaults(kind: Kind, path: Path) -> Struct:
    needed = {field.encode_name for field in structs.fields(kind.config) if field.required}
    try:
        return msgspec.convert({"path": str(path)} if "path" in needed else {}, kind.config)
    except msgspec.ValidationError as error:
        raise click.UsageError(f"the kind {kind.name} has no defaults to read by ({error}); use --config") from error


def _batches(kind: Kind, paths: Iterable[Path], settings: Struct) -> Iterator[Batch]:
    assert kind.read is not None
    return chain.from_iterable(kind.read(path, settings) for path in paths)


def _in_words(error: OSError | SourceError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error)
    return f"{error} ({error.hint})" if error.hint else str(error)
