"""`pegcount verify` and `pegcount export`: does the ledger's history prove itself, and a period of it in a file that does."""

import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import click
import msgspec

from agent.cli.common import EX_IOERR, EX_NOINPUT, EX_OK, EX_TROUBLE, config_option, in_words, loaded
from agent.config import Config
from agent.ledger.errors import LedgerError
from agent.metering.days import day_bounds
from uplink.enrolment import PlatformKey
from uplink.proof import Claim, Mismatch, Proved
from uplink.succession import trusted_with

if TYPE_CHECKING:
    from agent.ledger.proving import Period, Taker


_DAY = click.DateTime(["%Y-%m-%d"])


def period_options(command: Callable[..., Any]) -> Callable[..., Any]:
    until = click.option("--to", "until", type=_DAY, metavar="DAY", help="Up to this day, it included.")
    return click.option(
        "--from", "since", type=_DAY, metavar="DAY", help="Only what was recorded from this day on, in site.timezone."
    )(until(command))


@click.command()
@period_options
@click.option("--json", "as_json", is_flag=True, help="The outcome as one JSON object.")
@click.option(
    "--platform-key",
    "keys",
    multiple=True,
    metavar="ID",
    help="Take receipts only by this key (the platform's GET /v1/keys tells its id) and those that it introduced; else those"
    " of the enrolment, or any.",
)
@click.option(
    "--against",
    "others",
    multiple=True,
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="An earlier export of this site, or the answer of the platform's GET /v1/sites/SITE/receipts: it must be all there.",
)
@config_option
@click.argument("export", required=False, metavar="[EXPORT]", type=click.Path(path_type=Path))
def verify(
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
    keys: tuple[str, ...],
    others: tuple[Path, ...],
    config_path: str,
    export: Path | None,
) -> None:
    """Work the chain of events and the platform's receipts out again and tell whether they hold.

    Reads the ledger, be the agent running or not, or the file EXPORT, which `pegcount export` wrote, on any machine and
    without a configuration. The ledger has to reach as far as the last head that the platform receipted, which is kept beside
    the machine's key, and as far as what --against names. Prints the epochs with their last chain value and the sums by meter,
    or the first thing that does not fit: where, what was expected and what was found. Ends with 0 where all fits, with 1
    where something does not, and with 66 or 74 where there is nothing to read or it cannot be read.
    """
    if export and (since or until or others):
        raise click.UsageError("an export is verified whole: --from, --to and --against are for the ledger")
    try:
        if export:
            proved = _of_export(export, frozenset(keys))
        else:
            config = loaded(config_path)
            known = _enrolled_keys(config)
            trusted = trusted_with(frozenset(keys), known) or frozenset(each.key for each in known)
            claims = [*_kept(config), *(claim for path in others for claim in _claimed(config, path, trusted))]
            proved = _proved(config, _period(config, since, until), trusted=trusted, claims=claims)
    except Mismatch as mismatch:
        click.echo(_json(holds=False, mismatch=mismatch.told()) if as_json else f"does not hold: {mismatch}")
        sys.exit(EX_TROUBLE)
    click.echo(_json(holds=True, proved=proved) if as_json else in_lines(proved))
    if not (as_json or export or proved.against):
        click.echo("held against: nothing outside of the ledger")
    sys.exit(EX_OK)


@click.command()
@period_options
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The file to write; SITE.jsonl.gz unless given.",
)
@config_option
def export(since: datetime | None, until: datetime | None, output: Path | None, config_path: str) -> None:
    """Write the events of a period, with what proves them, into one file for `pegcount verify`.

    Gzip of JSON lines: events are the lines as they were stored and sent. The same history gives the same bytes. What does not
    prove itself is not exported: then it ends with 1 as `pegcount verify` does, and with 74 where the file cannot be written.
    """
    from agent.service.state import program_version
    from uplink import export as exports

    config = loaded(config_path)
    output = output or Path(f"{config.site.id}.jsonl.gz")
    period = _period(config, since, until)
    title = exports.Title(
        site=config.site.id,
        program=program_version(),
        since_ms=period.since_ms,
        until_ms=period.until_ms if until else 0,
    )
    try:
        with _appearing(output) as file:
            writer, known = exports.Writer(file, title), _enrolled_keys(config)
            writer.keys(known)
            proved = _proved(config, period, writer, frozenset(each.key for each in known), _kept(config))
            writer.end(proved)
    except Mismatch as mismatch:
        click.echo(f"pegcount: not exported, for the ledger does not prove itself: {mismatch}", err=True)
        sys.exit(EX_TROUBLE)
    except OSError as error:
        _fail(EX_IOERR, in_words(error))
    click.echo(f"{output}\n{in_lines(proved)}")


@contextmanager
def _appearing(output: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when it is whole and on the disk, for its owner's eyes: the numbers of callers are in it."""
    descriptor, name = tempfile.mkstemp(suffix=".part", prefix=f".{output.name}.", dir=output.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(output)
    finally:
        Path(name).unlink(missing_ok=True)


def in_lines(proved: Proved) -> str:
    lines = [f"site {proved.site}: {proved.events:,} events, all hold"]
    if not proved.spans:
        lines.append("nothing was recorded in this period, or what was is pruned")
    for span in proved.spans:
        lines.append(f"epoch {span.epoch}: events {span.first} to {span.last}, chain {span.chain.hex()}")
    if proved.receipts:
        through = f"the last one for event {proved.receipted}" if proved.receipted else "none in the last epoch"
        lines.append(f"receipts: {proved.receipts:,} by key {', '.join(proved.keys)}, {through}")
    else:
        lines.append("receipts: none")
    if proved.against:
        lines.append(f"held against: {', '.join(proved.against)}")
    lines += [f"{each.meter}: {each.quantity} {each.unit} in {each.events:,} events" for each in proved.sums]
    return "\n".join(lines)


def _json(**outcome: object) -> str:
    return msgspec.json.encode(outcome).decode()


def _kept(config: Config) -> list[Claim]:
    """Of the last head, where there is one of this site. Read before the ledger, so that it is not newer."""
    from uplink.identity import identity_folder
    from uplink.witness import WitnessUnreadable, read

    try:
        last = read(identity_folder(config.ledger.path))
    except WitnessUnreadable as error:
        _fail(EX_IOERR, str(error))
    return last.claims() if last and last.site == config.site.id else []


def _claimed(config: Config, path: Path, trusted: frozenset[str]) -> list[Claim]:
    from agent.cli.against import NotComparable, claims_of

    try:
        return claims_of(path, config.site.id, trusted)
    except OSError as error:
        _fail(EX_NOINPUT, in_words(error))
    except NotComparable as error:
        _fail(EX_NOINPUT, str(error))


def _enrolled_keys(config: Config) -> tuple[PlatformKey, ...]:
    """All that the platform is known to have had."""
    from uplink.identity import identity_folder, read_enrolment
    from uplink.line import CredentialsUnreadable

    try:
        enrolment = read_enrolment(identity_folder(config.ledger.path))
    except CredentialsUnreadable as error:
        _fail(EX_IOERR, str(error))
    return enrolment.all_keys if enrolment else ()


def _of_export(path: Path, trusted: frozenset[str]) -> Proved:
    from uplink.export import AnotherFormat, check

    try:
        with path.open("rb") as file:
            return check(file, trusted).proved
    except OSError as error:
        _fail(EX_NOINPUT, in_words(error))
    except AnotherFormat as error:
        _fail(EX_NOINPUT, f"{path}: {error}")


def _period(config: Config, since: datetime | None, until: datetime | None) -> "Period":
    from agent.ledger.proving import MS_MAX, Period

    def bounds(day: datetime) -> tuple[int, int]:
        return day_bounds(day.date().isoformat(), config.site.timezone)

    return Period(since_ms=bounds(since)[0] if since else 0, until_ms=bounds(until)[1] if until else MS_MAX)


def _proved(
    config: Config,
    period: "Period",
    taker: "Taker | None" = None,
    trusted: frozenset[str] = frozenset(),
    claims: Sequence[Claim] = (),
) -> Proved:
    from agent.ledger.proving import prove
    from agent.ledger.store import open_for_reading

    try:
        db = open_for_reading(Path(config.ledger.path))
    except LedgerError as error:
        _fail(EX_NOINPUT, f"{error}. {error.hint}")
    try:
        return prove(db, config.site.id, period, taker, trusted, claims)
    except sqlite3.Error as error:
        _fail(EX_IOERR, f"{config.ledger.path}: {error}")
    finally:
        db.close()


def _fail(status: int, text: str) -> NoReturn:
    click.echo(f"pegcount: {text}", err=True)
    sys.exit(status)
