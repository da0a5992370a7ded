"""`pegcount enrol`: make this machine known to a platform, or change its key."""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
import msgspec

from agent.cli.common import EX_CONFIG, EX_IOERR, EX_UNAVAILABLE, config_option, in_words, loaded
from agent.config import Config
from uplink.identity import Enrolment, identity_folder, read_enrolment
from uplink.line import CredentialsUnreadable, HttpLine, LineSettings, first_line
from uplink.problems import CATALOGUE

if TYPE_CHECKING:
    from uplink.enrol import EnrolmentFailed

EX_REFUSED = 77
"""EX_NOPERM of sysexits.h."""
LINE_KEYS = ("url", "proxy", "proxy_auth_file", "ca_file", "pin", "certificate", "key_file", "allow_http", "timeout_s")
TRUST = frozenset({"ca_file", "pin", "certificate", "key_file"})
"""Each of them decides with the others whose word is taken."""
TABLE_KEYS = tuple(key for key in LINE_KEYS if key != "timeout_s")
FILE_KEYS = frozenset({"ca_file", "proxy_auth_file"})
"""The service runs in another folder than whoever types here."""


@click.command()
@click.argument("url", required=False)
@click.option("--token-file", metavar="PATH", help="A file whose first line is the enrolment token.")
@click.option("--rotate", is_flag=True, help="Change the key of this machine, which is enrolled. No token is needed.")
@config_option
@click.option("--state", metavar="FOLDER", help="The ledger's folder, where there is no configuration yet.")
@click.option("--ca-file", default="", metavar="PATH", help="Authorities (PEM) that vouch for the platform.")
@click.option(
    "--pin", default="", metavar="SHA256", help="The one certificate that is trusted, instead of any authority."
)
@click.option("--proxy", default="", metavar="URL", help="An HTTP proxy.")
@click.option("--proxy-auth-file", default="", metavar="PATH", help="A file with `user:password` for the proxy.")
@click.option(
    "--allow-http", is_flag=True, help="Permit http to another machine: anybody on the way can read the token."
)
def enrol(
    url: str | None,
    token_file: str | None,
    rotate: bool,
    config_path: str,
    state: str | None,
    allow_http: bool,
    **files: str,
) -> None:
    """Make this machine known to the platform at URL.

    Makes a key, which never leaves this machine, proves it to the platform, and keeps what the platform answers beside the
    ledger. Prints the tables that the configuration needs. A token is for `pegcount platform token add` to give. If the
    answer is lost, say it again with the same token: the platform knows the key, and there is never a second agent. A
    machine that lost its key, or whose key was revoked, is enrolled with a new token; the ledger is kept.

    Where the configuration has [uplink] already, URL, trust and proxy are taken from there unless they are given.

    Restart the agent when its configuration had to be changed; else the one that runs goes on with the new key by itself.
    Ends with 77 where the platform refuses, with 69 where it cannot be reached, and with 78 where an option or a file is wrong.
    """
    if rotate == bool(token_file):
        raise click.UsageError("give either --token-file or --rotate")
    config = None if state else loaded(config_path)
    folder = identity_folder(config.ledger.path if config else Path(state or "") / "ledger.db")
    try:
        settings = _line(url, {**files, "allow_http": allow_http}, config.uplink if config else None, folder)
        enrolment = asyncio.run(_enrol(settings, folder, first_line(token_file) if token_file else None))
        _lay_down(folder, config, enrolment)
    except (msgspec.ValidationError, CredentialsUnreadable) as error:
        _end(EX_CONFIG, str(error))
    except OSError as error:
        _end(EX_IOERR, in_words(error))
    finally:
        _hand_over(folder)
    click.echo(_tables(enrolment, settings), nl=False)
    if config and config.site.id != enrolment.answer.site:
        click.echo(f"pegcount: {config_path} names another site: put the tables above into it", err=True)
    known = config and config.uplink and config.site.id == enrolment.answer.site
    again = "an agent that runs goes on with it" if rotate or known else "restart the agent"
    click.echo(f"pegcount: enrolled; {again}", err=True)


def _line(url: str | None, given: dict[str, str | bool], uplink: LineSettings | None, folder: Path) -> LineSettings:
    """What was given; what was not, as [uplink] has it for this platform. Raises CredentialsUnreadable and ValidationError."""
    chosen = {key: value for key, value in given.items() if value}
    known = {}
    if uplink and url in (None, uplink.url):
        trusted = chosen.keys() & TRUST
        known = {key: getattr(uplink, key) for key in LINE_KEYS if not (trusted and key in TRUST)}
    at = url or known.get("url") or _known_url(folder)
    paths = {key: str(Path(str(chosen[key])).absolute()) for key in FILE_KEYS & chosen.keys()}
    return msgspec.convert({**known, **chosen, **paths, "url": at}, LineSettings)


def _lay_down(folder: Path, config: Config | None, enrolment: Enrolment) -> None:
    """The policy that came with the answer holds from the first start on; one that is refused hinders nothing."""
    from agent.service.policy import lay_down

    given = enrolment.answer.policy
    if isinstance(given, msgspec.UnsetType):
        return
    checked = config if config and config.uplink else None  # it will have one, whose schedule the policy may set
    if refused := lay_down(folder, checked, given):
        click.echo(f"pegcount enrol: the platform's policy is refused: {refused}", err=True)
    elif given:
        click.echo(f"pegcount enrol: the platform's policy {given.etag[:16]} holds from the next start on", err=True)


def _hand_over(folder: Path) -> None:
    """Made by root, the folder goes to whom the ledger's folder belongs to: the agent reads it as that user."""
    if os.geteuid() != 0 or not folder.exists():
        return
    owner = folder.parent.stat()
    for path in (folder, *folder.iterdir()):
        os.chown(path, owner.st_uid, owner.st_gid)


def _known_url(folder: Path) -> str:
    """Where this machine is enrolled. Raises CredentialsUnreadable."""
    known = read_enrolment(folder)
    if known is None:
        raise CredentialsUnreadable("the platform's URL is missing, and this machine is not enrolled yet")
    return known.url


async def _enrol(settings: LineSettings, folder: Path, token: str | None) -> Enrolment:
    from agent.service.state import program_version
    from uplink.enrol import About, EnrolmentFailed, rotate
    from uplink.enrol import enrol as ask

    about = About(version=program_version(), machine=socket.gethostname())
    line = HttpLine(settings)
    try:
        return await (rotate(line, folder, about) if token is None else ask(line, folder, token, about))
    except EnrolmentFailed as error:
        _end(EX_UNAVAILABLE if error.on_the_way else EX_REFUSED, _told(error))
    finally:
        await line.close()


def _told(error: "EnrolmentFailed") -> str:
    """As the status page would tell it of an upload, where it is one of its problems."""
    problem = CATALOGUE.get(error.code)
    return f"{error.code}: {problem.text} ({error}) {problem.hint}" if problem else f"{error.code}: {error}"


def _end(status: int, text: str) -> NoReturn:
    click.echo(f"pegcount enrol: {text}", err=True)
    sys.exit(status)


def _tables(enrolment: Enrolment, settings: LineSettings) -> str:
    """What the configuration needs."""
    lines = ["[site]", f'id = "{enrolment.answer.site}"', f'provider = "{enrolment.answer.provider}"', "", "[uplink]"]
    given = {key: getattr(settings, key) for key in TABLE_KEYS} | {"auth": "key"}
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value]
    return "\n".join([*lines, ""])
