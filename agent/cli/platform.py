"""`pegcount platform`: what operators of the platform's end do at its store: enrolment tokens, agents' keys, certificates,
policies, operators.

Law: it works on the store itself, so whoever may write there may do all of this; a receiver that runs sees it within seconds.
"""

import hashlib
import re
import secrets
import ssl
import sys
from pathlib import Path

import click
import msgspec

from agent.cli.at_store import a_site, all_of, at_store, check_done, day_of, store_option
from agent.cli.common import EX_CONFIG, in_words
from agent.cli.operators import operator
from agent.cli.platform_key import key
from agent.cli.platform_policy import policy
from agent.cli.platform_verify import verify
from agent.metering.rules import PROVIDER, SITE_ID
from uplink.receiver.access import CERTIFICATE, Certified
from uplink.receiver.acts import AT_STORE, Act, note
from uplink.receiver.agents import KIND as AGENT
from uplink.receiver.agents import AgentKey, Agents
from uplink.receiver.enrolling import KIND as TOKEN
from uplink.receiver.enrolling import USES_MAX, Token
from uplink.receiver.storage import Documents
from uplink.receiver.tokens import token_hash
from uplink.uploader import wall_clock_ms

TOKEN_BYTES = 32
DAY_MS = 86_400_000


@click.group()
def platform() -> None:
    """Manage the platform's end: who may enrol, which agents may report, what is set at sites, who may log in.

    Works on the receiver's store; a receiver that runs meanwhile sees it within seconds.
    """


def _a_provider(_context: click.Context, _param: click.Parameter, value: str) -> str:
    """What a site's configuration takes."""
    if not re.match(PROVIDER, value):
        raise click.BadParameter("a provider is 1 to 63 of a-z, 0-9 and -")
    return value


def _a_site_of_agents(_context: click.Context, _param: click.Parameter, value: str) -> str:
    """The same of a site's id: an agent could not be configured with any other, and its enrolment would be of no use."""
    if value and not re.match(SITE_ID, value):
        raise click.BadParameter("the site of an agent is a UUID in lower case")
    return value


@platform.group()
def token() -> None:
    """Tokens by which machines enrol."""


@token.command("add")
@store_option
@click.option(
    "--provider",
    required=True,
    callback=_a_provider,
    metavar="NAME",
    help="The provider's short name, which stands in sites' URNs.",
)
@click.option(
    "--site",
    default="",
    callback=_a_site_of_agents,
    metavar="UUID",
    help="The site that it is for; else each use makes one.",
)
@click.option(
    "--uses", default=1, show_default=True, type=click.IntRange(1, USES_MAX), help="How many machines it enrols."
)
@click.option("--days", default=7, show_default=True, type=click.IntRange(1, 3660), help="How long it can be used.")
@click.option("--label", default="", metavar="TEXT", help="What it is for; shown in the list.")
def add_token(store: str, provider: str, site: str, uses: int, days: int, label: str) -> None:
    """Make a token and print it. It is kept as its SHA-256 only: it cannot be shown again."""
    made, now_ms = secrets.token_urlsafe(TOKEN_BYTES), wall_clock_ms()
    expires_ms = now_ms + days * DAY_MS
    kept = Token(provider=provider, site=site, uses_left=uses, expires_ms=expires_ms, label=label, made_ms=now_ms)
    at_store(store, lambda documents: documents.put(TOKEN, token_hash(made), msgspec.json.encode(kept), 0))
    click.echo(made)


@token.command("list")
@store_option
def list_tokens(store: str) -> None:
    """Print each token's id, uses left, end, site and label."""
    for document in at_store(store, lambda documents: all_of(documents, TOKEN)):
        kept = msgspec.json.decode(document.body, type=Token)
        uses = f"{kept.uses_left} of {kept.uses_left + len(kept.granted)} uses left"
        site = kept.site or "a new site each"
        click.echo(
            "\t".join((document.key[:16], uses, f"until {day_of(kept.expires_ms)}", kept.provider, site, kept.label))
        )


@token.command("revoke")
@store_option
@click.argument("token_id", metavar="ID")
def revoke_token(store: str, token_id: str) -> None:
    """Take a token back, by the first characters of its id. What it enrolled stays enrolled."""

    async def revoke(documents: Documents) -> int:
        found = [
            each for each in await all_of(documents, TOKEN) if len(token_id) >= 8 and each.key.startswith(token_id)
        ]
        return sum([await documents.delete(TOKEN, each.key) for each in found])

    check_done(at_store(store, revoke), f"there is no token {token_id}; 8 characters of its id are needed")


KEY_IDS = {"ignore_unknown_options": True}
"""One key in sixty has an id that begins with `-`."""


@platform.group()
def agent() -> None:
    """Agents, by their keys."""


@agent.command("list")
@store_option
@click.option("--site", default="", callback=a_site, metavar="ID", help="Only those of this site.")
def list_agents(store: str, site: str) -> None:
    """Print each key's id, state, site, day of enrolment, machine and version."""
    for document in at_store(store, lambda documents: all_of(documents, AGENT)):
        key = msgspec.json.decode(document.body, type=AgentKey)
        if site in ("", key.site):
            day = day_of(key.enrolled_ms)
            click.echo(
                "\t".join((key.key, key.state, key.site, day, ascii(key.machine)[1:-1], ascii(key.version)[1:-1]))
            )


@agent.command("revoke", context_settings=KEY_IDS)
@store_option
@click.argument("key")
def revoke_agent(store: str, key: str) -> None:
    """Take a key's right to report, for good. The machine can be enrolled again with a new token."""

    async def revoke(documents: Documents) -> AgentKey | None:
        now_ms = wall_clock_ms()
        changed = await Agents(documents).change(key, "revoked", now_ms)
        if changed is not None:
            await note(documents, Act(site=changed.site, at_ms=now_ms, who=AT_STORE, what="revoke", detail=key))
        return changed

    check_done(at_store(store, revoke) is not None, f"there is no key {key}")


@agent.command("rotate", context_settings=KEY_IDS)
@store_option
@click.argument("key")
def rotate_agent(store: str, key: str) -> None:
    """Ask a key's machine to make another one. It does so after its next upload; the old one is good until then."""

    async def wish(documents: Documents) -> AgentKey | None:
        now_ms = wall_clock_ms()
        wished = await Agents(documents).wish_another(key, now_ms)
        if wished is not None:
            await note(documents, Act(site=wished.site, at_ms=now_ms, who=AT_STORE, what="rotate", detail=key))
        return wished

    check_done(at_store(store, wish) is not None, f"there is no key {key}")


@platform.group()
def certificate() -> None:
    """Client certificates (mutual TLS) and the sites that they are for."""


@certificate.command("add")
@store_option
@click.option(
    "--site", required=True, callback=_a_site_of_agents, metavar="UUID", help="The site that it may report for."
)
@click.option("--label", default="", metavar="TEXT", help="What it is; shown in the list.")
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def add_certificate(store: str, site: str, label: str, file: str) -> None:
    """Let the client with the certificate in FILE (PEM) report for a site. Prints its SHA-256."""
    try:
        der = ssl.PEM_cert_to_DER_cert(Path(file).read_text("ascii"))
    except (OSError, ValueError) as error:
        click.echo(f"pegcount platform: {file}: {in_words(error)}", err=True)
        sys.exit(EX_CONFIG)
    digest = hashlib.sha256(der).hexdigest()
    body = msgspec.json.encode(Certified(site=site, label=label))
    at_store(store, lambda documents: documents.put(CERTIFICATE, digest, body))
    click.echo(digest)


@certificate.command("list")
@store_option
def list_certificates(store: str) -> None:
    """Print each certificate's SHA-256, state, site and label."""
    for document in at_store(store, lambda documents: all_of(documents, CERTIFICATE)):
        kept = msgspec.json.decode(document.body, type=Certified)
        state = f"revoked {day_of(kept.revoked_ms)}" if kept.revoked_ms else "active"
        click.echo("\t".join((document.key, state, kept.site, kept.label)))


@certificate.command("revoke")
@store_option
@click.argument("digest", metavar="SHA256")
def revoke_certificate(store: str, digest: str) -> None:
    """Take a certificate's right to report; `certificate add` gives it back."""
    digest = digest.replace(":", "").lower()

    async def revoke(documents: Documents) -> bool:
        document = await documents.get(CERTIFICATE, digest)
        if document is None:
            return False
        kept, now_ms = msgspec.json.decode(document.body, type=Certified), wall_clock_ms()
        revoked = msgspec.structs.replace(kept, revoked_ms=now_ms)
        await documents.put(CERTIFICATE, digest, msgspec.json.encode(revoked))
        await note(documents, Act(site=kept.site, at_ms=now_ms, who=AT_STORE, what="revoke_certificate", detail=digest))
        return True

    check_done(at_store(store, revoke), f"there is no certificate {digest}")


platform.add_command(key)
platform.add_command(policy)
platform.add_command(operator)
platform.add_command(verify)
