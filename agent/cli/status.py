"""`pegcount status`: the snapshot, from the running agent, or from the ledger where none runs."""

import fcntl
import sqlite3
import sys
import time
from pathlib import Path

import click
import msgspec
from msgspec import structs

from agent.cli.common import EX_NOT_RUNNING, EX_OK, EX_TROUBLE, config_option, loaded
from agent.config import Config
from agent.ledger.snapshot import Snapshot

ASK_TIMEOUT_S = 5.0
STATUSES = {"ok": EX_OK, "attention": EX_TROUBLE, "broken": EX_TROUBLE, "stopped": EX_NOT_RUNNING}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The whole snapshot as one JSON object.")
@config_option
def status(as_json: bool, config_path: str) -> None:
    """Tell how the agent is: the verdict, problems, sources, uplink and today's figures.

    Asks the running agent; where none answers, shows what its ledger holds. Ends with 0 where all is well, with 1 where
    something needs attention or is broken, and with 3 where the agent does not run.
    """
    config = loaded(config_path)
    snapshot = of_agent(config) or of_ledger(config)
    if snapshot is None:
        sys.exit(EX_NOT_RUNNING)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(snapshot), indent=2).decode())
    else:
        from agent.cli.status_text import status_text

        click.echo(status_text(snapshot))
    sys.exit(STATUSES[snapshot.health])


def of_agent(config: Config) -> Snapshot | None:
    """The running agent's own word; None where none answers, or another site's does."""
    from agent.cli.page_client import NoAnswer, ask

    if not config.web.enabled:
        return None
    try:
        snapshot = msgspec.json.decode(ask(config.web, "GET", "/api/status", ASK_TIMEOUT_S), type=Snapshot)
    except (NoAnswer, msgspec.DecodeError):
        return None
    if snapshot.site_id != config.site.id:
        click.echo(f"pegcount: at {config.web.listen} answers the agent of another site, {snapshot.site_id}", err=True)
        return None
    return snapshot


def of_ledger(config: Config) -> Snapshot | None:
    """What the ledger holds; None, and a line on stderr, where there is none to be read."""
    from agent.ledger.errors import LedgerError
    from agent.service.policy import PolicyKeeper
    from agent.service.state import stored_snapshot

    try:
        snapshot = stored_snapshot(PolicyKeeper(config).config, time.time_ns() // 1_000_000)
    except LedgerError as error:
        click.echo(f"pegcount: the agent does not run, and {error}", err=True)
        return None
    except sqlite3.Error as error:
        click.echo(
            f"pegcount: the agent does not answer, and its ledger {config.ledger.path} cannot be read: {error}",
            err=True,
        )
        return None
    if not is_written(Path(config.ledger.path)):
        return snapshot
    if config.web.enabled:
        verdict = (
            f"The agent runs, but its page at {config.web.listen} does not answer; these are the ledger's figures."
        )
        return structs.replace(snapshot, health="attention", verdict=verdict)
    return structs.replace(
        snapshot, health="ok", verdict="The agent runs without a page; these are the ledger's figures."
    )


def is_written(ledger: Path) -> bool:
    """True while an agent holds the ledger's lock."""
    try:
        with ledger.with_name(ledger.name + ".lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False
