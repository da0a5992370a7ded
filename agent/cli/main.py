"""The `pegcount` command: one file a command, all listed here.

Laws
- What was asked for goes to stdout, all else to stderr.
- A command imports what it needs when it is run, so that `pegcount --version` does not load a web server.
"""

import click

from agent.cli.capture import capture
from agent.cli.check import check
from agent.cli.demo import demo
from agent.cli.enrol import enrol
from agent.cli.platform import platform
from agent.cli.read import read
from agent.cli.receiver import receiver
from agent.cli.run import run
from agent.cli.status import status
from agent.cli.upload import upload
from agent.cli.verify import export, verify


def _version(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        from agent.service.state import program_version

        click.echo(f"pegcount {program_version()}")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_version, help="Show the version and end."
)
def main() -> None:
    """Metering agent for telephony: counts calls, seats and features, without loss and without doubles."""


for _command in (run, capture, check, status, read, upload, verify, export, demo, enrol, receiver, platform):
    main.add_command(_command)
