"""`pegcount check`: is the configuration file right?"""

import sys
from pathlib import Path

import click

from agent.cli.common import EX_CONFIG, config_option
from agent.config import Config, ConfigError, load
from agent.config.findings import Fault
from agent.config.loading import placed
from uplink.identity import identity_folder, read_enrolment
from uplink.line import CredentialsUnreadable


@click.command()
@config_option
def check(config_path: str) -> None:
    """Check the configuration file and tell everything that is wrong with it.

    Prints a line `file:line:column: what is wrong` for each finding. Ends with 78 where the agent would not start, and
    with 0 where it would, be there warnings or not. Opens nothing but the file itself, and what is kept of the enrolment.
    """
    try:
        config = load(Path(config_path))
        _check_enrolment(config)
    except ConfigError as error:
        for finding in error.findings:
            click.echo(str(finding))
        sys.exit(EX_CONFIG)
    for finding in config.warnings:
        click.echo(str(finding))
    click.echo(f"{config_path}: correct: {in_words(config)}")


def _check_enrolment(config: Config) -> None:
    """Raises ConfigError where this machine is enrolled as another site. Whoever may not read that is not told."""
    uplink = config.uplink
    if uplink is None or uplink.token or uplink.token_file:
        return
    try:
        enrolment = read_enrolment(identity_folder(config.ledger.path))
    except CredentialsUnreadable:
        return
    if enrolment and enrolment.answer.site != config.site.id:
        message = f'this machine is enrolled as "{enrolment.answer.site}"'
        fault = Fault(path=("site", "id"), message=message, hint="put that id here, or enrol for this site")
        raise ConfigError(placed([fault], config.text, config.path))


def in_words(config: Config) -> str:
    """What the agent would do with it: `2 sources (a, b), sending to https://...`."""
    names = ", ".join(source.name for source in config.sources)
    count = len(config.sources)
    sources = f"{count} source{'' if count == 1 else 's'}" + (f" ({names})" if names else "")
    return (
        f"{sources}, sending to {config.goes_to}"
        if config.uplink or config.destinations
        else f"{sources}, sending nothing"
    )
