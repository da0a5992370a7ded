"""`pegcount run`: the agent itself."""

import asyncio
import sys

import click

from agent.cli.common import config_option, loaded


@click.command()
@config_option
def run(config_path: str) -> None:
    """Run the agent until it is told to stop (SIGTERM, or Ctrl-C).

    A wrong configuration is told in full and ends the start with 78, before the ledger is opened.
    """
    config = loaded(config_path)
    from agent.cli.logs import start_logging
    from agent.service import run as run_agent

    start_logging(config.log)
    sys.exit(asyncio.run(run_agent(config)))
