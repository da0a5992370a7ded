"""`pegcount receiver`: the platform's end."""

import asyncio
import re
import signal
import sys
from pathlib import Path

import click

from agent.cli.common import EX_CONFIG, EX_IOERR, EX_UNAVAILABLE, in_words
from agent.cli.receiver_limits import limits_options
from agent.config import Log, split_listen
from uplink.extras import missing
from uplink.line import CredentialsUnreadable
from uplink.receiver.fleet.meanings import OF_UPLINK, Meaning, Meanings
from uplink.receiver.forwarding import read_destinations
from uplink.receiver.limits import Limits
from uplink.receiver.proxies import LOOPBACK
from uplink.receiver.serve import ReceiverSettings, serve
from uplink.receiver.storage import StoreUnavailable
from uplink.receiver.tokens import EVERY_SITE, Tokens, token_hash

HASHED = re.compile(r"sha256:([0-9a-f]{64})")


@click.command(context_settings={"auto_envvar_prefix": "PEGCOUNT_RECEIVER"})
@click.option("--listen", default="127.0.0.1:8080", show_default=True, metavar="ADDRESS:PORT", help="Where to listen.")
@click.option(
    "--store",
    default="",
    metavar="STORE",
    help="Where it is kept: the path of an SQLite file, postgresql://USER@HOST/DATABASE, or nats://HOST (a log).",
)
@click.option("--books", default="", metavar="STORE", help="Where a log is booked by a consumer, and read from.")
@click.option("--consume", default="", metavar="NATS", help="Receive nothing: book this log into --into, for ever.")
@click.option(
    "--into", default="", metavar="STORE", help="Where --consume books: a path, postgresql:// or clickhouse://."
)
@click.option(
    "--consumer", default="books", show_default=True, metavar="NAME", help="Those of one name share the work."
)
@click.option("--trim", is_flag=True, help="Take what is booked out of the log, where nobody else consumes it.")
@click.option(
    "--token-file",
    metavar="PATH",
    help="A line per token: the token, or sha256: and its SHA-256; then the site's id that it is for, or * for all (also where"
    " nothing follows); then write for an agent's (where nothing follows), read for one that reads, operate for one that"
    " reads and asks sites to send again. Enrolled agents need none.",
)
@click.option("--certificate", default="", metavar="PATH", help="TLS certificate chain (PEM).")
@click.option("--key", default="", metavar="PATH", help="Its private key (PEM).")
@click.option(
    "--client-ca", default="", metavar="PATH", help="Authorities (PEM) of the certificates that agents may show."
)
@click.option("--public-url", default="", metavar="URL", help="Where agents reach it, where a proxy stands in front.")
@click.option(
    "--forward",
    default="",
    metavar="PATH",
    help="A TOML file of [[destination]] tables: where all sites' events go on to.",
)
@click.option(
    "--proxy",
    multiple=True,
    metavar="ADDRESS[/BITS]",
    help="A proxy in front, at which TLS ends: what it appends to X-Forwarded-For is taken for who asks. Repeatable.",
)
@click.option("--behind-proxy", is_flag=True, help="The same for a proxy on this machine (127.0.0.1, ::1).")
@limits_options
def receiver(
    listen: str,
    store: str,
    books: str,
    consume: str,
    into: str,
    consumer: str,
    trim: bool,
    token_file: str | None,
    certificate: str,
    key: str,
    client_ca: str,
    public_url: str,
    forward: str,
    proxy: tuple[str, ...],
    behind_proxy: bool,
    limits: Limits,
) -> None:
    """Receive what agents upload, and keep it.

    Each option can be given in the environment: `--max-events` as `PEGCOUNT_RECEIVER_MAX_EVENTS`, several
    values apart by spaces.

    Prints its address when it is ready. At SIGHUP it reads its certificates anew. Listens beyond this machine only
    with TLS, or behind a proxy that has it. Ends with 78 where an option or the token file is wrong, with 69 where
    the address is taken, and with 74 where the store cannot be used.
    """
    from agent.cli.logs import start_logging
    from agent.garbage import collect_seldom

    if bool(consume) == bool(store) or bool(consume) != bool(into):
        raise click.UsageError("give --store, or --consume and --into")
    if consume:
        start_logging(Log())
        sys.exit(asyncio.run(_consume(consume, into, consumer, trim)))
    try:
        host, port = split_listen(listen)
        settings = ReceiverSettings(
            database=store,
            books=books,
            tokens=read_tokens(Path(token_file)) if token_file else Tokens(write={}),
            host=host,
            port=port,
            certificate=certificate,
            key=key,
            proxies=(*proxy, *(LOOPBACK if behind_proxy else ())),
            limits=limits,
            meanings=_meanings(),
            client_ca=client_ca,
            public_url=public_url,
            forwards=read_destinations(Path(forward)) if forward else (),
        )
        for file in filter(None, (certificate, key, client_ca)):
            Path(file).open("rb").close()
        settings.tls()
    except (OSError, ValueError) as error:
        click.echo(f"pegcount receiver: {in_words(error)}", err=True)
        sys.exit(EX_CONFIG)
    start_logging(Log())
    collect_seldom()
    sys.exit(asyncio.run(_run(settings)))


def read_tokens(path: Path) -> Tokens:
    """Raises OSError, and ValueError with the line that is wrong; no message shows a token."""
    grants: dict[str, dict[str, str]] = {"write": {}, "read": {}, "operate": {}}
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        token, site, right, *more = [*words, *(EVERY_SITE, "write")[len(words) - 1 :]]
        if more or right not in grants:
            raise ValueError(f"{path}:{number}: a line is a token and, at most, a site's id and write, read or operate")
        hashed = HASHED.fullmatch(token)
        grants[right][hashed[1] if hashed else token_hash(token)] = site
    if not any(grants.values()):
        raise ValueError(f"{path}: there is no token in it, so nobody could report")
    return Tokens(**grants)


def _meanings() -> Meanings:
    """Of all problem codes that an agent of this version tells."""
    from agent.service.problems import CODES

    own = {code: Meaning(one.severity, f"{one.title}. {one.meaning}", one.hint) for code, one in CODES.items()}
    return {**own, **OF_UPLINK}


def _stopped_by_signal() -> asyncio.Event:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    return stopping


async def _consume(origin: str, into: str, name: str, trim: bool) -> int:
    stopping = _stopped_by_signal()
    try:
        from uplink.receiver.consume import Booking, booking

        async with booking(Booking(origin=origin, into=into, name=name, trim=trim)) as consumer:
            consumer.add_done_callback(lambda _: stopping.set())
            click.echo("booking")
            sys.stdout.flush()
            await stopping.wait()
            if consumer.done():
                consumer.result()  # it ends by itself for nothing that was foreseen
    except ImportError as error:
        click.echo(f"pegcount receiver: {missing(error, 'nats')}", err=True)
        return EX_IOERR
    except StoreUnavailable as error:
        click.echo(f"pegcount receiver: {error}", err=True)
        return EX_IOERR
    return 0


async def _run(settings: ReceiverSettings) -> int:
    stopping = _stopped_by_signal()
    try:
        running = await serve(settings)
    except StoreUnavailable as error:
        click.echo(f"pegcount receiver: {error}", err=True)
        return EX_IOERR
    except CredentialsUnreadable as error:
        click.echo(f"pegcount receiver: {error}", err=True)
        return EX_CONFIG
    except OSError as error:
        click.echo(f"pegcount receiver: cannot listen at {settings.host}:{settings.port}: {in_words(error)}", err=True)
        return EX_UNAVAILABLE
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, running.renew)
    click.echo(f"receiving at {running.url}")
    sys.stdout.flush()
    await stopping.wait()
    await running.close()
    return 0
