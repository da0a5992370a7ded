"""`pegcount upload`: upload now, whatever the schedule says."""

import sys

import click
import msgspec

from agent.cli.common import EX_NOT_RUNNING, EX_OK, EX_TROUBLE, config_option, loaded

UPLOAD_TIMEOUT_S = 90.0
"""The agent tells within a minute how it came out, or that it goes on."""


@click.command()
@config_option
def upload(config_path: str) -> None:
    """Ask the running agent to upload what waits, and tell how it came out.

    Ends with 0 where it came through, with 1 where it did not, and with 3 where no agent runs.
    """
    config = loaded(config_path)
    from agent.cli.page_client import NoAnswer, ask
    from agent.web.page import UploadOutcome

    try:
        outcome = msgspec.json.decode(ask(config.web, "POST", "/api/upload", UPLOAD_TIMEOUT_S), type=UploadOutcome)
    except (NoAnswer, msgspec.DecodeError) as error:
        click.echo(f"pegcount: {error}. Is the agent running, and [web] enabled?", err=True)
        sys.exit(EX_NOT_RUNNING)
    click.echo(outcome.text)
    sys.exit(EX_OK if outcome.ok else EX_TROUBLE)
