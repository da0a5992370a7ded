"""`pegcount platform policy`: what is set at sites from the platform's end."""

import hashlib
import sys
from pathlib import Path

import click

from agent.cli.at_store import a_site, at_store, check_done, store_option
from agent.cli.common import EX_CONFIG, in_words
from agent.config import ConfigError
from agent.config.policy import check
from uplink.receiver.policies import KIND
from uplink.receiver.tokens import EVERY_SITE


@click.group()
def policy() -> None:
    """What is set at sites from here: schedule, metering, seats, privacy, as far as each site's own configuration lets."""


@policy.command("set")
@store_option
@click.option(
    "--site", default="", callback=a_site, metavar="ID", help="For this site; without, for all that have none."
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def set_policy(store: str, site: str, file: str) -> None:
    """Let sites have the policy in FILE (TOML). Prints its hash, which sites tell when they have taken it."""
    try:
        text = Path(file).read_text("utf-8")
        check(text)
    except (OSError, ValueError, ConfigError) as error:
        click.echo(f"pegcount platform: {file}: {in_words(error)}", err=True)
        sys.exit(EX_CONFIG)
    at_store(store, lambda documents: documents.put(KIND, site or EVERY_SITE, text.encode()))
    click.echo(hashlib.sha256(text.encode()).hexdigest()[:16])


@policy.command("show")
@store_option
@click.option("--site", default="", callback=a_site, metavar="ID", help="That of this site; without, that for all.")
def show_policy(store: str, site: str) -> None:
    """Print a policy."""
    document = at_store(store, lambda documents: documents.get(KIND, site or EVERY_SITE))
    check_done(document, "there is none")
    if document:
        click.echo(document.body.decode(), nl=False)


@policy.command("remove")
@store_option
@click.option("--site", default="", callback=a_site, metavar="ID", help="That of this site; without, that for all.")
def remove_policy(store: str, site: str) -> None:
    """Take a policy back: sites go by that for all, or by their own configuration."""
    check_done(at_store(store, lambda documents: documents.delete(KIND, site or EVERY_SITE)), "there is none")
