"""`pegcount capture`: the capture service, which hands frames to the agent."""

import os
import pwd
import signal
import socket
import sys

import click

from agent.cli.common import EX_CONFIG, EX_UNAVAILABLE, config_option, loaded
from agent.config import Source
from collectors.contract import SourceError, SourceMisconfigured
from collectors.sip.kind import SipConfig


@click.command()
@config_option
@click.option(
    "--agent-user", default="pegcount", show_default=True, metavar="NAME", help="The user that the agent runs as."
)
@click.argument("source", required=False)
def capture(config_path: str, agent_user: str, source: str | None) -> None:
    """Capture for a live `sip` source, and hand its frames to the agent.

    Needs CAP_NET_RAW and nothing else; the agent itself needs none. SOURCE is the name of the source in the configuration;
    it may be left out where there is one only. Runs until it is told to stop. What keeps it from capturing is told to the
    agent and tried again. Ends with 78 where the configuration has no such source, and with 69 where its socket is taken.
    """
    config = loaded(config_path)
    from agent.cli.logs import start_logging
    from agent.service.manager import notify
    from collectors.sip.live.open import open_service

    start_logging(config.log)
    wanted = _wanted(config.sources, source)
    try:
        service = open_service(wanted, {0, os.getuid(), *_user_ids(agent_user)})
    except SourceError as error:
        click.echo(f"pegcount capture: {error} ({error.hint})", err=True)
        sys.exit(EX_CONFIG if isinstance(error, SourceMisconfigured) else EX_UNAVAILABLE)
    woken, waker = socket.socketpair()
    for end in (woken, waker):
        end.setblocking(False)
    signal.set_wakeup_fd(waker.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    service.run(woken.fileno(), lambda: notify("READY=1", f"STATUS=capturing on {wanted.interface}"))


def _wanted(sources: tuple[Source, ...], name: str | None) -> SipConfig:
    """The one source that this command is for; ends with 78 where it is not clear which."""
    served = {
        one.name: one.config
        for one in sources
        if isinstance(one.config, SipConfig) and one.config.interface and one.config.engine == "afpacket"
    }
    if name is None and len(served) == 1:
        (name,) = served
    if name not in served:
        which = ", ".join(served) or "none"
        text = f"has no live source {name} of engine afpacket" if name else "does not say which source"
        click.echo(f"pegcount capture: the configuration {text}; there is: {which}", err=True)
        sys.exit(EX_CONFIG)
    return served[name]


def _user_ids(name: str) -> set[int]:
    """None where there is no such user: an agent that runs as the same user, or as root, needs none."""
    try:
        return {pwd.getpwnam(name).pw_uid}
    except KeyError:
        return set()
