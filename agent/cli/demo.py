"""`pegcount demo`: an office, an agent and a platform on this machine."""

import sys

import click


@click.command()
@click.option("--for", "seconds", type=click.FloatRange(min=1), metavar="SECONDS", help="End by itself, and compare.")
@click.option("--folder", metavar="DIR", help="Where files go; a new temporary folder unless it is given.")
@click.option(
    "--port", type=click.IntRange(0, 65535), metavar="PORT", default=8042, show_default=True, help="Of the status page."
)
def demo(seconds: float | None, folder: str | None, port: int) -> None:
    """Play a small office into an agent that reports to a receiver, all on loopback.

    Prints the address of the status page, and a line per upload, until Ctrl-C. With --for it ends by itself and compares,
    call by call, what the office played with what the receiver holds; any difference ends it with 1.
    """
    from agent.demo import run

    sys.exit(run(seconds=seconds, folder=folder, port=port))
